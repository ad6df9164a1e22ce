"""Installs the balanced server and the fast path in BentoML's worker process.

In bentoml 1.4.39 (`_bentoml_impl/worker/service.py`), a worker asks the service for its ASGI application and
then calls `uvicorn.Server(config).run(...)`. There is no hook for another server, so `uvicorn.Server` is
replaced for exactly that call.
"""

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import uvicorn

from fashion_mnist.serving.admission.gate import Gate
from fashion_mnist.serving.transport.balanced_server import BalancedServer
from fashion_mnist.serving.transport.fast_path import FastPathProtocol, Handler

logger = logging.getLogger("bentoml.service")


@dataclass(frozen=True)
class FastPath:
    """Parameters of a worker's fast path; see FastPathProtocol."""

    path: str
    max_bytes: int
    gate: Gate
    handler: Handler


class ServerInstallation:
    """Replaces `uvicorn.Server` until it is constructed once, or until `check`.

    fast_path: None sends every request through ASGI. workers: processes that share the socket.
    """

    def __init__(self, fast_path: FastPath | None, workers: int) -> None:
        self.fast_path = fast_path
        self.workers = workers
        self.used = False
        self._original: Callable[..., uvicorn.Server] = uvicorn.Server
        uvicorn.Server = self._make_server  # type: ignore[misc, assignment]

    def check(self) -> None:
        """Log an error if BentoML does not use our server; called when the application starts."""
        if not self.used:
            self._restore()
            logger.error(
                "BentoML did not construct uvicorn.Server: connections are not balanced, and all requests "
                "pass through ASGI; this release requires bentoml 1.4.39"
            )

    def _make_server(self, config: uvicorn.Config) -> uvicorn.Server:
        self.used = True
        self._restore()
        if self.fast_path is not None:
            protocol: Any = functools.partial(FastPathProtocol, **vars(self.fast_path))
            config.http = protocol
        return BalancedServer(config, self.workers)

    def _restore(self) -> None:
        uvicorn.Server = self._original  # type: ignore[misc, assignment]
