"""The fast path: which requests take it, that they pass the gate, and that clients see no difference."""

import asyncio
import inspect
import re
import socket
import time
from collections.abc import Coroutine
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from support.paths import BOOT
from support.servers import Server, StartService
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from fashion_mnist.serving.admission.capacity import Capacity
from fashion_mnist.serving.admission.gate import Gate
from fashion_mnist.serving.protocol.responses import Response
from fashion_mnist.serving.transport.edge import TICKET, Edge
from fashion_mnist.serving.transport.fast_path import HOLD_S, MAX_URL_BYTES, Exchange, FastPathProtocol

CLOSE = b"Connection: close"
MAX_BYTES = 8_192


async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
    """Respond with `asgi BODY`."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    body = b"asgi " + body
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Connection(asyncio.Transport):
    """A connection to a server, in memory. taken: exchanges with the body `later`, to pass to `answer`."""

    def __init__(self, gate: Gate | None = None) -> None:
        super().__init__()
        self.written = b""
        self.closed = False
        self.taken: list[Exchange] = []
        config = uvicorn.Config(asgi, log_config=None, lifespan="off")
        config.load()
        self.state = ServerState()
        self.protocol = FastPathProtocol(
            config=config,
            server_state=self.state,
            app_state={},
            path="/predict",
            max_bytes=MAX_BYTES,
            gate=gate or Gate(Capacity(100)),
            handler=self.take,
        )
        self.protocol.connection_made(self)

    def take(self, exchange: Exchange) -> bool:
        """Respond with `fast BODY QUERY`; pass on a body `not`, keep `later`, raise on `fail`."""
        if exchange.body == b"fail":
            raise ZeroDivisionError
        if exchange.body == b"not":
            return False
        if exchange.body == b"later":
            self.taken.append(exchange)
        else:
            self.answer(exchange)
        return True

    @staticmethod
    def answer(exchange: Exchange) -> None:
        body = b"fast %b %b" % (exchange.body, exchange.query)
        exchange.respond(Response(200, ((b"content-length", b"%d" % len(body)),), body))

    async def send(self, *pieces: bytes) -> list[bytes]:
        """Send the pieces; return the bodies of the responses written once all of them are read."""
        for piece in pieces:
            self.protocol.data_received(piece)
            for _ in range(10):
                await asyncio.sleep(0)
        return bodies(self.written)

    def write(self, data: Any) -> None:
        assert not self.closed
        self.written += data

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("10.0.0.1", 9) if name == "peername" else default

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


def bodies(answer: bytes) -> list[bytes]:
    """Return the bodies of consecutive responses."""
    found = []
    while answer:
        head, _, rest = answer.partition(b"\r\n\r\n")
        length = int(re.search(rb"content-length: (\d+)", head)[1])  # type: ignore[index]
        found.append(rest[:length])
        answer = rest[length:]
    return found


def post(body: bytes, *headers: bytes, line: bytes = b"POST /predict HTTP/1.1") -> bytes:
    """Return the bytes of a request."""
    return b"\r\n".join([line, b"Host: here", b"Content-Length: %d" % len(body), *headers, b"", body])


def run(test: Coroutine[None, None, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 10))


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (post(b"a", CLOSE), b"fast a "),
        (post(b"", CLOSE), b"fast  "),
        (post(b"a", CLOSE, line=b"POST /predict?top=3 HTTP/1.1"), b"fast a top=3"),
        (post(b"not", CLOSE), b"asgi not"),
        (post(b"a", CLOSE, line=b"POST /predict/ HTTP/1.1"), b"asgi a"),
        (post(b"a", CLOSE, line=b"POST /predictions HTTP/1.1"), b"asgi a"),
        (post(b"a", CLOSE, line=b"POST /%70redict HTTP/1.1"), b"asgi a"),
        (post(b"a", CLOSE, line=b"POST http://here/predict HTTP/1.1"), b"asgi a"),
        (post(b"a", CLOSE, line=b"POST /predict?" + b"a" * MAX_URL_BYTES + b" HTTP/1.1"), b"asgi a"),
        (post(b"a", CLOSE, line=b"PUT /predict HTTP/1.1"), b"asgi a"),
        (post(b"a", line=b"POST /predict HTTP/1.0"), b"asgi a"),
        (post(b"a", CLOSE, b"Upgrade: h2c"), b"fast a "),
        (post(b"a", b"Connection: close, upgrade", b"Upgrade: h2c"), b"fast a "),
    ],
)
def test_only_a_plain_post_to_the_path_takes_the_fast_path(request_: bytes, answer: bytes) -> None:
    async def test() -> None:
        connection = Connection()
        assert await connection.send(request_) == [answer]
        assert connection.written.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"\r\nconnection: close\r\n" in connection.written
        assert connection.closed
        assert connection.state.total_requests == 1

    run(test())


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_arrives_in_pieces_takes_the_fast_path(chunked: bool) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n"
    whole = head + b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n" if chunked else post(b"abc")

    async def test() -> None:
        for cut in range(1, len(whole)):
            assert await Connection().send(whole[:cut], whole[cut:]) == [b"fast abc "], cut
        every_byte = [whole[at : at + 1] for at in range(len(whole))]
        assert await Connection().send(*every_byte) == [b"fast abc "]

    run(test())


def test_a_body_that_takes_longer_goes_through_asgi() -> None:
    whole = post(b"abc")

    async def test() -> None:
        for cut in range(whole.index(b"\r\n\r\n") + 4, len(whole)):
            connection = Connection()
            assert await connection.send(whole[:cut]) == []
            await asyncio.sleep(2 * HOLD_S)
            assert await connection.send(whole[cut:]) == [b"asgi abc"]
            assert await connection.send(post(b"d")) == [b"asgi abc", b"fast d "]

    run(test())


def test_requests_follow_each_other_on_one_connection() -> None:
    other = post(b"b", line=b"POST /other HTTP/1.1")
    requests = [post(b"a"), post(b"not"), post(b"later"), other, post(b"c", CLOSE)]
    answers = [b"fast a ", b"asgi not", b"fast later ", b"asgi b", b"fast c "]

    async def test() -> None:
        connection = Connection()
        for number, request in enumerate(requests, 1):
            await connection.send(request)
            for exchange in connection.taken:
                connection.answer(exchange)
            connection.taken.clear()
            assert bodies(connection.written) == answers[:number]
            assert connection.closed == (number == len(requests))

        pipelined = Connection()  # behind a request in progress, all of them go through ASGI
        found = await pipelined.send(b"".join(requests))
        assert found == [b"fast a ", b"asgi not", b"asgi later", b"asgi b", b"asgi c"]

    run(test())


def test_pipelined_requests_wait_for_a_fast_answer() -> None:
    async def test() -> None:
        connection = Connection()
        assert await connection.send(post(b"later") + post(b"a") + post(b"b", CLOSE)) == []
        connection.answer(connection.taken[0])
        await asyncio.sleep(0.01)
        assert bodies(connection.written) == [b"fast later ", b"asgi a", b"asgi b"]
        assert connection.closed

    run(test())


def test_a_large_body_goes_through_asgi_and_arrives_whole() -> None:
    body = bytes(i % 251 for i in range(100_000))

    async def test() -> None:
        most = body[:MAX_BYTES]
        assert await Connection().send(post(most, CLOSE)) == [b"fast " + most + b" "]
        for length in (MAX_BYTES + 1, len(body)):
            assert await Connection().send(post(body[:length], CLOSE)) == [b"asgi " + body[:length]]

    run(test())


@pytest.mark.parametrize(
    "pieces",
    [
        (b"POST /predict HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\nno number\r\n",),
        (b"nonsense\r\n\r\n",),
        (b"POST /predict?" + b"a" * 70_000 + b" HTTP/1.1\r\nContent-Length: 1\r\n\r\n", b"a"),
    ],
)
def test_input_that_is_not_http_is_refused(pieces: tuple[bytes, ...]) -> None:
    async def test() -> None:
        connection = Connection()
        for piece in pieces:
            if not connection.closed:
                connection.protocol.data_received(piece)
        assert connection.written.startswith(b"HTTP/1.1 400 ")
        assert connection.closed

    run(test())


def test_nothing_is_written_to_a_client_that_left() -> None:
    async def test() -> None:
        connection = Connection()
        await connection.send(post(b"later"))
        connection.protocol.connection_lost(None)
        assert connection.closed
        connection.answer(connection.taken[0])
        assert connection.written == b""

    run(test())


def test_a_stopping_server_answers_requests_in_flight_and_closes() -> None:
    async def test() -> None:
        waiting, idle = Connection(), Connection()
        await waiting.send(post(b"later"))
        for connection in (waiting, idle):
            connection.protocol.shutdown()
        assert (waiting.closed, idle.closed) == (False, True)
        waiting.answer(waiting.taken[0])
        assert b"\r\nconnection: close\r\n" in waiting.written
        assert waiting.closed

    run(test())


def test_trailers_never_pass_for_headers() -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunked = head + b"5\r\nlater\r\n0\r\nAuthorization: stolen\r\n\r\n"

    async def test() -> None:
        connection = Connection()
        await connection.send(chunked)
        assert dict(connection.taken[0].headers).keys() == {b"host", b"transfer-encoding"}
        connection.answer(connection.taken[0])
        await connection.send(post(b"later", b"X-Next: here"))  # the next request has headers again
        assert b"x-next" in dict(connection.taken[1].headers)

    run(test())


def test_a_closed_gate_lets_nothing_reach_the_handler() -> None:
    async def test() -> None:
        connection = Connection(Gate(Capacity(0)))
        request = post(b"later", b"X-Request-ID: mine", CLOSE)
        assert len(await connection.send(request)) == 1
        assert connection.written.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nx-request-id: mine\r\n" in connection.written
        assert connection.taken == []

    run(test())


def test_the_gate_counts_a_request_until_its_response_and_knows_its_client() -> None:
    async def test() -> None:
        gate = Gate(Capacity(100))
        connection = Connection(gate)
        await connection.send(post(b"later"))
        ticket = connection.taken[0].ticket
        assert ticket is not None
        assert (gate.capacity.in_flight, ticket.client) == (1, ("10.0.0.1", 9))
        connection.answer(connection.taken[0])
        assert gate.capacity.in_flight == 0
        await connection.send(post(b"later"))
        connection.protocol.connection_lost(None)
        connection.answer(connection.taken[1])  # its client has left, but it is still counted
        assert gate.capacity.in_flight == 0

    run(test())


def test_a_request_that_is_passed_on_keeps_its_ticket() -> None:
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await asgi(scope, receive, send)

    async def test() -> None:
        gate = Gate(Capacity(100))
        connection = Connection(gate)
        connection.protocol.app = Edge(app, gate)
        request = post(b"not", b"X-Request-ID: mine", CLOSE)
        assert await connection.send(request) == [b"asgi not"]
        assert connection.written.count(b"x-request-id: mine") == 1
        assert gate.capacity.in_flight == 0

    run(test())
    assert scopes[0][TICKET].path == "/predict"  # endpoints charge their images to it


def test_a_failure_of_the_handler_is_answered() -> None:
    async def test() -> None:
        gate = Gate(Capacity(100))
        connection = Connection(gate)
        (body,) = await connection.send(post(b"fail", CLOSE))
        assert b"internal_error" in body
        assert connection.written.startswith(b"HTTP/1.1 500 ")
        assert gate.capacity.in_flight == 0

    run(test())


def test_uvicorns_hooks_are_unchanged() -> None:
    protocol, cycle = (inspect.getsource(item) for item in (HttpToolsProtocol, RequestResponseCycle))
    used = set(re.findall(r"self\.cycle\.(\w+)", protocol))
    assert used == {"response_complete", "disconnected", "message_event", "body", "more_body", "keep_alive"}
    # these two belong to a request that is still arriving; an exchange needs all others
    for name in used - {"body", "more_body"}:
        assert hasattr(Exchange, name) or f"self.{name}" in inspect.getsource(Exchange.__init__)
    for name in ("headers", "url", "root_path", "limit_concurrency", "client", "expect_100_continue"):
        assert f"self.{name} = " in protocol or f"self.{name}: " in protocol
    assert "self.on_response()" in cycle


def talk(server: Server, *pieces: bytes) -> bytes:
    """Return everything received on one connection, without the date."""
    port = httpx.URL(server.url).port
    assert port is not None
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            connection.sendall(piece)
        answer = b""
        while chunk := connection.recv(65_536):
            answer += chunk
    return re.sub(rb"date: [^\r]*\r\n", b"", answer)


BODY = BOOT.read_bytes()
BOOT_POST = post(BODY, b"Content-Type: image/png", b"X-Request-ID: same", b"Origin: https://a.org", CLOSE)


def test_the_service_answers_the_same_both_ways(service: Server, start_service: StartService) -> None:
    fast = talk(service, BOOT_POST)
    assert b'"Ankle boot"' in fast
    assert b"x-request-id: same" in fast
    asgi_ = talk(service, *BOOT_POST.partition(b"\r\n\r\n"))  # the body arrives later
    assert sorted(asgi_.split(b"\r\n")) == sorted(fast.split(b"\r\n"))
    for bad in (b"nothing", b""):
        request = post(bad, b"Content-Type: image/png", b"X-Request-ID: same", CLOSE)
        answers = talk(service, request), talk(service, request[:-1], request[-1:])
        assert answers[0].startswith(b"HTTP/1.1 400 ")
        assert sorted(answers[0].split(b"\r\n")) == sorted(answers[1].split(b"\r\n"))


@pytest.mark.slow
def test_with_cors_and_access_log_the_fast_path_stays(start_service: StartService) -> None:
    settings = {"FASHION_MNIST_CORS_ORIGINS": "https://a.org", "FASHION_MNIST_ACCESS_LOG": "true"}
    with start_service(**settings) as server:
        assert "small requests take the fast path" in server.log
        answers = talk(server, BOOT_POST), talk(server, *BOOT_POST.partition(b"\r\n\r\n"))
        for answer in answers:
            assert b"access-control-allow-origin: https://a.org\r\n" in answer
            assert b"x-request-id: same\r\n" in answer
        model = httpx.get(f"{server.url}/model", headers={"Origin": "https://a.org"})
        assert model.headers["access-control-allow-origin"] == "https://a.org"
        assert httpx.get(f"{server.url}/model").headers["vary"] == "Origin"
        deadline = time.monotonic() + 10
        while len(lines := [line for line in server.log.splitlines() if "path=/predict" in line]) < 2:
            assert time.monotonic() < deadline
        assert all("127.0.0.1:" in line and "(status=200)" in line for line in lines)
