"""Installing the server: `uvicorn.Server` is replaced for one call; a start without that call is logged."""

import inspect
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from _bentoml_impl.worker import service as bentoml_worker
from support.servers import Server

from fashion_mnist.serving.admission.capacity import Capacity
from fashion_mnist.serving.admission.gate import Gate
from fashion_mnist.serving.transport import worker
from fashion_mnist.serving.transport.balanced_server import BalancedServer, Stopping
from fashion_mnist.serving.transport.connection_counts import ConnectionCounts
from fashion_mnist.serving.transport.fast_path import FastPathProtocol
from fashion_mnist.serving.transport.http_limits import LimitedProtocol
from fashion_mnist.serving.transport.worker import UVICORN_KEEP_ALIVE_S, FastPath, ServerInstallation

GATE = Gate(Capacity(1))
FAST_PATH = FastPath("/predict", 100, GATE, lambda exchange: False)
STOPPING = Stopping(0.0, GATE, None)


@pytest.fixture(autouse=True)
def original() -> Iterator[type[uvicorn.Server]]:
    before = uvicorn.Server
    yield before
    setattr(uvicorn, "Server", before)  # noqa: B010 - mypy takes classes for constants


@pytest.fixture
def counts(tmp_path: Path) -> ConnectionCounts:
    return ConnectionCounts(tmp_path / "counts", workers=2, index=1)


def config() -> uvicorn.Config:
    return uvicorn.Config(lambda scope: None, log_config=None)


def test_bentomls_worker_still_constructs_the_server_in_the_same_way() -> None:
    source = inspect.getsource(bentoml_worker)
    assert "uvicorn.Server(config).run(sockets=[socket])" in source
    assert source.index("service.to_asgi(") < source.index("uvicorn.Server(config)")


def test_the_first_server_is_ours_and_the_next_is_uvicorns(
    original: type[uvicorn.Server], counts: ConnectionCounts
) -> None:
    installation = ServerInstallation(FAST_PATH, counts, keep_alive_s=75, stopping=STOPPING)
    settings = config()
    server = uvicorn.Server(settings)
    assert isinstance(server, BalancedServer)
    assert server.counts is counts
    assert settings.http.func is FastPathProtocol  # type: ignore[union-attr]
    assert settings.timeout_keep_alive == 75
    assert uvicorn.Server is original
    installation.check()
    assert type(uvicorn.Server(config())) is original


def test_limits_hold_without_a_fast_path(counts: ConnectionCounts) -> None:
    ServerInstallation(None, counts, keep_alive_s=75, stopping=STOPPING)
    settings = config()
    assert isinstance(uvicorn.Server(settings), BalancedServer)
    assert settings.http is LimitedProtocol


def test_bentomls_own_option_for_idle_connections_is_kept(counts: ConnectionCounts) -> None:
    source = inspect.getsource(bentoml_worker)
    default = UVICORN_KEEP_ALIVE_S
    assert re.search(rf'"--timeout-keep-alive",\s+type=int,\s+default={default},', source)
    assert config().timeout_keep_alive == default
    ServerInstallation(None, counts, keep_alive_s=75, stopping=STOPPING)
    settings = uvicorn.Config(lambda scope: None, log_config=None, timeout_keep_alive=20)
    uvicorn.Server(settings)
    assert settings.timeout_keep_alive == 20


def test_a_start_without_our_server_is_logged(
    original: type[uvicorn.Server], caplog: pytest.LogCaptureFixture, counts: ConnectionCounts
) -> None:
    installation = ServerInstallation(FAST_PATH, counts, keep_alive_s=75, stopping=STOPPING)
    worker.logger.addHandler(caplog.handler)
    try:
        with caplog.at_level(logging.ERROR):
            installation.check()
    finally:
        worker.logger.removeHandler(caplog.handler)
    assert "BentoML did not construct uvicorn.Server" in caplog.text
    assert uvicorn.Server is original


def test_the_service_runs_on_our_server(service: Server) -> None:
    assert "small requests take the fast path" in service.log
    assert "did not construct" not in service.log
