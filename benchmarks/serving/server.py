"""A peer's server: start it in its environment, watch it, stop it with all its processes."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import psutil

from benchmarks.serving.errors import BenchmarkError
from benchmarks.serving.peer import LOCAL, ROOT, Peer, Variant

READY_TIMEOUT_S: Final = 180
POLL_S: Final = 0.01
STOP_TIMEOUT_S: Final = 15
RUNTIMES: Final = ("libopenvino.so", "libtorch_cpu.so")
"""A process that has one of these mapped is a worker."""
PORTS: Final = ("port", "port2", "port3", "port4", "port5")


@dataclass(frozen=True)
class Memory:
    """worker_bytes: RSS of the largest worker. tree_bytes: PSS of all processes, shared pages once."""

    worker_bytes: int
    tree_bytes: int


@dataclass(frozen=True)
class Server:
    """A running server. ready_s: from its start to the first 200 from its readiness path."""

    port: int
    root: psutil.Process
    ready_s: float
    log: Path

    @property
    def url(self) -> str:
        return f"http://{LOCAL}:{self.port}"

    def cpu_s(self) -> float:
        """Return the user and system time of all its processes, including those that have ended."""
        total = 0.0
        for process in _tree(self.root):
            with suppress(psutil.NoSuchProcess):
                spent = process.cpu_times()
                total += spent.user + spent.system + spent.children_user + spent.children_system
        return total

    def memory(self) -> Memory:
        """Measure its memory now."""
        workers, tree = [0], 0
        for process in _tree(self.root):
            with suppress(psutil.NoSuchProcess):
                tree += process.memory_full_info().pss
                if _runs_model(process):
                    workers.append(process.memory_info().rss)
        return Memory(max(workers), tree)


def free_ports(count: int) -> list[int]:
    """Return ports that are free now."""
    listeners = [socket.socket() for _ in range(count)]
    try:
        for listener in listeners:
            listener.bind((LOCAL, 0))
        return [listener.getsockname()[1] for listener in listeners]
    finally:
        for listener in listeners:
            listener.close()


@dataclass(frozen=True)
class Launch:
    """A peer's command, environment and readiness URL, with all values filled in."""

    command: list[str]
    environment: dict[str, str]
    ready_url: str


def fill_in(peer: Peer, variant: Variant, python: Path, ports: list[int], state: Path) -> Launch:
    """Return the peer's command, environment and URL with their placeholders filled in.

    state: a folder for what the server writes.
    """
    values: dict[str, object] = dict(zip(PORTS, ports, strict=True))
    values |= {"python": python, "bin": python.parent, "folder": peer.folder, "state": state}
    values |= {"workers": variant.workers, "threads": variant.threads}
    values |= {"wait_s": variant.wait_ms / 1000, "batch": variant.batch}
    command = [part.format_map(values) for part in peer.command]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("FASHION_MNIST_", "BENTOML_"))}
    environment = {
        **kept,
        "PATH": f"{python.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "BENTOML_DO_NOT_TRACK": "True",
        "BENTOML_HOME": str(state / "bentoml"),
        "BENCH_FOLDER": str(state),
        "BENCH_PORT": str(ports[0]),
        "BENCH_PORTS": " ".join(map(str, ports[1:])),
        "BENCH_WORKERS": str(variant.workers),
        "BENCH_THREADS": str(variant.threads),
        "BENCH_WAIT_MS": str(variant.wait_ms),
        "BENCH_BATCH": str(variant.batch),
        **{name: value.format_map(values) for name, value in peer.environment.items()},
    }
    return Launch(command, environment, peer.ready_url.format_map(values))


@contextmanager
def start(peer: Peer, variant: Variant, python: Path, folder: Path) -> Iterator[Server]:
    """Run the peer's server and yield it when ready. folder: for its log and state. Raises BenchmarkError."""
    ports = free_ports(len(PORTS))
    launch = fill_in(peer, variant, python, ports, folder)
    log = folder / f"{peer.name}.log"
    begin = time.perf_counter()
    with log.open("wb") as file:
        process = psutil.Popen(
            launch.command,
            cwd=ROOT,
            env=launch.environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches only the benchmark, which then stops the server
        )
    try:
        _wait_until_ready(launch.ready_url, process, peer, log)
        yield Server(ports[0], psutil.Process(process.pid), time.perf_counter() - begin, log)
    finally:
        _stop(process)


def _wait_until_ready(url: str, process: psutil.Popen, peer: Peer, log: Path) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(httpx.TransportError):
            answer = httpx.get(url, timeout=5, trust_env=False)
            if answer.status_code == 200 and peer.ready_text in answer.text:
                return
        time.sleep(POLL_S)
    ended = "ended" if process.poll() is not None else f"was not ready within {READY_TIMEOUT_S} s"
    tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
    raise BenchmarkError(f"{peer.name} {ended}; its log ends with:\n{tail}")


def _stop(process: psutil.Popen) -> None:
    """Terminate it, then kill the processes that are left."""
    processes = _tree(process) if process.is_running() else []
    with suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
        process.terminate()
        process.wait(STOP_TIMEOUT_S)
    for left in processes:
        with suppress(psutil.NoSuchProcess):
            left.kill()
    psutil.wait_procs(processes, STOP_TIMEOUT_S)


def _tree(root: psutil.Process) -> list[psutil.Process]:
    """Return a process and its descendants; none if it has just ended."""
    try:
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _runs_model(process: psutil.Process) -> bool:
    maps = Path(f"/proc/{process.pid}/maps")
    try:
        text = maps.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return any(runtime in text for runtime in RUNTIMES)
