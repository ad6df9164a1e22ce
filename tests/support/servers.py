"""Start the real service as a user does."""

import os
import random
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from benchmarks.chaos.services import wait_for as wait_for
from support.paths import BIN, ROOT


@dataclass(frozen=True)
class Server:
    """A running service. log: its output up to now."""

    url: str
    process: subprocess.Popen[bytes]
    log_path: Path

    @property
    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8")

    @property
    def workers(self) -> list[psutil.Process]:
        """Return the worker processes that are alive."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        living = [p for p in children if p.status() != psutil.STATUS_ZOMBIE]
        return [p for p in living if any("_bentoml_impl" in part for part in p.cmdline())]


StartService = Callable[..., AbstractContextManager[Server]]


def free_port() -> int:
    """Return a free port below those that the kernel gives to clients, which other tests are."""
    while True:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


@contextmanager
def run_service(
    folder: Path,
    target: str = ".",
    *,
    arguments: Sequence[str] = (),
    verify: ssl.SSLContext | None = None,
    **environment: str,
) -> Iterator[Server]:
    """Run `bentoml serve TARGET ARGUMENTS` on a free port and wait until it is ready; stop it at the end.

    verify: for a service with TLS, a context that trusts its certificate for localhost.
    """
    port = free_port()
    home = folder / "bentoml-home"
    home.mkdir(parents=True, exist_ok=True)
    log_path = folder / f"serve-{port}.log"
    command = [str(BIN / "bentoml"), "serve", target, "--port", str(port), *arguments]
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                "BENTOML_HOME": str(home),
                "BENTOML_HOST": "127.0.0.1",
                **environment,
            },
        )
    url = f"http://127.0.0.1:{port}" if verify is None else f"https://localhost:{port}"
    server = Server(url, process, log_path)
    try:
        _wait_until_ready(server, verify)
        yield server
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait_until_ready(server: Server, verify: ssl.SSLContext | None, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            break
        try:
            if httpx.get(f"{server.url}/readyz", verify=verify or True).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError(f"the service did not become ready:\n{server.log}")
