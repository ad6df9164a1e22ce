"""The private side of BentoML that this service needs, in one place.

Read from bentoml 1.4.39: `_bentoml_sdk.Service` (its `to_asgi` and `openapi_spec`) and
`_bentoml_impl.server.app.ServiceAppFactory` (its `create_instance`, `routes`, `middlewares`).
tests/test_http_app.py fails when they change. What is kept: BentoML's serving, metrics, health endpoints,
CORS. What is replaced, and why:

- its queue: see batching.py;
- decoding and encoding: BentoML builds a schema for each answer and knows one form of body an endpoint;
- errors: BentoML answers a list for some, a traceback in the log for all, and its own words for 401;
- `/docs.json`: it describes one content type.
"""

import functools
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import orjson
import uvicorn
from _bentoml_impl.server.app import ContextMiddleware, ServiceAppFactory
from _bentoml_sdk import Service
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.context import server_context
from bentoml._internal.server.http.instruments import RunnerTrafficMetricsMiddleware
from numpy.typing import NDArray
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from fashion_mnist.errors import InputError
from fashion_mnist.inference.predictions import Predictions
from fashion_mnist.inference.predictor import CHUNKS
from fashion_mnist.serving.config import ServeConfig
from fashion_mnist.serving.endpoints import openapi
from fashion_mnist.serving.endpoints.predict import PATH, QUICK_BYTES, PredictEndpoint, Queue
from fashion_mnist.serving.models.batching import BatchQueue
from fashion_mnist.serving.models.served_model import ServedModel
from fashion_mnist.serving.monitoring.request_metrics import RequestMeter, RequestMetrics
from fashion_mnist.serving.protocol import requests
from fashion_mnist.serving.protocol.responses import error_response, internal_error
from fashion_mnist.serving.transport.balanced_server import BalancedServer, Counts
from fashion_mnist.serving.transport.edge import Edge
from fashion_mnist.serving.transport.fast_path import DirectProtocol

logger = logging.getLogger("bentoml.service")

PREDICT: Final = "predict"
MODEL_PATH: Final = "/model"
SWITCH_INTERVAL_S: Final = 0.0005
"""How long the thread of the model may have to wait for Python while the event loop is busy with requests;
5 ms by default, which is longer than a batch takes."""
BRIEF_S: Final = 0.02
"""As long as the event loop may stand still for a batch; what takes longer is run in a thread, which takes
Python and the processor from the event loop, and costs a quarter of the throughput."""


class ServiceInstance(Protocol):
    """What the service class in service.py offers to the HTTP side."""

    config: ServeConfig
    served: ServedModel


def build(service: Service[Any], is_main: bool) -> ASGIApp:
    """The application; in one of BentoML's workers, the server too."""
    factory = AppFactory(service, is_main=is_main)
    if server_context.worker_index is not None:
        _replace_server(factory, service.inner.config.worker_count, server_context.worker_index)
    return Edge(factory())


def _replace_server(factory: "AppFactory", workers: int, index: int) -> None:
    """Have the worker's connections shared with the others, and small requests answered directly.

    BentoML's worker makes a `uvicorn.Server` right after this; there is no other way to give it one.
    """
    original: Callable[..., uvicorn.Server] = uvicorn.Server
    server, folder = original, os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if folder is not None:
        counts = Counts(Path(folder) / f"connections-{os.getppid()}", workers, index)
        server = functools.partial(BalancedServer, counts=counts)

    def make_server(config: uvicorn.Config) -> uvicorn.Server:
        uvicorn.Server = original  # type: ignore[misc, assignment]
        if others := factory.other_middlewares:
            logger.info("all requests pass through ASGI, because of %s", ", ".join(others))
        else:
            take = factory.endpoint.take
            protocol: Any = functools.partial(
                DirectProtocol, path=PATH.encode(), most_bytes=QUICK_BYTES, take=take
            )
            config.http = protocol
            logger.info("small requests are answered directly, without ASGI")
        return server(config)

    uvicorn.Server = make_server  # type: ignore[misc, assignment]


class AppFactory(ServiceAppFactory):
    """Builds the ASGI application: /predict, /model, and what BentoML adds."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.timeout = None  # the queue has its own limit; BentoML's timer costs a task a request
        config = self.service.inner.config
        sizes = [size for size in CHUNKS if size <= config.batch_size]
        queue: Queue = BatchQueue(self.infer, self.is_brief, sizes, config.max_latency_ms / 1000)
        self.endpoint = PredictEndpoint(lambda: self.instance.served, config, queue, self.request_metrics)
        # they warn of broken forms, pictures and arrays, of which the client is told
        logging.getLogger("python_multipart").setLevel(logging.ERROR)
        warnings.simplefilter("ignore")

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
        others = [route for route in super().routes if getattr(route, "name", None) != PREDICT]
        return [
            Route(PATH, self.endpoint, methods=["POST"], name=PREDICT),  # first: most asked for
            *others,
            Route(MODEL_PATH, self.model_view, methods=["GET"], name="model"),
        ]

    @functools.cached_property
    def request_metrics(self) -> RequestMetrics | None:
        """Those of BentoML's middleware, if it has one."""
        stock = next((m for m in super().middlewares if m.cls is RunnerTrafficMetricsMiddleware), None)
        if stock is None:
            return None
        paths = {route.path for route in super().routes if isinstance(route, Route)}
        return RequestMetrics(paths=paths | {PATH, MODEL_PATH}, **stock.kwargs)

    @property
    def middlewares(self) -> list[Middleware]:
        """BentoML's, with its metrics made cheap, without spans that nobody collects, or contexts."""
        traced = BentoMLContainer.tracing.exporter_type.get() is not None
        kept = []
        for middleware in super().middlewares:
            if middleware.cls is RunnerTrafficMetricsMiddleware:
                meter: Any = RequestMeter
                kept.append(Middleware(meter, metrics=self.request_metrics))
            elif middleware.cls is ContextMiddleware or (
                middleware.cls is OpenTelemetryMiddleware and not traced
            ):
                continue
            else:
                kept.append(middleware)
        return kept

    @property
    def other_middlewares(self) -> list[str]:
        """Names of those that a request would miss outside of ASGI."""
        meter: Any = RequestMeter
        return [str(m.cls.__name__) for m in self.middlewares if m.cls is not meter]  # type: ignore[attr-defined]

    async def create_instance(self, app: Starlette) -> None:
        """Load the model; only when it has answered does BentoML report ready."""
        await super().create_instance(app)
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        await self.endpoint.queue.answer(self.instance.served.example)
        if self.enable_metrics:
            self.instance.served.start_counting()

    def infer(self, items: Sequence[NDArray[np.uint8]]) -> Sequence[Predictions]:
        """One batch."""
        if self.enable_metrics:
            self.batch_sizes.observe(len(items))
        return self.predict(list(items))

    @functools.cached_property
    def predict(self) -> Callable[[list[NDArray[np.uint8]]], list[Predictions]]:
        """The API of the service, without a way back to its queue."""
        function: Callable[[list[NDArray[np.uint8]]], list[Predictions]]
        function = getattr(self.instance, PREDICT).local
        return function

    def is_brief(self, items: Sequence[NDArray[np.uint8]]) -> bool:
        """Whether the event loop may stand still for a batch."""
        return sum(map(len, items)) * self.instance.served.single_s < BRIEF_S

    @functools.cached_property
    def batch_sizes(self) -> Any:
        """BentoML's histogram of batch sizes, with its labels."""
        return self.adaptive_batch_size_hist.labels(
            runner_name=self.service.name,
            worker_index=server_context.worker_index,
            method_name=PREDICT,
            service_version=server_context.bento_version,
            service_name=server_context.bento_name,
        )

    async def model_view(self, request: Request) -> Response:
        instance = self.instance
        content = instance.served.describe(instance.config)
        return Response(orjson.dumps(content), media_type=requests.JSON)

    async def openapi_spec_view(self, req: Request) -> Response:
        instance = self.instance
        content = openapi.describe(instance.served, instance.config)
        return Response(orjson.dumps(content), media_type=requests.JSON)


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
