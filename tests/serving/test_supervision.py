"""Workers that hang or cannot start, the one model of all workers, and how a service stops."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from support.paths import BOOT
from support.servers import Server, StartService, wait_for

from fashion_mnist.registry.store import BUNDLED_FOLDER
from fashion_mnist.serving.supervision import MAX_FAILED_STARTS, SILENCE_S, Supervisor
from fashion_mnist.serving.transport.heartbeats import Heartbeat, Heartbeats, Row, is_alive


@pytest.fixture(scope="module")
def pair(start_service: StartService) -> Iterator[Server]:
    with start_service(FASHION_MNIST_WORKERS="2", FASHION_MNIST_DRAIN_S="2") as server:
        assert wait_for(lambda: server.log.count("initialized") == 2, 60)
        yield server


def predict(server: Server) -> httpx.Response:
    headers = {"content-type": "image/png", "connection": "close"}
    return httpx.post(f"{server.url}/predict", content=BOOT.read_bytes(), headers=headers)


def save(pair: Server, name: str) -> None:
    home = pair.log_path.parent / "bentoml-home"
    folder = home / "models" / "fashion_mnist" / name
    shutil.copytree(BUNDLED_FOLDER, folder)
    (folder / "model.yaml").write_text(
        f"name: fashion_mnist\nversion: {name}\nmodule: ''\nlabels: {{}}\noptions: {{}}\nmetadata: {{}}\n"
        "context:\n  framework_name: ''\n  framework_versions: {}\n  bentoml_version: 1.4.39\n"
        "  python_version: '3.11'\nsignatures: {}\napi_version: v1\n"
        "creation_time: '2026-01-01T00:00:00.000000+00:00'\n"
    )
    (folder.parent / "latest").write_text(name)


@pytest.mark.slow
def test_a_worker_that_hangs_is_replaced_and_serves_the_same_model(pair: Server) -> None:
    assert predict(pair).json()["model"] == "bundled"
    save(pair, "newer")  # saved by a training while the service runs
    before = {worker.pid for worker in pair.workers}
    victim = min(before)
    os.kill(victim, signal.SIGSTOP)
    start = time.monotonic()
    assert wait_for(lambda: f"worker process {victim} has not responded" in pair.log, SILENCE_S + 2)
    assert time.monotonic() - start < SILENCE_S + 1
    assert wait_for(lambda: len({w.pid for w in pair.workers} - before) == 1, 15)
    assert wait_for(lambda: pair.log.count("initialized") == 3, 30)
    time.sleep(0.2)
    names = {predict(pair).json()["model"] for _ in range(20)}  # of both workers
    assert names == {"bundled"}


@pytest.mark.slow
def test_a_worker_whose_event_loop_is_stuck_says_where_and_is_replaced(
    start_service: StartService, tmp_path: Path
) -> None:
    stuck = "import signal, time\nsignal.signal(signal.SIGUSR1, lambda *_: time.sleep(60))\n"
    (tmp_path / "sitecustomize.py").write_text(stuck)
    with start_service(FASHION_MNIST_WORKERS="1", PYTHONPATH=str(tmp_path)) as server:
        (victim,) = server.workers
        victim.send_signal(signal.SIGUSR1)
        start = time.monotonic()
        assert wait_for(lambda: f"worker process {victim.pid} has not responded" in server.log, SILENCE_S + 2)
        assert time.monotonic() - start < SILENCE_S + 1
        assert wait_for(lambda: server.log.count("initialized") == 2, 30)
        assert "sitecustomize.py" in server.log  # the traceback
        assert predict(server).status_code == 200


def test_a_service_that_stops_serves_on_then_refuses_connections(pair: Server) -> None:
    """Last of this module: it stops the service."""
    failures: list[str] = []
    refused = threading.Event()

    def load() -> None:
        with httpx.Client() as client:
            while not refused.is_set():
                try:
                    response = client.post(
                        f"{pair.url}/predict",
                        content=BOOT.read_bytes(),
                        headers={"content-type": "image/png"},
                    )
                except httpx.ConnectError:
                    refused.set()
                except httpx.TransportError as error:
                    failures.append(repr(error))
                else:
                    if response.status_code != 200:
                        failures.append(response.text)

    clients = [threading.Thread(target=load) for _ in range(4)]
    for client in clients:
        client.start()
    time.sleep(0.5)
    pair.process.terminate()
    assert wait_for(lambda: httpx.get(f"{pair.url}/readyz").status_code == 503, 1)
    assert httpx.get(f"{pair.url}/readyz").json()["code"] == "not_ready"
    assert predict(pair).status_code == 200
    for client in clients:
        client.join(10)
    assert pair.process.wait(timeout=10) == 0
    assert refused.is_set()
    assert not failures
    port = urlsplit(pair.url).port or 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_a_worker_that_cannot_start_ends_the_service(tmp_path: Path) -> None:
    table = Heartbeats(tmp_path / "table", workers=1)
    supervisor = Supervisor(table)
    for number in range(MAX_FAILED_STARTS):
        assert not supervisor.gave_up
        with subprocess.Popen([sys.executable, "-c", ""]) as process:
            table[1] = Row(process.pid, 0.0)
        for index, row in enumerate(table.rows()):
            if row.pid:
                supervisor.look(index, row)
        assert table[1] == Row(0, 0.0), number
    assert supervisor.gave_up


def test_a_worker_that_serves_is_forgiven_and_one_that_does_not_stop_is_killed(tmp_path: Path) -> None:
    table = Heartbeats(tmp_path / "table", workers=1)
    supervisor = Supervisor(table)
    supervisor.failed_starts[1] = MAX_FAILED_STARTS - 1
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        supervisor.look(1, Row(process.pid, time.monotonic()))
        assert supervisor.failed_starts[1] == 0
        supervisor.look(1, Row(process.pid, -(time.monotonic() + 60)))
        assert is_alive(process.pid)
        supervisor.look(1, Row(process.pid, -time.monotonic() + 1))
        assert process.wait(5) == -signal.SIGKILL
    assert not is_alive(1)  # not a child of this process


def test_the_last_worker_that_stops_is_told_so(tmp_path: Path) -> None:
    table = Heartbeats(tmp_path / "table", workers=2)
    first, second = Heartbeat(table, 1), Heartbeat(table, 2)
    assert not first.stop(10)
    assert second.stop(10)
