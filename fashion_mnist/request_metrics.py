"""BentoML's metrics of requests, at a tenth of the cost."""

from collections.abc import Collection
from functools import cache
from time import perf_counter
from typing import Any

from bentoml._internal.context import server_context
from bentoml._internal.server.http.instruments import RunnerTrafficMetricsMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

OTHER = "other"


class RequestMetrics(RunnerTrafficMetricsMiddleware):
    """The middleware of bentoml 1.4.39: same names and labels, looked up once and kept.

    paths: the endpoints; whatever else is asked for counts as `other`, or else whoever invents paths
    would fill the memory with counters.
    """

    def __init__(self, app: ASGIApp, *, paths: Collection[str], **options: Any) -> None:
        super().__init__(app, **options)
        self.paths = frozenset(paths)
        self.skipped = tuple(self.skip_paths)
        self.endpoint_metrics = cache(self._endpoint_metrics)
        self.status_metrics = cache(self._status_metrics)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == "/metrics":
            await self.app(scope, receive, send)
            return
        if not self._is_setup:
            self._setup()
        endpoint = scope["path"] if scope["path"] in self.paths else OTHER
        in_progress, last_request = self.endpoint_metrics(endpoint)
        if not endpoint.startswith(self.skipped):
            last_request.set_to_current_time()
        status = 500
        start = perf_counter()

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        in_progress.inc()
        try:
            await self.app(scope, receive, send_and_note)
        finally:
            in_progress.dec()
            total, duration = self.status_metrics(endpoint, status)
            total.inc()
            duration.observe(perf_counter() - start)

    def _service_labels(self) -> dict[str, Any]:
        return {
            "service_name": server_context.bento_name,
            "service_version": server_context.bento_version,
            "runner_name": server_context.service_name,
        }

    def _endpoint_metrics(self, endpoint: str) -> tuple[Any, Any]:
        service = self._service_labels()
        return (
            self.metrics_request_in_progress.labels(endpoint=endpoint, **service),
            self.metrics_last_request_timestamp.labels(**service),
        )

    def _status_metrics(self, endpoint: str, status: int) -> tuple[Any, Any]:
        labels = {"endpoint": endpoint, "http_response_code": status, **self._service_labels()}
        return self.metrics_request_total.labels(**labels), self.metrics_request_duration.labels(**labels)
