"""The gate: every request passes it, on the fast path and through ASGI; what it does to each request."""

import asyncio
import json
import os
import random
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message
from support.paths import BOOT
from support.servers import Server, StartService

from fashion_mnist.bentoml_internals import server_context
from fashion_mnist.serving.admission.access_log import AccessLog
from fashion_mnist.serving.admission.capacity import Capacity
from fashion_mnist.serving.admission.cors import CorsPolicy
from fashion_mnist.serving.admission.gate import PROBES, Gate, Ticket
from fashion_mnist.serving.monitoring.line_writer import LineWriter
from fashion_mnist.serving.monitoring.tallies import FLUSH_S
from fashion_mnist.serving.protocol.responses import Response

ORIGIN = (b"origin", b"https://a.org")
PNG = {"Content-Type": "image/png"}


@pytest.fixture(scope="module")
def factory() -> Any:
    """The factory of the service's application, built as BentoML builds it, without a server."""
    import service
    from fashion_mnist.serving.app import AppFactory

    bento: Any = service.FashionMnist
    bento.inject_config()
    return AppFactory(bento, is_main=True)


def call(app: ASGIApp, method: str, path: str, *, host: str = "here") -> tuple[int, bytes]:
    """Send a request through ASGI; return status and body."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"",
        "root_path": "", "headers": [(b"host", host.encode())], "client": ("10.0.0.1", 9), "scheme": "http",
        "server": ("here", 80), "http_version": "1.1", "state": {},
    }  # fmt: skip

    async def run() -> None:
        await app(scope, receive, send)

    asyncio.run(run())
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


def routes(app: Starlette) -> Iterator[tuple[str, str]]:
    """Yield the method and path of every route."""
    for route in app.router.routes:
        if isinstance(route, Mount):
            yield "GET", f"{route.path}/anything"
        else:
            assert isinstance(route, Route)
            for method in route.methods or ("GET",):
                yield method, route.path


class ClosedGate(Gate):
    """Rejects every request. asked: method, path and client of each."""

    def __init__(self) -> None:
        super().__init__(Capacity(1))
        self.asked: list[tuple[str, str, Any]] = []

    def admit(self, method: str, path: str, headers: Any, client: Any) -> Ticket | Response:
        self.asked.append((method, path, client))
        return Response(503, ((b"content-length", b"6"),), b"closed")


def test_nothing_passes_a_closed_gate_through_asgi(factory: Any) -> None:
    from fashion_mnist.serving.transport.edge import Edge

    gate = ClosedGate()
    app = factory()
    edge = Edge(app, gate)
    known = list(routes(app))
    assert {("POST", "/predict"), ("GET", "/model"), ("GET", "/docs.json"), ("GET", "/metrics")} <= set(known)
    assert len(known) >= 10
    unknown = [("GET", "//"), ("GET", "/PREDICT"), ("TRACE", "/predict"), ("GET", "/later"), ("BREW", "/")]
    for method, path in [*known, *unknown]:
        assert call(edge, method, path) == (503, b"closed"), (method, path)
        assert call(edge, method, path, host="a:b:c\\") == (503, b"closed"), (method, path)
        assert gate.asked[-1] == (method, path, ("10.0.0.1", 9))
    assert len(gate.asked) == 2 * len([*known, *unknown])


def test_the_fast_path_of_the_service_uses_the_gate_of_its_application(factory: Any) -> None:
    fast_path = factory.fast_path
    assert fast_path.gate is factory.gate  # test_fast_path.py checks that nothing bypasses it there


def test_edge_and_fast_path_of_a_worker_share_one_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    import service
    from fashion_mnist.serving import app

    installed: list[Any] = []

    def install(fast_path: Any, *others: Any) -> None:
        installed.append(fast_path)

    monkeypatch.setattr(app, "ServerInstallation", install)
    monkeypatch.setattr(server_context, "worker_index", 1)
    bento: Any = service.FashionMnist
    edge: Any = app.build(bento, True)
    assert installed[0].gate is edge.gate


def test_an_unexpected_failure_at_the_gate_leaves_no_request_in_flight(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate = Gate(Capacity(1), cors=CorsPolicy(["*"]))
    monkeypatch.setattr(Capacity, "enter", lambda self: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        gate.admit("POST", "/predict", [], None)
    assert gate.capacity.in_flight == 0


def test_a_ticket_is_counted_in_and_out_once() -> None:
    gate = Gate(Capacity(2))
    tickets = [gate.admit("POST", "/predict", [], None) for _ in range(2)]
    refused = gate.admit("GET", "/model", [], None)
    assert isinstance(refused, Response)
    assert refused.status == 503
    assert b"overloaded" in refused.body
    assert {name for name, _ in refused.headers} >= {b"x-request-id", b"retry-after"}
    for path in PROBES:  # admitted whatever the load
        assert isinstance(gate.admit("GET", path, [], None), Ticket)
    for ticket in tickets:
        assert isinstance(ticket, Ticket)
        ticket.finish(200)
        ticket.finish(200)
    assert gate.capacity.in_flight == 0


def test_the_callers_request_id_is_kept_if_it_is_printable() -> None:
    def id_for(*headers: tuple[bytes, bytes]) -> bytes:
        ticket = Gate(Capacity(1)).admit("GET", "/", headers, None)
        assert isinstance(ticket, Ticket)
        return dict(ticket.headers)[b"x-request-id"]

    assert id_for((b"x-request-id", b"mine")) == b"mine"
    for bad in (b"", b"two words", b"a" * 129, b"\xff"):
        assert len(id_for((b"x-request-id", bad))) == 32
    assert id_for() != id_for()


@pytest.mark.parametrize(
    ("origins", "sent", "allowed", "vary"),
    [
        (["https://a.org"], b"https://a.org", b"https://a.org", b"Origin"),
        (["https://a.org"], b"https://b.org", None, b"Origin"),
        (["https://a.org"], None, None, b"Origin"),
        (["*"], b"https://b.org", b"*", None),
        (["*"], None, None, None),
    ],
)
def test_cors_permits_the_given_origins(
    origins: list[str], sent: bytes | None, allowed: bytes | None, vary: bytes | None
) -> None:
    headers = dict(CorsPolicy(origins).headers(sent))
    assert headers.get(b"access-control-allow-origin") == allowed
    assert headers.get(b"vary") == vary
    assert (b"access-control-expose-headers" in headers) == (allowed is not None)


def test_a_preflight_is_answered_at_the_gate_even_when_the_service_is_full() -> None:
    gate = Gate(Capacity(0), cors=CorsPolicy(["https://a.org"]))
    asked = [(b"access-control-request-method", b"POST"), (b"access-control-request-headers", b"traceparent")]
    response = gate.admit("OPTIONS", "/predict", [ORIGIN, *asked], None)
    assert isinstance(response, Response)
    headers = dict(response.headers)
    assert response.status == 200
    assert headers[b"access-control-allow-origin"] == b"https://a.org"
    assert headers[b"access-control-allow-headers"] == b"traceparent"
    assert b"POST" in headers[b"access-control-allow-methods"]
    refused = gate.admit("POST", "/predict", [ORIGIN], None)
    assert isinstance(refused, Response)  # a browser shows the error to its page
    assert dict(refused.headers)[b"access-control-allow-origin"] == b"https://a.org"


def test_each_request_is_logged_on_one_line_with_address_and_status(tmp_path: Path) -> None:
    log = tmp_path / "log"
    fd = os.open(log, os.O_WRONLY | os.O_CREAT)
    gate = Gate(Capacity(1), access_log=AccessLog(LineWriter(fd, print)))

    async def serve() -> None:
        for method, path in (("POST", "/predict"), ("GET", "/a\nb"), ("GET", "/livez")):
            ticket = gate.admit(method, path, [], ("10.0.0.1", 9))
            assert isinstance(ticket, Ticket)
            ticket.finish(404)
        assert log.read_text() == ""  # nothing is written while requests wait
        while log.read_text().count("\n") < 2:
            await asyncio.sleep(FLUSH_S)

    asyncio.run(asyncio.wait_for(serve(), 10))
    gate.close()
    os.close(fd)
    first, second = log.read_text().splitlines()  # probes are not logged
    assert " 10.0.0.1:9 (method=POST,path=/predict) (status=404) " in first
    assert "path='/a\\nb'" in second  # the path cannot break the line


@pytest.mark.parametrize(("which", "expected"), [("errors", 200), (0.25, 100), (True, 400)])
def test_errors_or_a_share_of_the_requests_can_be_logged(which: Any, expected: int, tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        gate = Gate(Capacity(1), access_log=AccessLog(LineWriter(file.fileno(), print), which, as_json=True))

        async def serve() -> None:
            random.seed(0)
            for number in range(400):
                ticket = gate.admit("GET", "/", [], None)
                assert isinstance(ticket, Ticket)
                ticket.finish((200, 404, 302, None)[number % 4])
            gate.close()

        asyncio.run(serve())
    lines = [json.loads(line) for line in (tmp_path / "log").read_bytes().splitlines()]
    assert abs(len(lines) - expected) <= (25 if which == 0.25 else 0)
    statuses = {404, None} if which == "errors" else {200, 404, 302, None}
    assert {line["status"] for line in lines} == statuses


def test_log_lines_are_written_at_once_outside_an_event_loop(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        gate = Gate(Capacity(1), access_log=AccessLog(LineWriter(file.fileno(), print)))
        ticket = gate.admit("GET", "/", [], None)
        assert isinstance(ticket, Ticket)
        ticket.finish(None)
    assert " _ (method=GET,path=/) (status=none) " in (tmp_path / "log").read_text()


def series(client: httpx.Client, name: str, **labels: str) -> float:
    families = text_string_to_metric_families(client.get("/metrics").text)
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    return sum(s.value for s in samples if labels.items() <= s.labels.items())


@pytest.mark.slow
def test_requests_refused_at_the_gate_are_in_the_metrics(start_service: StartService) -> None:
    with (
        start_service(FASHION_MNIST_WORKERS="1", FASHION_MNIST_MAX_IN_FLIGHT="1") as server,
        httpx.Client(base_url=server.url) as client,
        httpx.Client(base_url=server.url) as other,
    ):

        def slow() -> Iterator[bytes]:
            yield BOOT.read_bytes()[:100]
            deadline = time.monotonic() + 10
            while series(other, "bentoml_service_request_in_progress", endpoint="/predict") < 1:
                assert time.monotonic() < deadline
            for content in (BOOT.read_bytes(), b""):  # on the fast path, and through ASGI
                refused = other.post("/predict", content=content, headers=PNG)
                assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
            yield BOOT.read_bytes()[100:]

        assert client.post("/predict", content=slow(), headers=PNG).status_code == 200
        refused = series(
            client, "bentoml_service_request_total", endpoint="/predict", http_response_code="503"
        )
        assert refused == 2
        assert series(client, "bentoml_service_request_in_progress") == 0


def test_every_answer_of_the_service_carries_a_request_id(client: httpx.Client, service: Server) -> None:
    for method, path in (("GET", "/"), ("GET", "/nope"), ("PUT", "/predict"), ("GET", "/readyz")):
        assert client.request(method, path).headers["x-request-id"]


def test_clients_that_do_not_read_occupy_no_place(start_service: StartService) -> None:
    request = b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: here\r\n\r\n"
    with (
        start_service(FASHION_MNIST_WORKERS="1", FASHION_MNIST_MAX_IN_FLIGHT="2") as server,
        ExitStack() as stack,
    ):
        port = urlsplit(server.url).port
        for _ in range(2):
            slow = stack.enter_context(socket.create_connection(("127.0.0.1", port or 0)))
            slow.sendall(5 * request)
            assert slow.recv(12) == b"HTTP/1.1 200"  # and no more is read
        for _ in range(5):
            assert (
                httpx.post(f"{server.url}/predict", content=BOOT.read_bytes(), headers=PNG).status_code == 200
            )


def test_the_access_log_is_complete_after_a_stop(start_service: StartService) -> None:
    with start_service(FASHION_MNIST_WORKERS="1", FASHION_MNIST_ACCESS_LOG="true") as server:
        for number in range(20):
            httpx.get(f"{server.url}/nope-{number}")
    assert server.log.count("path=/nope-") == 20
