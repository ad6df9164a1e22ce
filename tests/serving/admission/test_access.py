"""Keys and rates on the real service: who may do what, on both ways in, on every route."""

import base64
import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from support.commands import run
from support.paths import BOOT
from support.requests import assert_error
from support.servers import Server, StartService

PICTURE = BOOT.read_bytes()
PNG = {"Content-Type": "image/png"}
OPEN = ("/livez", "/readyz", "/healthz", "/docs", "/docs/start.js", "/docs/swagger-ui.css")


def add_key(file: Path, name: str, *options: str) -> str:
    code, key, errors = run("keys", "add", name, "--file", file, *options)
    assert code == 0, errors
    return key.strip()


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys.json"


@pytest.fixture(scope="module")
def keys(file: Path) -> dict[str, str]:
    return {
        "predict": add_key(file, "app", "--role", "predict"),
        "read": add_key(file, "prometheus", "--role", "read"),
        "admin": add_key(file, "boss", "--role", "admin"),
        "slow": add_key(file, "slow", "--role", "predict", "--rate", "5/min"),
    }


@pytest.fixture(scope="module")
def closed(start_service: StartService, file: Path, keys: dict[str, str]) -> Iterator[Server]:
    with start_service(
        FASHION_MNIST_API_KEYS_FILE=str(file),
        FASHION_MNIST_REQUIRE_AUTH="true",
        FASHION_MNIST_WORKERS="2",
        FASHION_MNIST_CORS_ORIGINS="https://a.org",
    ) as server:
        yield server


@pytest.fixture
def http(closed: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=closed.url, timeout=30) as client:
        yield client


def send_raw(server: Server, head: str, body: bytes = b"") -> int:
    """Send a request as it stands, and return the status."""
    with socket.create_connection(("127.0.0.1", urlsplit(server.url).port or 0), timeout=10) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)
        status = connection.recv(4096).split(b" ", 2)[1]
    return int(status)


def test_every_route_is_closed_but_health_and_pages(http: httpx.Client) -> None:
    from fashion_mnist.serving import app

    for path in OPEN:
        assert http.get(path).status_code == 200, path
    closed = [path for path, role in app.ROLES.items() if role is not None]
    assert {"/predict", "/model", "/docs.json", "/schema.json", "/metrics"} <= set(closed)
    unlisted = ["/later", "/train", "/models", "/static_content/index.html", "/docs/", "/docs/nope", "/LIVEZ"]
    for path in [*closed, *unlisted]:
        for method in ("GET", "POST", "PUT", "OPTIONS", "HEAD", "TRACE", "PROPFIND"):
            answer = http.request(method, path, content=PICTURE if method == "POST" else b"")
            assert answer.status_code == 401, (method, path)
        assert_error(http.post(path, content=PICTURE), 401, "missing_credentials")


def test_no_spelling_of_a_path_gets_around_the_key(closed: Server) -> None:
    length = f"Content-Length: {len(PICTURE)}"
    for head in (
        f"POST http://elsewhere/predict HTTP/1.1\nHost: x\n{length}",
        f"POST //predict HTTP/1.1\nHost: x\n{length}",
        f"POST /PREDICT HTTP/1.1\nHost: x\n{length}",
        f"POST /%70redict HTTP/1.1\nHost: x\n{length}",
        f"POST /predict/ HTTP/1.1\nHost: x\n{length}",
        f"POST /livez/../predict HTTP/1.1\nHost: x\n{length}",
        f"POST /predict?x=/livez HTTP/1.1\nHost: x\n{length}",
        f"POST /predict HTTP/1.1\nHost: a/livez?\n{length}",
        f"POST /predict HTTP/1.0\n{length}",
        f"POST /predict HTTP/1.1\nHost: x\nConnection: Upgrade\nUpgrade: h2c\n{length}",
        f"BREW /predict HTTP/1.1\nHost: x\n{length}",
    ):
        assert send_raw(closed, head, PICTURE) in (400, 401), head


@pytest.mark.parametrize("large", [False, True], ids=["fast path", "ASGI"])
def test_keys_are_taken_as_bearer_and_basic(http: httpx.Client, keys: dict[str, str], large: bool) -> None:
    body = json.dumps({"pixels": [0] * 784}).encode() + b" " * (20_000 if large else 0)
    headers = {"Content-Type": "application/json"}

    def status(authorization: str | None) -> int:
        extra = {} if authorization is None else {"Authorization": authorization}
        return http.post("/predict", content=body, headers={**headers, **extra}).status_code

    key = keys["predict"]
    basic = base64.b64encode(f"app:{key}".encode()).decode()
    other = base64.b64encode(f"boss:{key}".encode()).decode()
    assert status(f"Bearer {key}") == 200
    assert status(f"bearer {key}") == 200
    assert status(f"Basic {basic}") == 200
    for wrong in (None, f"Bearer {key}x", f"Bearer {key[:-1]}", "Bearer", "Basic", "Basic !!", key):
        assert status(wrong) in (401, 429), wrong
    assert status(f"Basic {other}") in (401, 429)
    assert status(f"Bearer {key}") == 200  # whatever else came from this address


def test_the_challenge_opens_no_dialog_for_a_pages_script(http: httpx.Client) -> None:
    plain = http.post("/predict", content=PICTURE)
    script = http.post("/predict", content=PICTURE, headers={"X-Requested-With": "fetch"})
    assert [part[:6] for part in plain.headers.get_list("www-authenticate")] == ["Bearer", "Basic "]
    assert [part[:6] for part in script.headers.get_list("www-authenticate")] == ["Bearer"]


def test_roles(http: httpx.Client, keys: dict[str, str]) -> None:
    for path in ("/model", "/docs.json", "/schema.json"):
        for key in ("predict", "read", "admin"):
            assert http.get(path, headers=bearer(keys[key])).status_code == 200
    assert_error(http.get("/metrics", headers=bearer(keys["predict"])), 403, "forbidden")
    assert http.get("/metrics", headers=bearer(keys["read"])).status_code == 200
    assert_error(http.get("/later", headers=bearer(keys["read"])), 403, "forbidden")
    assert_error(http.get("/later", headers=bearer(keys["admin"])), 404, "not_found")


def test_a_page_elsewhere_can_send_a_key(http: httpx.Client, keys: dict[str, str]) -> None:
    origin = {"Origin": "https://a.org"}
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    preflight = http.options("/predict", headers={**origin, **asked})
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-headers"] == "authorization"
    refused = http.post("/predict", content=PICTURE, headers=origin)
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "https://a.org"


def test_what_an_admin_does_is_logged(http: httpx.Client, closed: Server, keys: dict[str, str]) -> None:
    http.post("/later", headers={**bearer(keys["admin"]), "X-Request-ID": "audit-me"})
    deadline = time.monotonic() + 5  # the line is written after the answer
    while '"audit-me"' not in closed.log:
        assert time.monotonic() < deadline
    lines = [json.loads(line) for line in closed.log.splitlines() if line.startswith('{"time"')]
    (entry,) = [line for line in lines if line["request_id"] == "audit-me"]
    assert (entry["key"], entry["method"], entry["path"], entry["status"]) == ("boss", "POST", "/later", 404)
    assert not re.search(r"fmk_[A-Za-z0-9_-]{43}", closed.log)  # no key is ever logged


def test_a_rate_counts_images_over_all_workers(
    http: httpx.Client, closed: Server, keys: dict[str, str]
) -> None:
    headers = {**bearer(keys["slow"]), "Content-Type": "application/json"}

    def post(images: int) -> httpx.Response:
        with httpx.Client(base_url=closed.url) as new:  # a new connection, to either worker
            return new.post("/predict", json={"pixels": [[0] * 784] * images}, headers=headers)

    assert [post(1).status_code for _ in range(2)] == [200, 200]
    assert post(3).status_code == 200
    for _ in range(4):
        limited = post(1)
        assert_error(limited, 429, "rate_limited")
        assert 1 <= int(limited.headers["retry-after"]) <= 12
    assert http.post("/predict", content=PICTURE, headers=bearer(keys["predict"])).status_code == 200


def test_wrong_keys_are_slowed_down_and_valid_ones_are_not(http: httpx.Client, keys: dict[str, str]) -> None:
    wrong = {**PNG, **bearer("fmk_" + "x" * 43), "X-Forwarded-For": "203.0.113.9"}
    statuses = [http.post("/predict", content=PICTURE, headers=wrong).status_code for _ in range(40)]
    assert statuses[:15] == [401] * 15
    assert statuses[-5:] == [429] * 5
    right = {**PNG, **bearer(keys["predict"]), "X-Forwarded-For": "203.0.113.9"}
    assert http.post("/predict", content=PICTURE, headers=right).status_code == 200
    other = {**wrong, "X-Forwarded-For": "203.0.113.10"}
    assert http.post("/predict", content=PICTURE, headers=other).status_code == 401


def test_a_change_of_the_file_is_noticed_and_a_broken_one_is_not_followed(
    http: httpx.Client, closed: Server, file: Path, keys: dict[str, str]
) -> None:
    def wait_for(status: int, key: str) -> None:
        deadline = time.monotonic() + 2.5
        while (found := http.get("/model", headers=bearer(key)).status_code) != status:
            assert time.monotonic() < deadline, found

    new = add_key(file, "new", "--role", "predict")
    wait_for(200, new)
    assert run("keys", "remove", "new", "--file", file)[0] == 0
    wait_for(401, new)
    content = file.read_bytes()
    file.write_text("{")
    deadline = time.monotonic() + 2.5
    while "keys.json" not in closed.log:
        assert http.get("/model", headers=bearer(keys["predict"])).status_code == 200
        assert time.monotonic() < deadline, closed.log
    file.write_bytes(content)
    wait_for(200, keys["predict"])


@pytest.mark.parametrize(
    ("content", "variables"),
    [
        (None, {"FASHION_MNIST_REQUIRE_AUTH": "true"}),
        ("", {}),
        ('{"format": 1, "keys": []}', {}),
        ("{", {}),
    ],
)
def test_the_service_refuses_to_start(
    start_service: StartService, tmp_path: Path, content: str | None, variables: dict[str, Any]
) -> None:
    path = tmp_path / "keys.json"
    if content is not None:
        path.write_text(content)
        variables = {**variables, "FASHION_MNIST_API_KEYS_FILE": str(path)}
    with pytest.raises(AssertionError, match="fashion_mnist: "), start_service(**variables):
        pass
