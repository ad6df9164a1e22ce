"""Answers to the errors of Starlette, in the JSON form of all errors."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response as StarletteResponse

from fashion_mnist.errors import InputError
from fashion_mnist.serving.protocol.responses import Response, error_response, internal_error
from fashion_mnist.serving.transport.edge import TICKET


async def answer_http_exception(request: Request, error: Exception) -> StarletteResponse:
    """Answer Starlette's own errors (404, 405, a failed probe) in the JSON form of all errors."""
    assert isinstance(error, HTTPException)
    path = request.scope["path"]  # as routed: request.url also depends on the Host header
    known = {
        404: InputError("not_found", f"there is no {path}; see /docs for the routes"),
        405: InputError(
            "method_not_allowed", f"{path} does not accept {request.method}; see /docs for the routes"
        ),
        503: InputError("not_ready", "the service is not ready; try again in a moment"),
    }
    headers = [(name.lower().encode(), value.encode()) for name, value in (error.headers or {}).items()]
    return _answer(request, error_response(known.get(error.status_code, internal_error()), headers))


async def answer_internal_error(request: Request, error: Exception) -> StarletteResponse:
    """Answer an exception that nothing else has caught; Starlette logs it."""
    return _answer(request, error_response(internal_error()))


def _answer(request: Request, response: Response) -> StarletteResponse:
    if TICKET in request.scope:
        request.scope[TICKET].stages.code = response.code
    return to_starlette(response)


def to_starlette(response: Response) -> StarletteResponse:
    """Return a response in the form of Starlette's."""
    converted = StarletteResponse(response.body, response.status)
    converted.raw_headers = list(response.headers)
    return converted
