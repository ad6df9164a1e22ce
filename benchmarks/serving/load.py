"""Load generators: wrk for many small requests, httpx for a fixed number of requests or for large ones."""

import asyncio
import json
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from benchmarks.serving.errors import BenchmarkError

SCRIPT: Final = Path(__file__).parent / "post.lua"
TIMEOUT_S: Final = 60
"""Longer than the slowest answer that still arrives."""


@dataclass(frozen=True)
class Traffic:
    """The outcome of one load.

    requests: answered with a success status. errors: other statuses, broken connections, timeouts.
    """

    requests: int
    errors: int
    elapsed_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float


def run_wrk(url: str, content_type: str, bodies: Sequence[bytes], connections: int, seconds: int) -> Traffic:
    """Send these bodies in turn over `connections` with wrk. Raises BenchmarkError when wrk fails.

    wrk is a closed loop in one thread: each connection sends its next request when the answer arrives. A
    connection that the server closes between requests is reopened and does not count as an error.
    """
    with tempfile.TemporaryDirectory(prefix="fashion-mnist-bench-") as folder:
        for index, body in enumerate(bodies):
            (Path(folder) / f"{index:05d}").write_bytes(body)
        options = [
            "-t1",
            f"-c{connections}",
            f"-d{seconds}s",
            "--timeout",
            f"{TIMEOUT_S}s",
            "-s",
            str(SCRIPT),
        ]
        arguments = [folder, str(len(bodies)), content_type]
        command = ["wrk", *options, url, "--", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchmarkError(f"wrk failed on {url}: {done.stderr.strip() or done.stdout.strip()}")
    return read_wrk(done.stdout)


def read_wrk(output: str) -> Traffic:
    """Parse the line that post.lua prints. Raises BenchmarkError when it is missing."""
    line = next((line for line in output.splitlines() if line.startswith("RESULT ")), None)
    if line is None:
        raise BenchmarkError(
            f"wrk printed no RESULT line, expected one from {SCRIPT.name}: {output[-500:]!r}"
        )
    found = json.loads(line.removeprefix("RESULT "))
    refused = found["status_errors"]  # wrk counts them among its requests
    return Traffic(
        requests=found["requests"] - refused,
        errors=refused + found["socket_errors"] + found["timeouts"],
        elapsed_s=found["duration_us"] / 1e6,
        p50_ms=found["p50_us"] / 1e3,
        p95_ms=found["p95_us"] / 1e3,
        p99_ms=found["p99_us"] / 1e3,
    )


def post_for(url: str, content_type: str, body: bytes, connections: int, seconds: float) -> Traffic:
    """Post a large body again and again for `seconds`, then wait for the requests in flight.

    wrk would abort those in flight, a large part of the few that fit into the time.
    """
    return asyncio.run(_post_for(url, content_type, body, connections, seconds))


async def _post_for(url: str, content_type: str, body: bytes, connections: int, seconds: float) -> Traffic:
    latencies_ms: list[float] = []
    errors = 0
    start = time.perf_counter()

    async def work(http: httpx.AsyncClient) -> None:
        nonlocal errors
        while (begin := time.perf_counter()) - start < seconds:
            if await _post(http, url, content_type, body):
                latencies_ms.append((time.perf_counter() - begin) * 1000)
            else:
                errors += 1

    async with _client(connections) as http:
        await asyncio.gather(*(work(http) for _ in range(connections)))
    elapsed_s = time.perf_counter() - start
    ordered = sorted(latencies_ms) or [0.0]
    p50, p95, p99 = (ordered[min(len(ordered) - 1, int(len(ordered) * q))] for q in (0.5, 0.95, 0.99))
    return Traffic(len(latencies_ms), errors, elapsed_s, p50, p95, p99)


def post_all(url: str, content_type: str, bodies: Sequence[bytes], connections: int) -> int:
    """Post each body once; return how many were not answered with a success status."""

    async def run() -> int:
        left = iter(bodies)

        async def work(http: httpx.AsyncClient) -> int:
            return sum([not await _post(http, url, content_type, body) for body in left])

        async with _client(connections) as http:
            return sum(await asyncio.gather(*(work(http) for _ in range(connections))))

    return asyncio.run(run())


def post_at_once(host: str, port: int, path: str, content_type: str, bodies: Sequence[bytes]) -> int:
    """Open a connection for each body, then send all at once; return how many were not answered with 200.

    Written without a client library, which takes a millisecond per request: that would not be a burst.
    """

    async def run() -> int:
        opened = await asyncio.gather(*(asyncio.open_connection(host, port) for _ in bodies))
        for (_, writer), body in zip(opened, bodies, strict=True):
            head = f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n"
            head += f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
        answers = await asyncio.gather(*(reader.read() for reader, _ in opened), return_exceptions=True)
        for _, writer in opened:
            writer.close()
        good = [isinstance(a, bytes) and a.startswith(b"HTTP/1.1 200 ") for a in answers]
        return good.count(False)

    return asyncio.run(asyncio.wait_for(run(), TIMEOUT_S))


def _client(connections: int) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    return httpx.AsyncClient(timeout=TIMEOUT_S, limits=limits, trust_env=False)


async def _post(http: httpx.AsyncClient, url: str, content_type: str, body: bytes) -> bool:
    try:
        answer = await http.post(url, content=body, headers={"Content-Type": content_type})
    except httpx.TransportError:
        return False
    return answer.is_success
