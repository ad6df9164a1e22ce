"""Parse the body and serialize it again: the upper limit of Python's HTTP stack."""

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


async def echo(request: Request) -> Response:
    """Return the JSON that came."""
    return Response(orjson.dumps(orjson.loads(await request.body())), media_type="application/json")


async def healthz(request: Request) -> Response:
    """Report readiness."""
    return Response()


app = Starlette(routes=[Route("/predict", echo, methods=["POST"]), Route("/healthz", healthz)])
