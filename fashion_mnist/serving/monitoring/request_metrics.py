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
    """The metrics of bentoml 1.4.39's middleware: same names and labels, looked up once and kept.

    paths: the endpoints; whatever else is asked for counts as `other`, or else whoever invents paths
    would fill the memory with counters. They are made when the first request begins, in the worker.
    """

    def __init__(self, *, paths: Collection[str], **options: Any) -> None:
        super().__init__(app=None, **options)  # type: ignore[arg-type]
        self.paths = frozenset(paths)
        self.skipped = tuple(self.skip_paths)
        self.endpoint_metrics = cache(self._endpoint_metrics)
        self.status_metrics = cache(self._status_metrics)

    def begin(self, path: str, start: float) -> tuple[str, float]:
        """A request has come, at this time of perf_counter(); what is returned is for `end`."""
        if not self._is_setup:
            self._setup()
        endpoint = path if path in self.paths else OTHER
        in_progress, last_request = self.endpoint_metrics(endpoint)
        if not endpoint.startswith(self.skipped):
            last_request.set_to_current_time()
        in_progress.inc()
        return endpoint, start

    def end(self, begun: tuple[str, float], status: int | None) -> None:
        """It is answered; status None: its client is gone, and nothing is counted."""
        endpoint, start = begun
        in_progress, _ = self.endpoint_metrics(endpoint)
        in_progress.dec()
        if status is None:
            return
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


class RequestMeter:
    """Middleware: counts every request but those for /metrics."""

    def __init__(self, app: ASGIApp, metrics: RequestMetrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == "/metrics":
            await self.app(scope, receive, send)
            return
        status: int | None = None

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        begun = self.metrics.begin(scope["path"], perf_counter())
        try:
            await self.app(scope, receive, send_and_note)
        except Exception:
            status = 500  # which Starlette answers, outside of this
            raise
        finally:
            self.metrics.end(begun, status)
