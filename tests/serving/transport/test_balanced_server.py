"""Accepting connections: workers share them evenly, whatever happens to one of the workers."""

import asyncio
import os
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
import trustme
import uvicorn
from support.servers import Server, StartService, wait_for

from fashion_mnist.serving.admission.capacity import Capacity
from fashion_mnist.serving.admission.gate import Gate
from fashion_mnist.serving.transport.balanced_server import (
    MAX_ACCEPTS,
    BalancedServer,
    Stopping,
    count_waiting,
)
from fashion_mnist.serving.transport.connection_counts import ConnectionCounts

WORKERS = 3


@pytest.fixture(scope="module")
def crew(start_service: StartService) -> Iterator[Server]:
    with start_service(FASHION_MNIST_WORKERS=str(WORKERS)) as server:
        assert wait_for(lambda: all_take_part(server), 60)
        yield server


def all_take_part(server: Server) -> bool:
    """Return whether every worker accepts; at first, those that are ready take all connections."""
    with connections(server, 2 * WORKERS):
        time.sleep(0.2)
        return min(open_connections(server)) > 0


def address(server: Server) -> tuple[str, int]:
    parts = urlsplit(server.url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


@contextmanager
def connections(server: Server, count: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection(address(server))) for _ in range(count)]


def open_connections(server: Server) -> list[int]:
    """Return the number of open connections of each worker."""
    _, port = address(server)
    return [
        sum(c.laddr.port == port and c.status == psutil.CONN_ESTABLISHED for c in worker.net_connections())
        for worker in server.workers
    ]


def test_counts_are_shared_and_each_worker_writes_its_own(tmp_path: Path) -> None:
    first, second = (ConnectionCounts(tmp_path / "counts", 2, index) for index in (1, 2))
    first.mine = 5
    assert (first.mine, second.mine) == (5, 0)
    shares = [(first.fair_share(n), second.fair_share(n)) for n in (1, 7)]
    assert shares == [(0, 1), (1, 6)]
    second.mine = 7
    assert [first.fair_share(n) for n in (1, 2, 3, 4)] == [1, 2, 3, 3]
    assert [second.fair_share(n) for n in (1, 2, 3, 4)] == [0, 0, 1, 1]
    assert ConnectionCounts(tmp_path / "alone", 1, 1).fair_share(100) == 100
    assert ConnectionCounts(tmp_path / "counts", 2, 2).mine == 0  # of the worker that replaces a dead one
    assert second.mine == 0


def test_waiting_connections_are_counted() -> None:
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        for _ in range(5):
            stack.enter_context(socket.create_connection(listener.getsockname()))
        assert count_waiting(listener) == 5
        stack.enter_context(listener.accept()[0])
        assert count_waiting(listener) == 4
    with socket.socket(socket.AF_UNIX) as other:
        assert count_waiting(other) == 1


class Silent(asyncio.Protocol):
    def __init__(self, **_: object) -> None:
        pass

    def connection_made(self, transport: Any) -> None:
        transport.close()


def test_a_crowd_is_accepted_in_parts() -> None:
    """Between the parts the event loop answers requests."""

    async def run() -> list[int]:
        config = uvicorn.Config("none")
        config.http_protocol_class = Silent
        config.ssl = None
        stopping = Stopping(0, Gate(Capacity(100)), None)
        server = BalancedServer(config, ConnectionCounts(None, 1, 1), stopping)
        server.lifespan = SimpleNamespace(state={})
        counts = []
        with ExitStack() as stack:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=200))
            listener.setblocking(False)
            for _ in range(100):
                stack.enter_context(socket.create_connection(listener.getsockname()))
            for _ in range(2):
                server._accept_share(listener)
                counts.append(len(server.opening))
            await asyncio.gather(*server.opening.values())
            await asyncio.sleep(0.05)
        return counts

    assert asyncio.run(run()) == [MAX_ACCEPTS, 100]


def test_connections_are_spread_evenly(crew: Server) -> None:
    assert wait_for(lambda: sum(open_connections(crew)) == 0)
    with connections(crew, 10 * WORKERS):
        assert wait_for(lambda: sum(open_connections(crew)) == 10 * WORKERS)
        assert max(open_connections(crew)) - min(open_connections(crew)) <= 2
    assert wait_for(lambda: sum(open_connections(crew)) == 0)
    with connections(crew, WORKERS):  # the counts are back at zero
        assert wait_for(lambda: sum(open_connections(crew)) == WORKERS)
        assert max(open_connections(crew)) <= 2


def test_a_dead_worker_does_not_hold_up_the_others(crew: Server) -> None:
    before = {worker.pid for worker in crew.workers}
    with connections(crew, 4 * WORKERS):
        assert wait_for(lambda: sum(open_connections(crew)) == 4 * WORKERS)
        victim = crew.workers[0].pid
        os.kill(victim, signal.SIGKILL)
        for _ in range(20):  # while the worker is being replaced
            assert httpx.get(f"{crew.url}/livez").status_code == 200
    assert wait_for(lambda: len(crew.workers) == WORKERS and {w.pid for w in crew.workers} != before, 60)


@pytest.mark.slow
def test_a_worker_out_of_file_descriptors_logs_it_and_recovers(start_service: StartService) -> None:
    with start_service(FASHION_MNIST_WORKERS="2") as server:
        limits = {worker.pid: worker.rlimit(psutil.RLIMIT_NOFILE) for worker in server.workers}
        for worker in server.workers:
            used = max(int(file.name) for file in Path(f"/proc/{worker.pid}/fd").iterdir())
            worker.rlimit(psutil.RLIMIT_NOFILE, (used + 4, limits[worker.pid][1]))
        with connections(server, 40):
            assert wait_for(lambda: server.log.count("cannot accept connections") >= 2)
            busy = sum(worker.cpu_percent(interval=0.5) for worker in server.workers)
            assert busy < 50  # it does not retry in a tight loop
        for worker in server.workers:
            worker.rlimit(psutil.RLIMIT_NOFILE, limits[worker.pid])
        assert httpx.get(f"{server.url}/livez", timeout=10).status_code == 200


@pytest.mark.slow
def test_tls_works_and_plain_http_harms_nobody(start_service: StartService, tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    certificate.cert_chain_pems[0].write_to_path(chain)
    certificate.private_key_pem.write_to_path(key)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    options = {"--ssl-certfile": chain, "--ssl-keyfile": key}
    with start_service(
        FASHION_MNIST_WORKERS="2",
        verify=context,
        arguments=tuple(str(part) for option in options.items() for part in option),
    ) as server:
        _, port = address(server)
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://localhost:{port}/livez")
        for _ in range(4):
            assert httpx.get(f"https://localhost:{port}/livez", verify=context).status_code == 200
        assert "Traceback" not in server.log


@pytest.mark.slow
def test_idle_connections_make_room(crew: Server) -> None:
    """Last in this file: the workers get fewer descriptors than connections will be opened."""
    parent = psutil.Process(crew.process.pid)
    parent.rlimit(psutil.RLIMIT_NOFILE, (160, 160))
    old = crew.workers
    for worker in old:
        worker.kill()
    assert wait_for(lambda: not set(old) & set(crew.workers) and len(crew.workers) == WORKERS, 30)
    assert wait_for(lambda: all_take_part(crew), 60)
    with connections(crew, WORKERS * 160), httpx.Client(timeout=10) as client:
        for _ in range(5):
            start = time.monotonic()
            assert client.get(f"{crew.url}/model", headers={"connection": "close"}).status_code == 200
            assert time.monotonic() - start < 2
    assert "cannot accept" not in crew.log
