"""Limits on what a client may send before its request is complete, and leniency towards two kinds of clients.

Uvicorn (0.54) has no limit on the head of a request, on the time that it takes, or on the number of chunks.
"""

import asyncio
import re
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from fashion_mnist.errors import InputError
from fashion_mnist.serving.admission.request_id import HEADER, request_id
from fashion_mnist.serving.protocol.responses import error_response

MAX_HEAD_BYTES: Final = 65_536
MAX_HEADERS: Final = 256
MAX_CHUNKS: Final = 65_536
HEAD_TIMEOUT_S: Final = 20.0
READ_TIMEOUT_S: Final = 20.0
"""A client that reads nothing of a large answer for so long is disconnected."""
MAX_BEGUN: Final = 64
"""Requests that may begin in one piece of data, up to 256 KB: each costs time, and memory while it waits."""
CHUNK_LINE_BYTES: Final = 16
"""More than the line of a chunk takes; a body has so many bytes a chunk, and a head's, besides its data."""
SEARCHED_BYTES: Final = 4096
"""Where an offer of HTTP/2 is looked for; searching large bodies would take longer than reading them."""
H2C: Final = re.compile(rb"(?i)(?<=\r\n)upgrade(?=:[ \t]*h2c[ \t]*\r\n)")


class LimitedProtocol(HttpToolsProtocol):
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
        self.heard = self.loop.time()  # when the client last sent something
        self.fault: InputError | None = None
        self.head_timer: asyncio.TimerHandle | None = None
        self.read_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self.resume_writing()
        super().connection_lost(exc)

    @property
    def waits_for_client(self) -> bool:
        """Whether the next step is the client's: no request is complete and unanswered."""
        cycle = self.cycle
        return cycle is None or cycle.response_complete or getattr(cycle, "more_body", False)

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
        nothing_runs = self.cycle is None or self.cycle.response_complete
        if (
            self.head_timer is None
            and (self.in_head or nothing_runs)
            and self.timeout_keep_alive_task is None
        ):
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

    def rest(self, seconds: float) -> None:
        """Read nothing for a while: a client that was refused and asks again at once must wait."""
        if not self.transport.is_closing():
            self.flow.pause_reading()
            self.loop.call_later(seconds, self._end_rest)

    def _end_rest(self) -> None:
        if not self.transport.is_closing():
            self.flow.resume_reading()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reading(0)

    def resume_writing(self) -> None:
        if self.read_timer is not None:
            self.read_timer.cancel()
            self.read_timer = None
        super().resume_writing()

    def _watch_reading(self, left: int) -> None:
        """Disconnect a client that has read nothing since the last call. left: bytes unsent at that time."""
        now_left = self.transport.get_write_buffer_size()
        if left and now_left >= left:
            self.transport.abort()
            return
        self.read_timer = self.loop.call_later(READ_TIMEOUT_S, self._watch_reading, now_left)

    def timeout_keep_alive_handler(self) -> None:
        self._disconnect()

    def _disconnect(self) -> None:
        """Close the connection, also if its client does not read."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    def _unsupported_upgrade_warning(self) -> None:
        """Answer a request that asks for another protocol, then close.

        The parser has stopped after its head: it would take the body for the next request.
        """
        self.deaf = True
        if self.cycle is None or self.cycle.response_complete:  # refused at once
            self.transport.close()
        else:
            self.cycle.keep_alive = False

    def on_response_complete(self) -> None:
        super().on_response_complete()
        # closing waits for a client that does not read; below the high-water mark nobody else watches it
        if self.transport.is_closing() and self.transport.get_write_buffer_size() and not self.read_timer:
            self._watch_reading(0)

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """Answer a request that was complete when its client closed its side of the connection."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete or self.scheme == "https":
            return None
        if getattr(cycle, "more_body", False):
            return None
        cycle.keep_alive = False  # closes the connection after the response
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
        if self.head_timer is not None and self.cycle is not None and self.cycle.response_complete:
            self._stop_timer()  # the rest of a request that was answered early: the connection is idle now
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def send_400_response(self, msg: str) -> None:
        """Refuse what the parser refused; a limit has its own answer.

        Behind a request that is not answered yet, only close: the client would take this for its answer.
        """
        cycle = self.cycle
        runs = cycle is not None and not cycle.response_complete
        if runs and (self.idle or self.in_head or self.pipeline):
            self.deaf = True
            self._stop_timer()
            cycle.keep_alive = False  # closes the connection after the response
            return
        fault = self.fault or InputError("broken_http", "this is not a request in HTTP/1.1; see /docs")
        response = error_response(fault, ((HEADER, request_id(self.headers or ())),))
        parts = [STATUS_LINE[response.status]]
        for name, value in (*self.server_state.default_headers, *response.headers):
            parts += (name, b": ", value, b"\r\n")
        self.transport.write(b"".join((*parts, b"connection: close\r\n\r\n", response.body)))
        self.transport.close()

    def _start_timer(self) -> None:
        self.head_timer = self.loop.call_later(self.head_timeout_s, self._disconnect)

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
