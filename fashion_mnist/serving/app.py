"""The ASGI application of a worker: BentoML's, with its queue, decoding, errors and documentation replaced.

BentoML still provides serving, metrics and health endpoints. Replaced, and why:

- its queue: see models/batching.py;
- decoding and encoding: BentoML builds a schema for each response, and accepts one kind of body per endpoint;
- errors: BentoML returns some as a list, logs a traceback for each, and has its own wording for 401;
- middlewares for metrics, CORS and the access log: the gate does their work, with and without ASGI;
- `/docs.json`: BentoML's describes a single content type;
- its page at `/`, which loads scripts from elsewhere: see endpoints/documentation.py.
"""

import faulthandler
import functools
import logging
import sys
import warnings
from typing import Any, Final, Protocol

import orjson
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response as StarletteResponse
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from fashion_mnist.bentoml_internals import (
    BentoMLContainer,
    ContextMiddleware,
    RunnerTrafficMetricsMiddleware,
    Service,
    ServiceAppFactory,
    server_context,
)
from fashion_mnist.serving.admission.access import Access
from fashion_mnist.serving.admission.access_log import open_log
from fashion_mnist.serving.admission.capacity import Capacity
from fashion_mnist.serving.admission.client_address import TrustedProxies
from fashion_mnist.serving.admission.cors import CorsPolicy
from fashion_mnist.serving.admission.gate import METRICS_PATH, PROBES, Gate
from fashion_mnist.serving.admission.key_file import Role
from fashion_mnist.serving.admission.key_ring import open_ring
from fashion_mnist.serving.admission.rates import RateTable, read_rate
from fashion_mnist.serving.config import ServeConfig
from fashion_mnist.serving.endpoints import documentation, errors, model_info, openapi, predict
from fashion_mnist.serving.endpoints.predict import PredictEndpoint
from fashion_mnist.serving.models.served_model import ServedModel
from fashion_mnist.serving.monitoring.prediction_metrics import lost_log_lines, show_workers
from fashion_mnist.serving.monitoring.request_metrics import RequestMetrics
from fashion_mnist.serving.monitoring.stages import Stages
from fashion_mnist.serving.monitoring.tracing import open_tracer
from fashion_mnist.serving.protocol.bodies import QUICK_BYTES
from fashion_mnist.serving.protocol.responses import json_response
from fashion_mnist.serving.supervision import shared_file
from fashion_mnist.serving.transport.balanced_server import Stopping
from fashion_mnist.serving.transport.connection_counts import ConnectionCounts
from fashion_mnist.serving.transport.edge import Edge
from fashion_mnist.serving.transport.heartbeats import Heartbeat
from fashion_mnist.serving.transport.worker import FastPath, ServerInstallation

logger = logging.getLogger("bentoml.service")

PREDICT: Final = "predict"
SWITCH_INTERVAL_S: Final = 0.0005
"""Time after which a busy event loop yields the GIL to the thread that runs a batch. Python's default of 5 ms
is longer than a batch takes."""


ROLES: Final[dict[str, Role | None]] = {
    **dict.fromkeys(PROBES | documentation.OPEN_PATHS),
    **dict.fromkeys((predict.PATH, model_info.PATH, "/docs.json", "/schema.json"), Role.PREDICT),
    METRICS_PATH: Role.READ,
}
"""Path -> role that it needs, None if it is open; every other path needs `admin`."""


class ServiceInstance(Protocol):
    """The attributes of the service class in service.py that the HTTP side uses."""

    config: ServeConfig
    served: ServedModel


def build(service: Service[Any], is_main: bool) -> ASGIApp:
    """Build the application of one worker; in BentoML's worker process, install the server too."""
    factory = AppFactory(service, is_main=is_main)
    app = Edge(factory(), factory.gate)
    if server_context.worker_index is not None:
        config = factory.config
        counts = ConnectionCounts(
            shared_file("connections"), config.worker_count, server_context.worker_index
        )
        stopping = Stopping(config.drain_s, factory.gate, factory.heartbeat)
        factory.installation = ServerInstallation(factory.fast_path, counts, config.keep_alive_s, stopping)
    return app


class AppFactory(ServiceAppFactory):
    """Builds the application: /predict, /model and BentoML's own routes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.timeout = None  # the queue has its own limit; BentoML's timer costs a task for each request
        self.config: ServeConfig = self.service.inner.config
        self.gate = self._build_gate(self.config)
        self.endpoint = PredictEndpoint(lambda: self.instance.served, self.config)
        self.heartbeat: Heartbeat | None = self.service.inner.heartbeat
        self.installation: ServerInstallation | None = None

    def __call__(self) -> Starlette:
        app: Starlette = super().__call__()
        app.router.redirect_slashes = False  # /predict/ answers 404, not an empty redirect
        # BentoML's page and its files; our own page has the route `index` before
        app.router.routes = [
            route
            for route in app.router.routes
            if getattr(route, "name", None) != "static_content"
            and getattr(route, "endpoint", None) != self.index_page
        ]
        app.add_exception_handler(HTTPException, errors.answer_http_exception)
        app.add_exception_handler(Exception, errors.answer_internal_error)
        return app

    @property
    def instance(self) -> ServiceInstance:
        instance: ServiceInstance = self._service_instance
        return instance

    @property
    def routes(self) -> list[BaseRoute]:
        others = [route for route in super().routes if getattr(route, "name", None) != PREDICT]
        return [
            Route(predict.PATH, self.endpoint, methods=["POST"], name=PREDICT),  # first: the most requested
            *others,
            Route(model_info.PATH, self.model_view, methods=["GET"], name="model"),
            *documentation.routes(),
        ]

    def _build_gate(self, config: ServeConfig) -> Gate:
        ring = open_ring(config.api_keys_file, required=config.require_auth)
        return Gate(
            Capacity(config.max_in_flight),
            self._request_metrics(),
            CorsPolicy(config.origins) if config.origins else None,
            open_log(config.access_log, as_json=config.log_format == "json"),
            access=None if ring is None else Access(ring, ROLES),
            rates=RateTable(shared_file("rates")) if ring is not None or config.rate_limit else None,
            rate=read_rate(config.rate_limit) if config.rate_limit else None,
            proxies=TrustedProxies(config.forwarded_allow_ips),
            tracer=open_tracer(),
            routes=self._paths(),
        )

    def _request_metrics(self) -> RequestMetrics | None:
        """Return metrics under the names of BentoML's middleware; None if its metrics are off."""
        stock = next((m for m in super().middlewares if m.cls is RunnerTrafficMetricsMiddleware), None)
        if stock is None:
            return None
        return RequestMetrics(paths=self._paths(), **stock.kwargs)

    def _paths(self) -> set[str]:
        paths = {route.path for route in super().routes if isinstance(route, Route)}
        return paths | {predict.PATH, model_info.PATH}

    @property
    def middlewares(self) -> list[Middleware]:
        """BentoML's middlewares, without metrics, contexts, and spans that nobody collects."""
        unused: list[Any] = [RunnerTrafficMetricsMiddleware, ContextMiddleware]
        if BentoMLContainer.tracing.exporter_type.get() is None:
            unused.append(OpenTelemetryMiddleware)
        return [middleware for middleware in super().middlewares if middleware.cls not in unused]

    @functools.cached_property
    def fast_path(self) -> FastPath | None:
        """The fast path, unless a middleware needs to see every request."""
        names = [str(middleware.cls.__name__) for middleware in self.middlewares]  # type: ignore[attr-defined]
        if names:
            logger.info("all requests pass through ASGI because of %s", ", ".join(names))
            return None
        logger.info("small requests take the fast path")
        return FastPath(predict.PATH, QUICK_BYTES, self.gate, self.endpoint.try_answer)

    async def create_instance(self, app: Starlette) -> None:
        """Load the model and classify an example; BentoML reports ready only afterwards."""
        if self.installation is not None:
            self.installation.check()
        silence_decoders()
        await super().create_instance(app)
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        served = self.instance.served
        await served.predict(served.example, Stages())
        served.queue.on_pace = self.gate.capacity.adapt
        if self.enable_metrics:
            show_workers(self.config.worker_count)
            lost_log_lines()
            served.start_counting(
                self.adaptive_batch_size_hist.labels(
                    runner_name=self.service.name,
                    worker_index=server_context.worker_index,
                    method_name=PREDICT,
                    service_version=server_context.bento_version,
                    service_name=server_context.bento_name,
                )
            )
            if self.gate.metrics is not None:
                self.gate.metrics.also = lambda: self.instance.served.flush()
        if self.heartbeat is not None:
            faulthandler.enable()  # a worker that hangs shows where, before it is killed
            self.heartbeat.start()

    async def model_view(self, request: Request) -> StarletteResponse:
        return errors.to_starlette(
            json_response(orjson.dumps(model_info.describe_model(self.instance.served, self.config)))
        )

    async def openapi_spec_view(self, req: Request) -> StarletteResponse:
        return errors.to_starlette(
            json_response(orjson.dumps(openapi.describe(self.instance.served, self.config)))
        )


def silence_decoders() -> None:
    """Silence library warnings about bad requests: the response already tells the client."""
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"PIL\.")
    # numpy, and the compiler that evaluates the header of a .npy file for it
    warnings.filterwarnings("ignore", message="Reading `.npy`")
    warnings.filterwarnings("ignore", module="<unknown>")
