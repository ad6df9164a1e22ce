"""The outermost ASGI application: takes every request to the gate."""

from collections.abc import MutableMapping
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fashion_mnist.errors import InputError
from fashion_mnist.serving.admission.gate import Gate, Ticket
from fashion_mnist.serving.protocol.responses import Response, error_response

TICKET: Final = "fashion_mnist.ticket"
"""Scope key of the ticket, under which endpoints find it, and the edge that of a request already admitted."""

CYCLE: Final = "fashion_mnist.cycle"
"""Scope key of Uvicorn's cycle, which knows at once when the client has left."""


class Edge:
    """Admits requests, and rejects WebSockets with a JSON error; the application would send a bare 403."""

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self.app = app
        self.gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            try:
                await self.app(scope, receive, send)
            finally:
                self.gate.close()
            return
        admitted = scope.get(TICKET) or self._admit(scope)
        if isinstance(admitted, Response):
            await send_response(send, admitted, scope["type"])
            return
        if scope["type"] == "websocket":
            response = error_response(
                InputError("not_found", "WebSockets are not supported; POST to /predict")
            )
            admitted.stages.code = response.code
            admitted.finish(response.status)
            await send_response(send, response.with_headers(admitted.headers), "websocket")
            return
        scope[TICKET] = admitted
        await self._serve(scope, receive, send, admitted)

    def _admit(self, scope: Scope) -> Ticket | Response:
        client = scope.get("client")
        method = scope.get("method", "GET")  # a WebSocket begins as a GET
        return self.gate.admit(method, scope["path"], scope["headers"], client and tuple(client))

    async def _serve(self, scope: Scope, receive: Receive, send: Send, ticket: Ticket) -> None:
        status: int | None = None

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *ticket.headers]
                ticket.release()
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        finally:
            ticket.finish(status)


async def send_response(send: Send, response: Response, kind: str = "http") -> None:
    """Send a complete response. kind: the scope's type."""
    prefix = "websocket.http" if kind == "websocket" else "http"
    start: MutableMapping[str, Any] = {
        "type": f"{prefix}.response.start",
        "status": response.status,
        "headers": list(response.headers),
    }
    await send(start)
    await send({"type": f"{prefix}.response.body", "body": response.body})
