"""What the faults are done to: the service as users start it, and nginx before two of them."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import psutil

from benchmarks.serving.errors import BenchmarkError
from benchmarks.serving.peer import LOCAL, ROOT
from benchmarks.serving.server import free_ports

START_S: Final = 90
NGINX: Final = """
daemon off; pid {folder}/pid; error_log {folder}/nginx.log;
events {{ worker_connections 1024; }}
http {{
    access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/1; uwsgi_temp_path {folder}/2; scgi_temp_path {folder}/3;
    upstream service {{
        server {servers[0]} max_fails=0;  # a refused connection costs nothing: try it every time
        server {servers[1]} max_fails=0;
        keepalive 32;
    }}
    server {{
        listen {address};
        location / {{ proxy_pass http://service; proxy_http_version 1.1; proxy_set_header Connection ""; }}
    }}
}}
"""


@dataclass(frozen=True)
class Service:
    """A running service. log_path: its output."""

    url: str
    process: psutil.Popen
    log_path: Path

    @property
    def log(self) -> str:
        """Return its output up to now."""
        return self.log_path.read_text(encoding="utf-8")

    def workers(self) -> list[psutil.Process]:
        """Return the worker processes that live, the oldest first."""
        found = []
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                named = any("_bentoml_impl" in part for part in process.cmdline())
                if named and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return sorted(found, key=lambda process: process.create_time())

    def memory_mb(self) -> float:
        """Return the resident memory of its largest worker."""
        return max((worker.memory_info().rss for worker in self.workers()), default=0) / 1e6


@contextmanager
def serve(
    port: int = 0, cpus: set[int] | None = None, environment: Mapping[str, str] | None = None, **more: str
) -> Iterator[Service]:
    """Start the service, on these CPUs only, and yield it when all its workers serve; then stop it."""
    port = port or free_ports(1)[0]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("FASHION_MNIST_", "BENTOML_"))}
    command = [str(ROOT / ".venv/bin/bentoml"), "serve", "--host", LOCAL, "--port", str(port)]
    if cpus is not None:
        command = ["taskset", "--cpu-list", ",".join(map(str, cpus)), *command]
    with tempfile.TemporaryDirectory(prefix="fashion-mnist-chaos-") as home:
        kept |= {"BENTOML_HOME": home, "BENTOML_DO_NOT_TRACK": "True", **(environment or {}), **more}
        log_path = Path(home) / "log"
        with log_path.open("wb") as log:
            process = psutil.Popen(command, cwd=ROOT, env=kept, stdout=log, stderr=subprocess.STDOUT)
        service = Service(f"http://{LOCAL}:{port}", process, log_path)
        workers = int(kept["FASHION_MNIST_WORKERS"])
        try:
            if not wait_for(lambda: service.log.count("initialized") >= workers, START_S):
                raise BenchmarkError(f"the service did not start:\n{service.log}")
            wait_for(lambda: is_ready(service.url), START_S)
            yield service
        finally:
            with suppress(psutil.NoSuchProcess):
                process.terminate()
            process.wait(60)


@contextmanager
def proxy(urls: list[str]) -> Iterator[str]:
    """Start nginx before two services; yield its address."""
    (port,) = free_ports(1)
    address, servers = f"{LOCAL}:{port}", [url.removeprefix("http://") for url in urls]
    with tempfile.TemporaryDirectory(prefix="fashion-mnist-nginx-") as folder:
        path = Path(folder) / "nginx.conf"
        path.write_text(NGINX.format(folder=folder, servers=servers, address=address))
        program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
        assert program is not None
        process = subprocess.Popen([program, "-e", f"{folder}/nginx.log", "-c", str(path)])
        try:
            if not wait_for(lambda: is_ready(f"http://{address}"), 10):
                raise BenchmarkError("nginx did not start")
            yield f"http://{address}"
        finally:
            process.terminate()
            process.wait(10)


def is_ready(url: str) -> bool:
    """Return whether /readyz answers 200."""
    try:
        return httpx.get(f"{url}/readyz", timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def wait_for(condition: Callable[[], bool], timeout_s: float = 10) -> bool:
    """Wait until a condition holds; return whether it does."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
