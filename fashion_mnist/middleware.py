"""What every HTTP answer has, whoever gives it: a request id."""

import re
import uuid
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fashion_mnist.errors import InputError
from fashion_mnist.responses import error_response

REQUEST_ID: Final = re.compile(rb"[\x21-\x7e]{1,128}")


class Edge:
    """Outermost: every answer carries X-Request-ID, the caller's if it sent a printable one.

    A WebSocket is refused in the form of all errors; the application would say 403 and nothing else.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        sent = next((v for k, v in scope["headers"] if k == b"x-request-id"), b"")
        request_id = sent if REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex.encode()

        async def send_with_id(message: Message) -> None:
            if message["type"].endswith("http.response.start"):
                message["headers"] = [*message["headers"], (b"x-request-id", request_id)]
            await send(message)

        app = self.app
        if scope["type"] == "websocket":
            app = error_response(InputError("not_found", "there is no WebSocket; send POST to /predict"))
        await app(scope, receive, send_with_id)
