"""The private side of BentoML that this service needs, in one place.

Read from bentoml 1.4.39: `_bentoml_sdk.Service` (its `to_asgi` and `openapi_spec`) and
`_bentoml_impl.server.app.ServiceAppFactory` (its `api_endpoint`, `batch_infer`, `create_instance`,
`routes`). tests/test_http_app.py fails when they change. What is kept: BentoML's serving, adaptive
batching, metrics, health endpoints, CORS. What is replaced, and why:

- decoding and encoding: BentoML builds a schema for each answer and knows one form of body an endpoint;
- errors: BentoML answers a list for some, a traceback in the log for all, and its own words for 401;
- `/docs.json`: it describes one content type.
"""

import asyncio
import functools
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
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

from fashion_mnist import openapi, wire
from fashion_mnist.batching import BatchQueue
from fashion_mnist.config import ServeConfig
from fashion_mnist.errors import InputError
from fashion_mnist.listener import BalancedServer, Counts
from fashion_mnist.middleware import Edge
from fashion_mnist.predict_endpoint import PredictEndpoint
from fashion_mnist.predictor import CHUNKS, Predictions
from fashion_mnist.request_metrics import RequestMetrics
from fashion_mnist.responses import error_response, internal_error
from fashion_mnist.served import ServedModel

PREDICT: Final = "predict"
SWITCH_INTERVAL_S: Final = 0.0005
"""How long the thread of the model may have to wait for Python while the event loop is busy with requests;
5 ms by default, which is longer than a batch takes."""
QUICK_S: Final = 0.001
"""As long as the event loop may stand still for a batch. To the other thread and back takes 0.1 to 0.3 ms."""


class ServiceInstance(Protocol):
    """What the service class in service.py offers to the HTTP side."""

    config: ServeConfig
    served: ServedModel


def build(service: Service[Any], is_main: bool) -> ASGIApp:
    """The application of this worker, and its share of the connections."""
    _balance(service.inner.config.worker_count)
    return Edge(AppFactory(service, is_main=is_main)())


def _balance(workers: int) -> None:
    """Make BentoML's worker, in which this runs, share the connections evenly with the others.

    BentoML starts `uvicorn.Server` right after this; there is no other way to give it one.
    """
    folder, index = os.environ.get("PROMETHEUS_MULTIPROC_DIR"), server_context.worker_index
    if workers > 1 and folder is not None and index is not None:
        counts = Counts(Path(folder) / f"connections-{os.getppid()}", workers, index)
        uvicorn.Server = functools.partial(BalancedServer, counts=counts)  # type: ignore[misc, assignment]


class AppFactory(ServiceAppFactory):
    """Builds the ASGI application: /predict, /model, and what BentoML adds."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.timeout = None  # the queue has its own limit; BentoML's timer costs a task a request
        stock = self.dispatchers[PREDICT]
        queue: BatchQueue[NDArray[np.uint8], Predictions] = BatchQueue(
            CHUNKS,
            max_latency_in_ms=int(stock.max_latency * 1000),
            max_batch_size=stock.max_batch_size,
            fallback=stock.fallback,
            get_batch_size=lambda images: 1,  # a batch is counted in requests
        )
        self.dispatchers[PREDICT] = queue
        self.model_thread = ThreadPoolExecutor(1, "model")
        self.endpoint = PredictEndpoint(
            lambda: self.instance.served, self.service.inner.config, queue(self.infer)
        )
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
            Route(f"/{PREDICT}", self.endpoint, methods=["POST"], name=PREDICT),  # first: most asked for
            *others,
            Route("/model", self.model_view, methods=["GET"], name="model"),
        ]

    @property
    def middlewares(self) -> list[Middleware]:
        """BentoML's, with its metrics made cheap, without spans that nobody collects, or contexts."""
        traced = BentoMLContainer.tracing.exporter_type.get() is not None
        kept = []
        for middleware in super().middlewares:
            if middleware.cls is RunnerTrafficMetricsMiddleware:
                paths = [route.path for route in self.routes if isinstance(route, Route)]
                make: Any = RequestMetrics
                kept.append(Middleware(make, paths=paths, **middleware.kwargs))
            elif middleware.cls is ContextMiddleware or (
                middleware.cls is OpenTelemetryMiddleware and not traced
            ):
                continue
            else:
                kept.append(middleware)
        return kept

    async def create_instance(self, app: Starlette) -> None:
        """Load the model; only when it has answered does BentoML report ready."""
        await super().create_instance(app)
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        await self.endpoint.infer(self.instance.served.example)
        if self.enable_metrics:
            self.instance.served.start_counting()

    async def infer(self, items: Sequence[NDArray[np.uint8]]) -> Sequence[Predictions]:
        """One batch, in the thread of the model; a quick one right here, without the way there and back."""
        if self.enable_metrics:
            self.batch_sizes.observe(len(items))
        function: Callable[..., list[Predictions]] = getattr(self.instance, PREDICT).local
        if len(items) == 1 and len(items[0]) * self.instance.served.single_s < QUICK_S:
            return function(list(items))
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.model_thread, function, list(items))

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
        return Response(orjson.dumps(content), media_type=wire.JSON)

    async def openapi_spec_view(self, req: Request) -> Response:
        instance = self.instance
        content = openapi.describe(instance.served, instance.config)
        return Response(orjson.dumps(content), media_type=wire.JSON)


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
