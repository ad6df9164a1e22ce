"""Requests whose whole body has come, answered without the way through ASGI.

Uvicorn makes a task, a scope, an event and two messages for a request, before and behind each of which
stand middlewares. A request for a small picture is there as a whole when its first byte is, so all of that
only costs time: half of what Python does for such a request. It is taken from Uvicorn's parser and answered
into its transport; whatever is unusual about a request sends it the usual way.
docs/performance.md has the figures.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

Headers = Sequence[tuple[bytes, bytes]]

MAX_URL_BYTES: Final = 256
"""Far more than all parameters take. Uvicorn refuses 64 KB; what is read here has not passed there."""


class Exchange:
    """One request and its answer, in the place of Uvicorn's RequestResponseCycle.

    headers: names in lower case. query: of the URL. The other attributes are those that HttpToolsProtocol
    reads and sets.
    """

    message_event: ClassVar = asyncio.Event()  # nobody waits for it

    def __init__(self, protocol: "DirectProtocol", query: bytes, body: bytes) -> None:
        self.protocol = protocol
        self.headers: Headers = protocol.headers
        self.query = query
        self.body = body
        self.keep_alive: bool = protocol.parser.should_keep_alive()
        self.disconnected = False
        self.response_complete = False

    def respond(self, status: int, headers: Headers, body: bytes) -> None:
        """Write the answer, unless the client is gone. headers: with Content-Length."""
        self.response_complete = True
        transport = self.protocol.transport
        if self.disconnected or transport.is_closing():
            return
        parts = [STATUS_LINE[status]]
        for name, value in (*self.protocol.server_state.default_headers, *headers):
            parts += (name, b": ", value, b"\r\n")
        parts.append(b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n")
        parts.append(body)
        transport.write(b"".join(parts))
        if not self.keep_alive:
            transport.close()
        self.protocol.on_response_complete()


Take = Callable[[Exchange], bool]
"""Answers an exchange, now or later; False if it has to go the usual way. Raises nothing: Uvicorn's parser
would call the request invalid, and log nothing."""


class DirectProtocol(HttpToolsProtocol):
    """HttpToolsProtocol of uvicorn 0.54 that offers requests to `take` first.

    path: of the requests, which are POST. most_bytes: of their bodies.
    """

    def __init__(self, *args: Any, path: bytes, most_bytes: int, take: Take, **options: Any) -> None:
        super().__init__(*args, **options)
        self.path = path
        self.most_bytes = most_bytes
        self.take = take
        self.held: bytearray | None = None
        self.logs = self.access_log and self.access_logger.isEnabledFor(logging.INFO)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.held is None or self.transport.is_closing():
            return
        try:
            self._pass_on()  # the rest of the body comes later
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")

    def on_headers_complete(self) -> None:
        if self._may_be_direct():
            self.held = bytearray()
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self.held is None:
            super().on_body(body)
            return
        self.held += body
        if len(self.held) > self.most_bytes:
            self._pass_on()

    def on_message_complete(self) -> None:
        if self.held is not None:
            exchange = Exchange(self, self.url[len(self.path) + 1 :], bytes(self.held))
            previous, self.cycle = self.cycle, exchange  # type: ignore[assignment]
            if self.take(exchange):
                self.held = None
                return
            self.cycle = previous
            self._pass_on()
        super().on_message_complete()

    def _may_be_direct(self) -> bool:
        """A POST to the path, with nothing unusual, while no answer is under way."""
        return (
            len(self.url) <= MAX_URL_BYTES
            and self.url.partition(b"?")[0] == self.path
            and b"#" not in self.url
            and self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
            and not self.parser.should_upgrade()
            and not self.expect_100_continue
            and not self.root_path
            and self.limit_concurrency is None
            and not self.logs
            and not self.flow.write_paused
            and (self.cycle is None or self.cycle.response_complete)
        )

    def _pass_on(self) -> None:
        """Have the request answered by the application, from what has come of it."""
        body, self.held = self.held, None
        super().on_headers_complete()
        if body:
            super().on_body(bytes(body))
