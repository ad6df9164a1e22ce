"""Limits on heads and chunks, HTTP/2 offers, and half-closed connections, on the real service."""

import asyncio
import json
import socket
import time
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvicorn
from support.paths import BOOT
from support.servers import Server
from uvicorn.server import ServerState

from fashion_mnist.serving.transport import connection
from fashion_mnist.serving.transport.http_limits import MAX_BEGUN, MAX_CHUNKS, LimitedProtocol

PICTURE = BOOT.read_bytes()
SMALL = json.dumps({"pixels": [0] * 784}).encode()
LARGE = SMALL + b" " * 100_000
JSON = b"Content-Type: application/json\r\n"


def post(body: bytes, *headers: bytes) -> bytes:
    lines = (b"Host: here", b"Content-Length: %d" % len(body), *headers)
    return b"POST /predict HTTP/1.1\r\n" + JSON + b"\r\n".join(lines) + b"\r\n\r\n" + body


def talk(server: Server, data: bytes, *, half_close: bool = False) -> bytes:
    """Send bytes and return everything received until the service closes, or is silent for a while."""
    with socket.create_connection(("127.0.0.1", urlsplit(server.url).port or 0), timeout=10) as connection:
        received = b""
        try:
            connection.sendall(data)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(65_536):
                received += piece
                connection.settimeout(1)
        except (TimeoutError, ConnectionError):
            pass
        return received


def statuses(received: bytes) -> list[int]:
    return [int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:]]


@pytest.mark.parametrize("body", [SMALL, LARGE], ids=["fast path", "ASGI"])
@pytest.mark.parametrize("name", [b"Upgrade", b"upgrade"])
def test_an_offer_of_http2_is_ignored(service: Server, body: bytes, name: bytes) -> None:
    offer = (b"Connection: Upgrade, HTTP2-Settings", name + b": h2c", b"HTTP2-Settings: AAMAAABk")
    received = talk(service, post(body, *offer) + post(body, b"Connection: close"))
    assert statuses(received) == [200, 200]


@pytest.mark.parametrize("offer", [b"TLS/1.0", b"h2c, h3", b"anything", b"h2c"])
def test_a_body_is_never_taken_for_a_request(service: Server, offer: bytes) -> None:
    body = b"GET /model HTTP/1.1\r\nHost: here\r\n\r\n"
    request = post(body, b"Connection: Upgrade", b"Upgrade: " + offer)
    for at in (request.index(b"Upgrade: ") + 3, len(request) - len(body)):  # in two segments
        address = ("127.0.0.1", urlsplit(service.url).port or 0)
        with socket.create_connection(address, timeout=10) as connection:
            connection.sendall(request[:at])
            time.sleep(0.2)
            received = b""
            try:
                connection.sendall(request[at:])
                connection.settimeout(1)
                while piece := connection.recv(65_536):
                    received += piece
            except (TimeoutError, ConnectionError):
                pass
        assert statuses(received) == [400]


def test_requests_that_arrive_together_are_no_long_head(service: Server) -> None:
    received = talk(service, post(SMALL) + post(LARGE) + b"POS")
    assert statuses(received) == [200, 200]


def test_few_requests_may_begin_in_one_piece_of_data(service: Server) -> None:
    """Thousands of heads of 20 bytes would take memory and block the event loop."""
    request = b"GET /livez HTTP/1.1\r\nHost: here\r\n\r\n"
    assert statuses(talk(service, request * (MAX_BEGUN // 2))) == [200] * (MAX_BEGUN // 2)
    assert len(statuses(talk(service, request * 5000))) < 1000


def test_only_the_head_is_searched_for_the_offer(service: Server) -> None:
    text = b'{"pixels": "\\r\r\nUpgrade: h2c\r\n"}'
    assert statuses(talk(service, post(text, b"Connection: close"))) == [400]


@pytest.mark.parametrize("body", [SMALL, LARGE], ids=["fast path", "ASGI"])
def test_a_whole_request_is_answered_after_half_a_close(service: Server, body: bytes) -> None:
    start = time.monotonic()
    assert statuses(talk(service, post(body), half_close=True)) == [200]
    assert statuses(talk(service, b"GET /model HTTP/1.1\r\nHost: here\r\n\r\n", half_close=True)) == [200]
    assert time.monotonic() - start < 2  # and closed


def test_half_a_request_is_not_waited_for(service: Server) -> None:
    start = time.monotonic()
    for part in (b"", post(LARGE)[:100], post(LARGE)[:-100]):
        assert statuses(talk(service, part, half_close=True)) in ([], [400])
    assert time.monotonic() - start < 3


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([b"X-%d: y" % n for n in range(250)], 200),
        ([b"X-%d: y" % n for n in range(257)], 431),
        ([b"X: " + b"y" * 60_000], 200),
        ([b"X: " + b"y" * 70_000], 431),
        ([b"X-%d: %s" % (n, b"y" * 700) for n in range(200)], 431),
    ],
    ids=["250 lines", "257 lines", "60 KB", "70 KB", "200 lines, 140 KB"],
)
def test_heads_are_limited(service: Server, headers: list[bytes], status: int) -> None:
    received = talk(service, post(SMALL, *headers, b"Connection: close"))
    assert statuses(received) == [status]
    if status == 431:
        assert json.loads(received.partition(b"\r\n\r\n")[2])["code"] == "headers_too_large"


@pytest.mark.parametrize(("chunks", "status"), [(1000, 200), (MAX_CHUNKS + 1, 413)])
def test_chunks_are_limited(service: Server, chunks: int, status: int) -> None:
    head = (
        b"POST /predict HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n" + JSON
    )
    body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (b" ",) * (chunks - 2))
    end = b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMALL), SMALL)
    assert status in statuses(talk(service, head + b"\r\n" + body + end))


@pytest.mark.parametrize("last", [b"X: %b" % (b"y" * 200_000), b"0;%b" % (b"y" * 200_000)])
def test_what_surrounds_the_chunks_is_limited(service: Server, last: bytes) -> None:
    """A trailer, or the extension of a chunk, that does not end."""
    head = b"POST /predict HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n" + JSON
    first = b"2\r\n{}\r\n" + (b"0\r\n" if last[:1] == b"X" else b"")
    address = ("127.0.0.1", urlsplit(service.url).port or 0)
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(head + b"\r\n" + first)
        time.sleep(0.1)
        try:
            connection.sendall(last)
            received = connection.recv(65_536)
        except ConnectionError:
            return
    assert statuses(received) == [431]


def test_a_fault_never_takes_the_place_of_another_answer(service: Server) -> None:
    """The head behind a request in progress is too large: answer the request, then close."""
    images = json.dumps({"pixels": [[0] * 784] * 2000}).encode()
    for fault in (b"POST / HTTP/1.1\r\nX: " + b"y" * 90_000, b"nonsense\r\n\r\n"):
        assert statuses(talk(service, post(images) + fault)) == [200]


class Transport(asyncio.Transport):
    """A connection in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.closed_at: float | None = None
        self.aborted = False
        self.unread = 0  # bytes that the client has not read

    def abort(self) -> None:
        self.aborted = True

    def close(self) -> None:
        self.closed_at = self.closed_at or time.monotonic()

    def is_closing(self) -> bool:
        return self.closed_at is not None

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def write(self, data: Any) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return self.unread


@pytest.mark.parametrize(
    "sent", [b"", b"POST /predict HTTP/1.1\r\nHo", b"\r\n"], ids=["silent", "half a head", "an empty line"]
)
def test_a_head_must_arrive_in_time(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LimitedProtocol, "head_timeout_s", 0.1)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("no request is complete")

    async def run() -> None:
        config = uvicorn.Config(app, log_config=None, lifespan="off")
        config.load()
        protocol = LimitedProtocol(config=config, server_state=ServerState(), app_state={})
        transport, start = Transport(), time.monotonic()
        protocol.connection_made(transport)
        if sent:
            protocol.data_received(sent)
        for _ in range(6):  # more bytes, one by one, do not buy time
            await asyncio.sleep(0.03)
            if len(sent) > 2 and not transport.is_closing():
                protocol.data_received(b"x")
        assert transport.closed_at is not None
        assert transport.closed_at - start == pytest.approx(0.1, abs=0.07)

    asyncio.run(run())


def test_a_slow_reader_keeps_its_answer_and_one_that_does_not_read_is_disconnected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "READ_TIMEOUT_S", 0.05)

    async def run() -> None:
        config = uvicorn.Config(lambda scope: None, log_config=None, lifespan="off")
        config.load()
        protocol = LimitedProtocol(config=config, server_state=ServerState(), app_state={})
        transport = Transport()
        protocol.connection_made(transport)
        transport.unread = 30_000
        protocol.timeout_keep_alive_handler()
        for left in (20_000, 10_000, 5_000):
            await asyncio.sleep(0.04)
            transport.unread = left
        assert transport.closed_at is not None
        assert not transport.aborted
        await asyncio.sleep(0.15)
        assert transport.aborted
        protocol.connection_lost(None)

    asyncio.run(run())
