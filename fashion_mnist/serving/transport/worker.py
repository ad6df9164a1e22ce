"""Installs the balanced server and the fast path in BentoML's worker process.

In bentoml 1.4.39 (`_bentoml_impl/worker/service.py`), a worker asks the service for its ASGI application and
then calls `uvicorn.Server(config).run(...)`. There is no hook for another server, so `uvicorn.Server` is
replaced for exactly that call.
"""

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import uvicorn

from fashion_mnist.serving.admission.gate import Gate
from fashion_mnist.serving.transport.balanced_server import BalancedServer, Stopping
from fashion_mnist.serving.transport.connection_counts import ConnectionCounts
from fashion_mnist.serving.transport.fast_path import FastPathProtocol, Handler
from fashion_mnist.serving.transport.http_limits import LimitedProtocol

logger = logging.getLogger("bentoml.service")

UVICORN_KEEP_ALIVE_S: Final = 5
"""The default of Uvicorn and of BentoML's worker. Proxies keep connections open for 60 s, and answer 502 to a
request that they send on one that the service is closing."""
FINISH_S: Final = 30
"""How long a worker that stops waits for the requests under way; Uvicorn would wait for ever."""


@dataclass(frozen=True)
class FastPath:
    """Parameters of a worker's fast path; see FastPathProtocol."""

    path: str
    max_bytes: int
    gate: Gate
    handler: Handler


class ServerInstallation:
    """Replaces `uvicorn.Server` until it is constructed once, or until `check`.

    fast_path: None sends every request through ASGI. keep_alive_s: replaces Uvicorn's default, but not
    another value of `bentoml serve --timeout-keep-alive`.
    """

    def __init__(
        self, fast_path: FastPath | None, counts: ConnectionCounts, keep_alive_s: int, stopping: Stopping
    ) -> None:
        self.fast_path = fast_path
        self.counts = counts
        self.keep_alive_s = keep_alive_s
        self.stopping = stopping
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
        if config.timeout_keep_alive == UVICORN_KEEP_ALIVE_S:
            config.timeout_keep_alive = self.keep_alive_s
        if config.timeout_graceful_shutdown is None:
            config.timeout_graceful_shutdown = FINISH_S
        protocol: Any = LimitedProtocol
        if self.fast_path is not None:
            protocol = functools.partial(FastPathProtocol, **vars(self.fast_path))
        config.http = protocol
        config.proxy_headers = False  # the gate finds the client's address, on both ways in
        return BalancedServer(config, self.counts, self.stopping)

    def _restore(self) -> None:
        uvicorn.Server = self._original  # type: ignore[misc, assignment]
