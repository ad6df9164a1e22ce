"""What every HTTP answer has, whoever gives it: errors in one form, and a request id."""

import re
import uuid
from typing import Final

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fashion_mnist import answers, wire
from fashion_mnist.errors import InputError

RETRY_AFTER_S: Final = 1
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


def error_response(error: InputError, headers: dict[str, str] | None = None) -> Response:
    """An error as its status and JSON; 503 says when to come back."""
    headers = dict(headers or {})
    if error.status == 503:
        headers["Retry-After"] = str(RETRY_AFTER_S)
    return Response(answers.write_error(error), error.status, headers, wire.JSON)


def internal_error() -> InputError:
    """What a client may know of a failure of ours."""
    return InputError("internal_error", "the service failed on this request; its log has the cause")
