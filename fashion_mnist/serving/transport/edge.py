"""What every HTTP answer has, whoever gives it: a request id."""

import random
import re
from collections.abc import Iterable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fashion_mnist.errors import InputError
from fashion_mnist.serving.protocol.responses import error_response

REQUEST_ID: Final = b"x-request-id"
PRINTABLE: Final = re.compile(rb"[\x21-\x7e]{1,128}")


def request_id(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The caller's, if it sent one of printable signs; else 32 random hexadecimal digits."""
    for name, sent in headers:
        if name == REQUEST_ID and PRINTABLE.fullmatch(sent):
            return sent
    return b"%032x" % random.getrandbits(128)


class Edge:
    """Outermost: every answer carries X-Request-ID, see `request_id`.

    A WebSocket is refused in the form of all errors; the application would say 403 and nothing else.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        header = (REQUEST_ID, request_id(scope["headers"]))

        async def send_with_id(message: Message) -> None:
            if message["type"].endswith("http.response.start"):
                message["headers"] = [*message["headers"], header]
            await send(message)

        app = self.app
        if scope["type"] == "websocket":
            app = error_response(InputError("not_found", "there is no WebSocket; send POST to /predict"))
        await app(scope, receive, send_with_id)
