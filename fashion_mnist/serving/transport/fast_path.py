"""Fast path: answers small requests straight from Uvicorn's parser, bypassing ASGI.

For each request Uvicorn creates a task, a scope, an event and two messages, and middlewares wrap them. A
request with a small picture is complete when its first bytes arrive, so all of that is overhead: half of what
Python does for it. The fast path takes the request from the parser and writes the response to the transport.
The request passes the same gate as every other; anything unusual about it sends it through ASGI.
docs/performance.md has the figures.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, ClassVar, Final

import httptools

from fashion_mnist.serving.admission.gate import Gate, Ticket
from fashion_mnist.serving.protocol.responses import Headers, Response, error_response, internal_error
from fashion_mnist.serving.transport.edge import CYCLE, TICKET
from fashion_mnist.serving.transport.http_limits import LimitedProtocol

logger = logging.getLogger("bentoml.service")

HOLD_S: Final = 0.02
"""How long the fast path waits for the rest of a body; many clients send it right behind the head."""
MAX_URL_BYTES: Final = 256
"""More than any valid query needs. Uvicorn rejects URLs of 64 KB, but the fast path bypasses that check."""


class Exchange:
    """One request and its response; replaces Uvicorn's RequestResponseCycle.

    headers: names in lower case. query: of the URL. ticket: from the gate. The other attributes are those
    that HttpToolsProtocol reads and sets on a cycle.
    """

    message_event: ClassVar = asyncio.Event()  # nobody waits for it

    def __init__(self, protocol: "FastPathProtocol", query: bytes, body: bytes) -> None:
        self.protocol = protocol
        self.headers: Headers = protocol.headers
        self.query = query
        self.body = body
        self.ticket: Ticket | None = None
        self.keep_alive: bool = protocol.parser.should_keep_alive() and not protocol.gate.draining
        self.disconnected = False
        self.response_complete = False

    def respond(self, response: Response) -> None:
        """Write the response, unless the client has left, and hand back the ticket."""
        ticket = self.ticket
        if ticket is not None:
            ticket.stages.code = response.code
            response = response.with_headers(ticket.headers)
        try:
            self._write(response)
        finally:
            if ticket is not None:
                ticket.finish(response.status)

    def abandon(self) -> None:
        """Hand back the ticket of a request whose client has left."""
        self.response_complete = True
        if self.ticket is not None:
            self.ticket.finish(None)

    def _write(self, response: Response) -> None:
        self.response_complete = True
        if not self.disconnected and not self.protocol.transport.is_closing():
            self.protocol.answer(response, keep_alive=self.keep_alive)


Handler = Callable[[Exchange], bool]
"""Answers an exchange, now or later; returns False if the request must go through ASGI."""


class FastPathProtocol(LimitedProtocol):
    """Uvicorn's protocol (0.54), which first offers POSTs to one path to a handler.

    A request is held back from Uvicorn until it is complete, so that Uvicorn sees all of it or nothing:
    `_pass_on` replays what was held, and is the only way back.
    path: the path whose POSTs are offered to the handler. max_bytes: limit on their bodies.
    """

    def __init__(
        self, *args: Any, path: str, max_bytes: int, gate: Gate, handler: Handler, **options: Any
    ) -> None:
        super().__init__(*args, **options)
        self.path = path
        self.path_bytes = path.encode()
        self.max_bytes = max_bytes
        self.gate = gate
        self.handler = handler
        self.held: bytearray | None = None
        self.hold_timer: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # the rest of the body comes later, soon if the client sends head and body apart
        if self.held is not None and self.hold_timer is None:
            self.hold_timer = self.loop.call_later(HOLD_S, self._stop_holding)

    def _stop_holding(self) -> None:
        """Give up waiting for the rest of a body: a slow one needs ASGI's timeout."""
        self.hold_timer = None
        if self.held is None or self.deaf or self.transport.is_closing():
            return
        try:
            self._pass_on()
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")

    def on_headers_complete(self) -> None:
        if self._is_eligible():
            self.head_done()
            self.held = bytearray()
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self.held is None:
            super().on_body(body)
            return
        self.held += body
        if len(self.held) > self.max_bytes:
            self._pass_on()

    def on_message_complete(self) -> None:
        if self.held is not None:
            exchange = Exchange(self, self.url[len(self.path_bytes) + 1 :], bytes(self.held))
            # the parser may deliver the next pipelined request before this one is answered: until then,
            # Uvicorn must find this exchange in the place of the current cycle
            previous, self.cycle = self.cycle, exchange  # type: ignore[assignment]
            self._stop_timer()
            if self._answer(exchange):
                self._release()
                self.idle = True
                return
            self.cycle = previous
            self.scope[TICKET] = exchange.ticket  # type: ignore[typeddict-unknown-key]
            self._pass_on()
        super().on_message_complete()

    def _answer(self, exchange: Exchange) -> bool:
        """Admit the request and offer it to the handler.

        Must not raise: Uvicorn's parser would call the request invalid, and log nothing.
        """
        try:
            admitted = self.gate.admit("POST", self.path, exchange.headers, self.client)
            if isinstance(admitted, Response):
                exchange.respond(admitted)
                return True
            exchange.ticket = admitted
            return self.handler(exchange)
        except Exception:
            logger.exception("the fast path failed")
            exchange.respond(error_response(internal_error()))
            return True

    def answer(self, response: Response, *, keep_alive: bool, body: bool = True) -> None:
        """Write the response to the current request, past ASGI."""
        self.write(response, keep_alive=keep_alive, body=body)
        # starts requests that were pipelined behind this one, and the timer of the idle connection
        self.on_response_complete()
        if response.status == 503:
            self.rest(self.gate.capacity.rest_s())

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """Admit a request that goes through ASGI; answer it here if it is refused.

        Uvicorn calls this when the head is complete, or when it is the turn of a pipelined request.
        """
        scope: Any = cycle.scope
        scope[CYCLE] = cycle
        if self.gate.draining:
            cycle.keep_alive = False
        # with more of them waiting, this would recurse
        if TICKET not in scope and not self.pipeline and not self.flow.write_paused:
            try:
                admitted = self.gate.admit(scope["method"], scope["path"], scope["headers"], self.client)
            except Exception:
                logger.exception("the gate failed")
                admitted = error_response(internal_error())
            if isinstance(admitted, Response):
                cycle.response_complete = True  # the rest of its body is read and dropped
                keep_alive = cycle.keep_alive and not self.expect_100_continue
                self.answer(admitted, keep_alive=keep_alive, body=scope["method"] != "HEAD")
                return
            scope[TICKET] = admitted
        super()._start_asgi_task(cycle, app)

    def _is_eligible(self) -> bool:
        """Return whether this is an ordinary POST to the path, with no other response in progress."""
        return (
            len(self.url) <= MAX_URL_BYTES
            and self.url.partition(b"?")[0] == self.path_bytes
            and b"#" not in self.url
            and self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
            and not self.parser.should_upgrade()
            and not self.expect_100_continue
            and not self.root_path
            and self.limit_concurrency is None
            and not self.flow.write_paused
            and not self.busy
        )

    def _pass_on(self) -> None:
        """Hand the request to the application, replaying what has arrived of it."""
        body = self._release()
        super().on_headers_complete()
        if body:
            super().on_body(bytes(body))

    def _release(self) -> bytearray | None:
        """Hold nothing any more; return what was held of the body."""
        if self.hold_timer is not None:
            self.hold_timer.cancel()
            self.hold_timer = None
        body, self.held = self.held, None
        return body
