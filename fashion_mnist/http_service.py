"""The private side of BentoML that this service needs, in one place.

Read from bentoml 1.4.39: `_bentoml_sdk.Service` (its `to_asgi` and `openapi_spec`) and
`_bentoml_impl.server.app.ServiceAppFactory` (its `api_endpoint`, `batch_infer`, `create_instance`,
`routes`). tests/test_http_service.py fails when they change. What is kept: BentoML's serving, adaptive
batching, metrics, health endpoints, CORS. What is replaced, and why:

- decoding and encoding: BentoML builds a schema for each answer and knows one form of body an endpoint;
- errors: BentoML answers a list for some, a traceback in the log for all, and its own words for 401;
- `/docs.json`: it describes one content type.
"""

import functools
import logging
import warnings
from collections.abc import Callable
from typing import Any, Final, Protocol, TypeVar

import anyio
import anyio.to_thread
import orjson
from _bentoml_impl.server.app import ServiceAppFactory
from _bentoml_sdk import Service
from _bentoml_sdk.io_models import IORootModel
from bentoml.exceptions import ServiceUnavailable
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from fashion_mnist import decoder, multipart, openapi, wire
from fashion_mnist.body import receive_body
from fashion_mnist.config import ServeConfig
from fashion_mnist.errors import InputError
from fashion_mnist.middleware import Edge, error_response, internal_error
from fashion_mnist.predictor import Predictions
from fashion_mnist.provenance import available_cpus
from fashion_mnist.served import ServedModel
from fashion_mnist.spec import ModelSpec

logger = logging.getLogger("bentoml.service")

R = TypeVar("R")

PREDICT: Final = "predict"
LEARNING_DISPATCHES: Final = 12
"""BentoML's dispatcher runs its first 11 batches at size 1 while it learns how long they take."""
PIECE_IMAGES: Final = 64
"""A large request passes through the queue in pieces of so many images, one after the other: it shares the
model with small requests, and BentoML's estimate of the time for a request stays true."""
QUICK_BYTES: Final = 8_192
"""Smaller bodies are decoded in the event loop, in microseconds. A small file can be a large picture, so a
picture has to be as small in pixels too; the rest is decoded in threads, as many as there are processors."""


class ServiceInstance(Protocol):
    """What the service class in service.py offers to the HTTP side."""

    config: ServeConfig
    served: ServedModel


class PredictInput(IORootModel[Any]):
    """For BentoML's client, which reads /schema.json; AppFactory decodes requests itself.

    `image` comes first so that `client.predict(Path("boot.png"))` sends a file.
    """

    @classmethod
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return {
            "type": "object",
            "properties": {
                "image": {"type": "array", "items": {"type": "file", "format": "image"}},
                "pixels": {"type": "array", "items": {}},
            },
        }


class PredictOutput(IORootModel[Any]):
    """An object, whose form /docs.json describes."""

    @classmethod
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return {"type": "object"}


class HttpService(Service[Any]):
    """A BentoML service whose HTTP side is AppFactory."""

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        self.inject_config()
        return Edge(AppFactory(self, is_main=is_main)())


class AppFactory(ServiceAppFactory):
    """Builds the ASGI application: /predict, /model, and what BentoML adds."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.timeout = None  # the queue has its own limit; BentoML's timer costs a task a request
        self.in_flight = 0
        # they warn of broken forms, pictures and arrays, of which the client is told
        logging.getLogger("python_multipart").setLevel(logging.ERROR)
        warnings.simplefilter("ignore")
        self.decoders = anyio.CapacityLimiter(available_cpus())

    def __call__(self) -> Starlette:
        app: Starlette = super().__call__()
        app.router.redirect_slashes = False  # /predict/ is not found, instead of an empty redirect
        app.add_exception_handler(HTTPException, _http_exception)
        app.add_exception_handler(Exception, _internal_error)
        return app

    @property
    def instance(self) -> ServiceInstance:
        instance: ServiceInstance = self._service_instance
        return instance

    @property
    def routes(self) -> list[BaseRoute]:
        return [*super().routes, Route("/model", self.model_view, methods=["GET"], name="model")]

    async def create_instance(self, app: Starlette) -> None:
        """Load the model, and teach the dispatcher; only then does BentoML report ready."""
        await super().create_instance(app)
        for _ in range(LEARNING_DISPATCHES):
            await self.batch_infer(PREDICT, ([self.instance.served.example],), {})

    async def model_view(self, request: Request) -> Response:
        instance = self.instance
        content = instance.served.describe(instance.config)
        return Response(orjson.dumps(content), media_type=wire.JSON)

    async def openapi_spec_view(self, req: Request) -> Response:
        instance = self.instance
        content = openapi.describe(instance.served, instance.config)
        return Response(orjson.dumps(content), media_type=wire.JSON)

    async def api_endpoint(self, name: str, request: Request) -> Response:
        """One request to /predict: body -> item -> BentoML's batching -> answer."""
        try:
            if self.in_flight >= self.instance.config.max_in_flight:
                raise InputError(
                    "overloaded", f"{self.in_flight} requests are in flight; try again in a moment"
                )
            self.in_flight += 1
            try:
                served = self.instance.served
                item = await self.read_item(request, served.spec)
                parts = []
                for start in range(0, len(item.images), PIECE_IMAGES):
                    piece = item.images[start : start + PIECE_IMAGES]
                    parts += await self.batch_infer(name, ([piece],), {})
                write = functools.partial(served.write_answer, Predictions.join(parts), item)
                body = write() if len(parts) == 1 else await self.in_thread(write)
            finally:
                self.in_flight -= 1
            return Response(body, media_type=wire.JSON)
        except InputError as error:
            return error_response(error)
        except ServiceUnavailable:
            waited = f"{self.instance.config.max_latency_ms / 1000:g} s"
            return error_response(
                InputError("overloaded", f"the request waited longer than {waited}; try again")
            )
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        except Exception:
            logger.exception("prediction failed")
            return error_response(internal_error())

    async def read_item(self, request: Request, spec: ModelSpec) -> wire.Item:
        """Decode and validate a request before it can share a batch with others. Raises InputError."""
        config = self.instance.config
        limits = wire.Limits(config.max_body_bytes, config.max_images, config.max_pixels)
        top = wire.read_query(request.query_params.multi_items(), spec)
        kind = wire.media_type(request.headers.get("content-type"))
        body = await receive_body(request, limits.body_bytes, config.body_timeout_s)
        if kind == wire.MULTIPART:
            files = await multipart.read_files(request.headers, body, limits.images)
            read = functools.partial(wire.read_pictures, files, spec, limits)
        else:
            read = functools.partial(wire.read_body, kind, body, spec, limits)
            quick = len(body) <= QUICK_BYTES
            if quick and (kind not in wire.PICTURE_TYPES or decoder.count_pixels(body) <= QUICK_BYTES):
                return wire.Item(*read(), top)
        return wire.Item(*await self.in_thread(read), top)

    async def in_thread(self, function: Callable[[], R]) -> R:
        """Run what takes milliseconds beside the event loop, which has to serve others."""
        return await anyio.to_thread.run_sync(function, limiter=self.decoders)


async def _http_exception(request: Request, error: Exception) -> Response:
    """Starlette's own errors (404, 405, a failed probe) in the form of ours."""
    assert isinstance(error, HTTPException)
    path = request.url.path
    known = {
        404: InputError("not_found", f"there is no {path}; see / for what there is"),
        405: InputError("method_not_allowed", f"{path} does not take {request.method}"),
        503: InputError("not_ready", "the service is not ready; try again in a moment"),
    }
    headers = dict(error.headers or {})
    return error_response(known.get(error.status_code, internal_error()), headers)


async def _internal_error(request: Request, error: Exception) -> Response:
    return error_response(internal_error())
