"""Load on one pod: `python -m benchmarks.pod`. Its figures are in docs/scaling.md.

Starts the service as in a container, with one worker bound to some CPUs, and runs wrk on another CPU. The
bodies are JSON pixels of the sample's first 500 training images, in turn.
"""

import argparse
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from benchmarks.serving.forms import write_json
from benchmarks.serving.load import run_wrk
from benchmarks.serving.peer import LOCAL, ROOT
from benchmarks.serving.server import free_ports
from fashion_mnist.data import sources

JSON = "application/json"


@contextmanager
def serve(cpus: set[int]) -> Iterator[tuple[str, psutil.Process, float]]:
    """Start the service on these CPUs; yield its address, its process and its start time in seconds."""
    (port,) = free_ports(1)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="fashion-mnist-pod-") as home:
        command = [str(ROOT / ".venv/bin/bentoml"), "serve", "--host", LOCAL, "--port", str(port)]
        environment = {**os.environ, "BENTOML_HOME": home, "FASHION_MNIST_WORKERS": "1"}
        with (Path(home) / "log").open("wb") as log:
            os.sched_setaffinity(0, cpus)  # the service inherits it
            process = psutil.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            url = f"http://{LOCAL}:{port}"
            while not _is_ready(url):
                if process.poll() is not None:
                    raise SystemExit("the service did not start; run bentoml serve to see why")
                time.sleep(0.02)
            yield url, process, time.perf_counter() - start
        finally:
            process.terminate()
            process.wait(30)


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one line for each number of connections."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pod", description=__doc__)
    parser.add_argument("--processors", default="0", help="CPUs of the pod, separated by commas (default: 0)")
    parser.add_argument("--client", type=int, default=1, help="CPU of the load generator (default: 1)")
    parser.add_argument("--seconds", type=int, default=5, help="duration of each load (default: 5)")
    flags = parser.parse_args(arguments)
    sample = sources.load(str(ROOT / "tests" / "samples" / "fashion-mnist-sample"))
    bodies = [write_json(sample.train.images[i : i + 1]) for i in range(500)]
    with serve({int(number) for number in flags.processors.split(",")}) as (url, process, ready_s):
        os.sched_setaffinity(0, {flags.client})
        print(f"{os.cpu_count()} CPUs, pod on {flags.processors}, client on {flags.client}")
        print(f"ready in {ready_s:.1f} s; a body has {sum(map(len, bodies)) / len(bodies):.0f} bytes")
        run_wrk(f"{url}/predict", JSON, bodies, 32, 2)  # to warm up
        for connections in (1, 8, 32, 32, 32, 128):
            seen = run_wrk(f"{url}/predict", JSON, bodies, connections, flags.seconds)
            rate = seen.requests / seen.elapsed_s
            times = f"p50 {seen.p50_ms:.1f} ms, p99 {seen.p99_ms:.1f} ms"
            print(f"{connections} connections: {rate:.0f} requests/s, {times}, {seen.errors} errors")
        tree = [process, *process.children(recursive=True)]
        resident = [p.memory_info().rss for p in tree]
        print(f"{sum(resident) / 1e6:.0f} MB resident in {len(tree)} processes")


if __name__ == "__main__":
    main()
