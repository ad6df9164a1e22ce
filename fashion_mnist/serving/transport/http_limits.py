"""Limits on what a client may send before its request is complete, and leniency towards two kinds of clients.

Uvicorn (0.54) has no limit on the head of a request, on the time that it takes, or on the number of chunks.
"""

import asyncio
import re
from typing import Any, Final

from fashion_mnist.errors import InputError
from fashion_mnist.serving.admission.request_id import HEADER, request_id
from fashion_mnist.serving.protocol.responses import error_response
from fashion_mnist.serving.transport.connection import Connection

MAX_HEAD_BYTES: Final = 65_536
MAX_HEADERS: Final = 256
MAX_CHUNKS: Final = 65_536
HEAD_TIMEOUT_S: Final = 20.0
MAX_BEGUN: Final = 64
"""Requests that may begin in one piece of data, up to 256 KB: each costs time, and memory while it waits."""
CHUNK_LINE_BYTES: Final = 16
"""More than the line of a chunk takes; a body has so many bytes a chunk, and a head's, besides its data."""
SEARCHED_BYTES: Final = 4096
"""Where an offer of HTTP/2 is looked for; searching large bodies would take longer than reading them."""
H2C: Final = re.compile(rb"(?i)(?<=\r\n)upgrade(?=:[ \t]*h2c[ \t]*\r\n)")


class LimitedProtocol(Connection):
    """Uvicorn's protocol with limits.

    head_timeout_s: seconds from the connection, or from the first byte of a request, to the end of its head.
    """

    head_timeout_s: float = HEAD_TIMEOUT_S

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.in_head = False
        self.idle = True  # between two requests
        self.deaf = False  # what arrives is not read any more
        self.begun = 0  # requests, in the piece of data that is parsed
        self.head_bytes = 0  # received while the head was incomplete
        self.header_bytes = 0  # of complete headers
        self.chunks = 0
        self.body_bytes = 0  # of the connection
        self.framing_bytes = 0  # of a body: lines of chunks, their extensions, trailers
        self.fault: InputError | None = None
        self.head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.deaf:
            return
        self.heard = self.loop.time()
        self.begun = 0
        if self.idle:
            if data.find(b"h2c", 0, SEARCHED_BYTES) >= 0:
                data = _ignore_h2c(data)
            super().data_received(data)
        else:
            was_in_head, body_bytes = self.in_head, self.body_bytes
            super().data_received(data)
            self._count(was_in_head, len(data), len(data) - (self.body_bytes - body_bytes))
        if self.deaf or self.transport.is_closing():
            return
        # any byte ends Uvicorn's timer of an idle connection, also one that begins no request
        timed = self.head_timer is not None or self.timeout_keep_alive_task is not None
        if not timed and (self.in_head or not self.busy):
            self._start_timer()

    def _count(self, was_in_head: bool, size: int, framing: int) -> None:
        """Limit what the parser holds of a head, or of a body besides its data.

        was_in_head: before this data arrived; data in which a head or body ends may hold other requests, too.
        size: bytes that arrived. framing: those of them that are no body.
        """
        if self.idle or self.begun or self.in_head != was_in_head or self.transport.is_closing():
            return
        if was_in_head:
            self.head_bytes += size
        else:
            self.framing_bytes += framing
        if max(self.head_bytes, self.framing_bytes - CHUNK_LINE_BYTES * self.chunks) > MAX_HEAD_BYTES:
            self.fault = _too_large()
            self.send_400_response("")

    def _unsupported_upgrade_warning(self) -> None:
        """Answer a request that asks for another protocol, then close.

        The parser has stopped after its head: it would take the body for the next request.
        """
        self.deaf = True
        if self.busy:
            self.cycle.keep_alive = False
        else:  # refused at once
            self._close()

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """Answer a request that was complete when its client closed its side of the connection."""
        if self.waits_for_client or self.scheme == "https":
            return None
        self.cycle.keep_alive = False  # closes the connection after the response
        return True

    def on_message_begin(self) -> None:
        self.begun += 1
        if self.begun > MAX_BEGUN:
            raise ValueError("too many requests at once")
        super().on_message_begin()
        self.in_head, self.idle = True, False
        self.head_bytes = self.header_bytes = self.chunks = self.framing_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.in_head:  # trailers of a chunked body are not headers: they must not pass for them
            return
        super().on_header(name, value)
        self.header_bytes += len(name) + len(value)
        if len(self.headers) > MAX_HEADERS or self.header_bytes > MAX_HEAD_BYTES:
            self.fault = _too_large()
            raise self.fault

    def on_headers_complete(self) -> None:
        self.head_done()
        super().on_headers_complete()

    def head_done(self) -> None:
        """Stop timing and counting the head of a request."""
        self.in_head = False
        self._stop_timer()

    def on_chunk_header(self) -> None:
        """Count the chunks of a body: each costs time, however small it is."""
        self.chunks += 1
        if self.chunks > MAX_CHUNKS:
            self.fault = InputError(
                "body_too_large", f"the body has more than {MAX_CHUNKS} chunks; send larger ones"
            )
            raise self.fault

    def on_body(self, body: bytes) -> None:
        self.body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self.idle = True
        super().on_message_complete()
        if self.head_timer is not None and not self.busy:
            self._stop_timer()  # the rest of a request that was answered early: the connection is idle now
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def send_400_response(self, msg: str) -> None:
        """Refuse what the parser refused; a limit has its own answer.

        Behind a request that is not answered yet, only close: the client would take this for its answer.
        """
        if self.busy and (self.idle or self.in_head or self.pipeline):
            self.deaf = True
            self._stop_timer()
            self.cycle.keep_alive = False  # closes the connection after the response
            return
        fault = self.fault or InputError("broken_http", "this is not a request in HTTP/1.1; see /docs")
        self.write(error_response(fault, ((HEADER, request_id(self.headers or ())),)), keep_alive=False)

    def _start_timer(self) -> None:
        self.head_timer = self.loop.call_later(self.head_timeout_s, self._close)

    def _stop_timer(self) -> None:
        if self.head_timer is not None:
            self.head_timer.cancel()
            self.head_timer = None


def _ignore_h2c(data: bytes) -> bytes:
    """Rename the offer of HTTP/2 in a head, which Java's client and `curl --http2` send.

    The parser would stop after the head of such a request and lose its body.
    """
    head, end, rest = data.partition(b"\r\n\r\n")
    return H2C.sub(b"x-offer", head + end[:2]) + end[2:] + rest


def _too_large() -> InputError:
    return InputError(
        "headers_too_large",
        f"the headers exceed {MAX_HEADERS} lines or {MAX_HEAD_BYTES} bytes; send fewer or shorter ones",
    )
