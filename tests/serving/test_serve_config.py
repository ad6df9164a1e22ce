"""Settings of the service: blank, misspelt and wrong variables, and what they do to a real service."""

import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest
from support.paths import BOOT, ROOT
from support.servers import Server, StartService

from fashion_mnist.errors import ConfigError
from fashion_mnist.inference.openvino_runtime import BATCH_SIZES
from fashion_mnist.serving.config import ServeConfig, read_serve_config, unknown_variables

PREFLIGHT = {"Access-Control-Request-Method": "POST"}


@pytest.mark.parametrize("blank", ["", " ", "\r"])
def test_a_blank_variable_is_unset(blank: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read_serve_config()
    for name in ServeConfig.model_fields:
        monkeypatch.setenv(f"FASHION_MNIST_{name.upper()}", blank)
    assert read_serve_config() == before


def test_a_trailing_carriage_return_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    before = read_serve_config()
    settings = {"model": "bundled", "precision": "fp32", "workers": 1, "access_log": True}
    for name, value in settings.items():
        monkeypatch.setenv(f"FASHION_MNIST_{name.upper()}", f"{value}\r")
    assert read_serve_config() == before.model_copy(update=settings)


def test_a_misspelt_variable_is_named_with_the_nearest_one() -> None:
    known = ["FASHION_MNIST_MODEL", "FASHION_MNIST_DATA", "fashion_mnist_port", "MODEL", "MY_FASHION_MNIST_X"]
    assert unknown_variables(known) == []
    near, far = unknown_variables(["FASHION_MNIST_XYZ", "FASHION_MNIST_BATCHSIZE", *known])
    assert near.startswith("FASHION_MNIST_BATCHSIZE is not a setting")
    assert near.endswith("did you mean FASHION_MNIST_BATCH_SIZE?")
    assert far.startswith("FASHION_MNIST_XYZ is not a setting")
    assert "docs/configuration.md" in far


def test_a_batch_size_that_the_network_is_not_compiled_for_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for size in range(20):
        monkeypatch.setenv("FASHION_MNIST_BATCH_SIZE", str(size))
        if size in BATCH_SIZES[:-1]:  # BentoML calls a batch of 1 an error
            assert read_serve_config().batch_size == size
        else:
            with pytest.raises(
                ConfigError, match=rf"^FASHION_MNIST_BATCH_SIZE={size}: expected 2, 4, 8 or 16"
            ):
                read_serve_config()


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        ("https://A.example/", ["https://a.example"]),
        ("HTTP://localhost:5173/ , null", ["http://localhost:5173", "null"]),
        ("https://a.example:443, http://a.example:80", ["https://a.example", "http://a.example"]),
        ("http://a.example:443, http://[::1]:80", ["http://a.example:443", "http://[::1]"]),
        ("capacitor://localhost", ["capacitor://localhost"]),
    ],
)
def test_origins_become_what_browsers_send(text: str, origins: list[str]) -> None:
    assert ServeConfig(cors_origins=text).origins == origins


@pytest.mark.parametrize(
    "origin",
    ["a.example", "https://a.example/app", "https://*.a.example", "//a.example", "https://", "https://a.example?x",
     "https://me@a.example", "https://a.example:port", "https://bücher.example", "https://a.example http://b"],
)  # fmt: skip
def test_what_is_no_origin_is_refused_and_named(origin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASHION_MNIST_CORS_ORIGINS", f"https://b.example,{origin}")
    with pytest.raises(
        ConfigError, match=rf"^FASHION_MNIST_CORS_ORIGINS=.*{re.escape(repr(origin))} is not an origin"
    ):
        read_serve_config()


@pytest.fixture(scope="module")
def server(start_service: StartService) -> Iterator[Server]:
    """Run a service whose settings come from a hurried .env file."""
    settings = {
        "FASHION_MNIST_MODEL": "",
        "FASHION_MNIST_WORKERS": "2\r",
        "FASHION_MNIST_THREDS": "1",
        "FASHION_MNIST_BATCH_SIZE": "2",
        "FASHION_MNIST_KEEP_ALIVE_S": "1",
        "FASHION_MNIST_CORS_ORIGINS": "HTTPS://A.example/",
    }
    with start_service(**settings) as running:
        yield running


def test_the_service_starts_and_logs_the_misspelt_variable_once(server: Server) -> None:
    answer = httpx.post(
        f"{server.url}/predict", content=BOOT.read_bytes(), headers={"Content-Type": "image/png"}
    )
    assert (answer.json()["prediction"], answer.json()["model"]) == ("Ankle boot", "bundled")
    assert server.log.count("did you mean FASHION_MNIST_THREADS?") == 1


def test_a_browser_may_call_with_the_headers_it_asks_for(server: Server) -> None:
    asked = "authorization, traceparent, x-requested-with"
    headers = {"Origin": "https://a.example", "Access-Control-Request-Headers": asked, **PREFLIGHT}
    answer = httpx.options(f"{server.url}/predict", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://a.example"
    assert answer.headers["access-control-allow-headers"] == asked


@pytest.mark.parametrize("path", [b"/predict", b"/model"])  # on the fast path, and through ASGI
def test_an_idle_connection_is_closed_after_the_configured_time(server: Server, path: bytes) -> None:
    parts = urlsplit(server.url)
    body = BOOT.read_bytes()
    head = b"POST %s HTTP/1.1\r\nHost: here\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n"
    with socket.create_connection((str(parts.hostname), parts.port or 0), timeout=30) as connection:
        connection.sendall(head % (path, len(body)) + body)
        assert connection.recv(65536).startswith(b"HTTP/1.1 ")
        start = time.monotonic()
        while connection.recv(65536):
            pass
        assert 0.8 < time.monotonic() - start < 4  # Uvicorn's own limit is 5


def test_the_health_check_accepts_a_port_from_windows(server: Server) -> None:
    port = urlsplit(server.url).port
    for line_end, status in (("", 0), ("\r", 0), ("0", 1)):
        environment = {"FASHION_MNIST_PORT": f"{port}{line_end}", "PATH": os.environ["PATH"]}
        command = ["bash", str(ROOT / "deploy" / "healthcheck.sh")]
        assert subprocess.run(command, env=environment, capture_output=True, check=False).returncode == status


def test_the_default_outlasts_the_connections_of_proxies() -> None:
    assert ServeConfig().keep_alive_s > 60
