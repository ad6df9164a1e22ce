"""BentoML's request metrics, at a tenth of their cost."""

from collections.abc import Collection
from functools import cache
from time import perf_counter
from typing import Any

from fashion_mnist.bentoml_internals import RunnerTrafficMetricsMiddleware, server_context

OTHER = "other"


class RequestMetrics(RunnerTrafficMetricsMiddleware):
    """Records the metrics of bentoml 1.4.39's middleware, same names and labels; looks up each series once.

    paths: the endpoints. Every other path counts as `other`, so that a client that invents paths cannot fill
    the memory with counters. The metrics are created when the first request begins, in the worker.
    """

    def __init__(self, *, paths: Collection[str], **options: Any) -> None:
        super().__init__(app=None, **options)  # type: ignore[arg-type]
        self.paths = frozenset(paths)
        self.skipped = tuple(self.skip_paths)
        self.endpoint_metrics = cache(self._endpoint_metrics)
        self.status_metrics = cache(self._status_metrics)

    def begin(self, path: str, start: float) -> tuple[str, float]:
        """Record an arrival at `start`, a time of perf_counter(). Pass the result to `end`."""
        if not self._is_setup:
            self._setup()
        endpoint = path if path in self.paths else OTHER
        in_progress, last_request = self.endpoint_metrics(endpoint)
        if not endpoint.startswith(self.skipped):
            last_request.set_to_current_time()
        in_progress.inc()
        return endpoint, start

    def end(self, begun: tuple[str, float], status: int | None) -> None:
        """Record the response. status: None if the client left first; then no response is counted."""
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
