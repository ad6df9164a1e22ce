"""A connection: whether it is busy, writing responses past ASGI, closing it whatever its client does."""

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from fashion_mnist.serving.protocol.responses import Response

READ_TIMEOUT_S: Final = 20.0
"""A client that reads nothing of what is left of an answer for so long is disconnected."""


class Connection(HttpToolsProtocol):
    """Uvicorn's protocol (0.54). heard: time of the event loop at which the client last sent something."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.heard = self.loop.time()
        self.read_timer: asyncio.TimerHandle | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        self.resume_writing()
        super().connection_lost(exc)

    @property
    def busy(self) -> bool:
        """Whether a request is not answered yet; its body may still be arriving."""
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def waits_for_client(self) -> bool:
        """Whether the next step is the client's: no request is complete and unanswered."""
        return not self.busy or getattr(self.cycle, "more_body", False)

    def write(self, response: Response, *, keep_alive: bool, body: bool = True) -> None:
        """Write a response past ASGI. body: False for one to a HEAD."""
        parts = [STATUS_LINE[response.status]]
        for name, value in (*self.server_state.default_headers, *response.headers):
            parts += (name, b": ", value, b"\r\n")
        parts.append(b"\r\n" if keep_alive else b"connection: close\r\n\r\n")
        if body:
            parts.append(response.body)
        self.transport.write(b"".join(parts))
        if not keep_alive:
            self._close()

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
        self._close()

    def _close(self) -> None:
        """Close the connection when its client has read what is left, or reads nothing for a while."""
        self.transport.close()
        # below the high-water mark nobody else watches it
        if self.transport.get_write_buffer_size() and self.read_timer is None:
            self._watch_reading(0)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self._close()
