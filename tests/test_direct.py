"""Requests outside of ASGI: which they are, and that nobody can tell the difference."""

import asyncio
import functools
import inspect
import re
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import uvicorn
from conftest import BOOT, Server
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from fashion_mnist.direct import MOST_HELD_BYTES, DirectProtocol, Exchange

END = b"connection: close\r\n"


async def usual(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers `usual BODY`."""
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    body = b"usual " + body
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def take(exchange: Exchange) -> bool:
    """Answers `direct BODY QUERY`; a body `later` after the next turn of the loop, `not` the usual way."""
    if exchange.body == b"not":
        return False
    body = b"direct %b %b" % (exchange.body, exchange.query)
    headers = [(b"content-length", b"%d" % len(body))]
    respond = functools.partial(exchange.respond, 200, headers, body)
    if exchange.body == b"later":
        asyncio.get_running_loop().call_later(0.05, respond)
    else:
        respond()
    return True


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    protocol: Any = functools.partial(DirectProtocol, path=b"/predict", take=take)
    config = uvicorn.Config(usual, http=protocol, port=0, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join()


def post(body: bytes, *headers: bytes, line: bytes = b"POST /predict HTTP/1.1") -> bytes:
    """A request as its bytes."""
    return b"\r\n".join([line, b"Host: here", b"Content-Length: %d" % len(body), *headers, b"", body])


def talk(port: int, *pieces: bytes) -> bytes:
    """All that comes back on one connection, on which the pieces are sent with pauses."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number, piece in enumerate(pieces):
            time.sleep(0.05 if number else 0)
            connection.sendall(piece)
        answer = b""
        while chunk := connection.recv(65_536):
            answer += chunk
        return answer


def bodies(answer: bytes) -> list[bytes]:
    """Those of the responses that stand one after the other."""
    found = []
    while answer:
        head, _, rest = answer.partition(b"\r\n\r\n")
        length = int(re.search(rb"content-length: (\d+)", head)[1])  # type: ignore[index]
        found.append(rest[:length])
        answer = rest[length:]
    return found


CLOSE = b"Connection: close"


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (post(b"a", CLOSE), b"direct a "),
        (post(b"", CLOSE), b"direct  "),
        (post(b"a", CLOSE, line=b"POST /predict?top=3 HTTP/1.1"), b"direct a top=3"),
        (post(b"later", CLOSE), b"direct later "),
        (post(b"not", CLOSE), b"usual not"),
        (post(b"a", CLOSE, line=b"POST /predict/ HTTP/1.1"), b"usual a"),
        (post(b"a", CLOSE, line=b"POST /predictions HTTP/1.1"), b"usual a"),
        (post(b"a", CLOSE, line=b"POST /%70redict HTTP/1.1"), b"usual a"),
        (post(b"a", CLOSE, line=b"POST http://here/predict HTTP/1.1"), b"usual a"),
        (post(b"a", CLOSE, line=b"PUT /predict HTTP/1.1"), b"usual a"),
        (post(b"a", line=b"POST /predict HTTP/1.0"), b"usual a"),
        (post(b"x" * 9, CLOSE, b"Upgrade: h2c"), b"direct " + b"x" * 9 + b" "),
        (post(b"a", b"Connection: close, upgrade", b"Upgrade: h2c"), b"usual "),  # by Uvicorn
    ],
)
def test_only_a_plain_post_to_the_path_is_direct(port: int, request_: bytes, answer: bytes) -> None:
    got = talk(port, request_)
    assert got.startswith(b"HTTP/1.1 200 OK\r\n")
    assert END in got
    assert bodies(got) == [answer]


def test_chunks_that_come_at_once_are_direct_and_those_that_do_not_are_usual(port: int) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: here\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert bodies(talk(port, head + b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n")) == [b"direct abc "]
    assert bodies(talk(port, head + b"2\r\nab\r\n", b"1\r\nc\r\n0\r\n\r\n")) == [b"usual abc"]


@pytest.mark.parametrize("cut", [30, -3, -1])
def test_a_request_in_pieces_is_answered(port: int, cut: int) -> None:
    whole = post(b"abcd", CLOSE)
    way = b"direct abcd " if cut > 0 else b"usual abcd"  # the last piece has all of the body, or not
    assert bodies(talk(port, whole[:cut], whole[cut:])) == [way]
    assert bodies(talk(port, *(whole[i : i + 1] for i in range(len(whole) - 3)), whole[-3:])) == [
        b"usual abcd"
    ]


def test_requests_follow_each_other_on_one_connection(port: int) -> None:
    other = post(b"b", line=b"POST /other HTTP/1.1")
    pieces = [post(b"a"), post(b"not"), post(b"later"), other, post(b"c", CLOSE)]
    wanted = [b"direct a ", b"usual not", b"direct later ", b"usual b", b"direct c "]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        for piece, want in zip((b"a", b"not", b"later"), wanted, strict=False):
            assert client.post("/predict", content=piece).content.split()[1] == want.split()[1]
    answer = talk(port, b"".join(pieces))  # pipelined: in order, though `later` takes longer
    assert [body.split()[1] for body in bodies(answer)] == [b"a", b"not", b"later", b"b", b"c"]
    assert END not in answer[: answer.rindex(b"HTTP/1.1")]


def test_a_large_body_is_usual_and_comes_whole(port: int) -> None:
    body = bytes(i % 251 for i in range(MOST_HELD_BYTES + 10_000))
    assert bodies(talk(port, post(body, CLOSE))) == [b"usual " + body]


def test_what_is_no_http_is_refused(port: int) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert talk(port, head + b"no number\r\n").startswith(b"HTTP/1.1 400 ")
    assert bodies(talk(port, post(b"a", CLOSE))) == [b"direct a "]


def test_who_leaves_before_the_answer_harms_nobody(port: int) -> None:
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(post(b"later"))
    time.sleep(0.1)
    assert bodies(talk(port, post(b"later", CLOSE))) == [b"direct later "]


def test_the_hooks_have_the_form_that_they_were_read_in() -> None:
    protocol, cycle = (inspect.getsource(item) for item in (HttpToolsProtocol, RequestResponseCycle))
    used = set(re.findall(r"self\.cycle\.(\w+)", protocol))
    assert used == {"response_complete", "disconnected", "message_event", "body", "more_body", "keep_alive"}
    # of an exchange, only these: the others are of a request that is still coming
    for name in ("response_complete", "disconnected", "message_event", "keep_alive"):
        assert hasattr(Exchange, name) or f"self.{name}" in inspect.getsource(Exchange.__init__)
    for name in ("headers", "url", "root_path", "limit_concurrency", "access_log", "expect_100_continue"):
        assert f"self.{name} = " in protocol or f"self.{name}: " in protocol
    assert "self.on_response()" in cycle


def test_the_service_answers_the_same_both_ways(service: Server) -> None:
    port = httpx.URL(service.url).port
    assert port is not None
    body = BOOT.read_bytes()
    whole = post(body, b"Content-Type: image/png", b"X-Request-ID: same", CLOSE)
    dates = rb"date: [^\r]*"
    direct = re.sub(dates, b"", talk(port, whole))
    by_asgi = re.sub(dates, b"", talk(port, whole[: -len(body)], body))
    assert direct == by_asgi
    assert b'"Ankle boot"' in direct
    assert b"x-request-id: same" in direct
