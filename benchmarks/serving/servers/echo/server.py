"""Parse the body and write it again: what Python's HTTP stack can do at most."""

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


async def echo(request: Request) -> Response:
    """The same JSON."""
    return Response(orjson.dumps(orjson.loads(await request.body())), media_type="application/json")


async def healthz(request: Request) -> Response:
    """Ready as soon as it answers."""
    return Response()


app = Starlette(routes=[Route("/predict", echo, methods=["POST"]), Route("/healthz", healthz)])
