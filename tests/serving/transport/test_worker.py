"""Installing the server: `uvicorn.Server` is replaced for one call; a start without that call is logged."""

import inspect
import logging
from collections.abc import Iterator

import pytest
import uvicorn
from _bentoml_impl.worker import service as bentoml_worker
from support.servers import Server

from fashion_mnist.serving.admission.capacity import Capacity
from fashion_mnist.serving.admission.gate import Gate
from fashion_mnist.serving.transport import worker
from fashion_mnist.serving.transport.balanced_server import BalancedServer
from fashion_mnist.serving.transport.fast_path import FastPathProtocol
from fashion_mnist.serving.transport.worker import FastPath, ServerInstallation

FAST_PATH = FastPath("/predict", 100, Gate(Capacity(1)), lambda exchange: False)


@pytest.fixture(autouse=True)
def original() -> Iterator[type[uvicorn.Server]]:
    before = uvicorn.Server
    yield before
    setattr(uvicorn, "Server", before)  # noqa: B010 - mypy takes classes for constants


def config() -> uvicorn.Config:
    return uvicorn.Config(lambda scope: None, log_config=None)


def test_bentomls_worker_still_constructs_the_server_in_the_same_way() -> None:
    source = inspect.getsource(bentoml_worker)
    assert "uvicorn.Server(config).run(sockets=[socket])" in source
    assert source.index("service.to_asgi(") < source.index("uvicorn.Server(config)")


def test_the_first_server_is_ours_and_the_next_is_uvicorns(original: type[uvicorn.Server]) -> None:
    installation = ServerInstallation(FAST_PATH, workers=2)
    settings = config()
    server = uvicorn.Server(settings)
    assert isinstance(server, BalancedServer)
    assert server.workers == 2
    assert settings.http.func is FastPathProtocol  # type: ignore[union-attr]
    assert uvicorn.Server is original
    installation.check()
    assert type(uvicorn.Server(config())) is original


def test_without_a_fast_path_the_protocol_stays_uvicorns() -> None:
    ServerInstallation(None, workers=2)
    settings = config()
    assert isinstance(uvicorn.Server(settings), BalancedServer)
    assert settings.http == "auto"


def test_a_start_without_our_server_is_logged(
    original: type[uvicorn.Server], caplog: pytest.LogCaptureFixture
) -> None:
    installation = ServerInstallation(FAST_PATH, workers=2)
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
