"""BentoML's request metrics at a twentieth of their cost, and how long requests are decoded and wait."""

import time
from collections.abc import Callable, Collection
from typing import Any

from fashion_mnist.bentoml_internals import RunnerTrafficMetricsMiddleware, server_context
from fashion_mnist.serving.monitoring.prediction_metrics import stage_histogram
from fashion_mnist.serving.monitoring.stages import Stages
from fashion_mnist.serving.monitoring.tallies import Flusher, Tally

OTHER = "other"


class Endpoint:
    """Plain numbers of one endpoint. durations: status -> seconds of its responses."""

    def __init__(self, gauge: Any) -> None:
        self.gauge = gauge
        self.in_progress = 0
        self.durations: dict[int, tuple[Any, Tally]] = {}


class RequestMetrics(RunnerTrafficMetricsMiddleware):
    """Records the metrics of bentoml 1.4.39's middleware, same names and labels, and those of `Stages`.

    paths: the endpoints. Every other path counts as `other`, so that a client that invents paths cannot fill
    the memory with counters. also: called with each `flush`. The metrics are created when the first request
    begins, in the worker.
    """

    def __init__(self, *, paths: Collection[str], **options: Any) -> None:
        super().__init__(app=None, **options)  # type: ignore[arg-type]
        self.paths = frozenset(paths)
        self.skipped = tuple(self.skip_paths)
        self.endpoints: dict[str, Endpoint] = {}
        self.arrived = False
        self.also: Callable[[], None] = lambda: None
        self.flusher = Flusher(self.flush)

    def begin(self, path: str, start: float) -> tuple[str, float]:
        """Record an arrival at `start`, a time of perf_counter(). Pass the result to `end`."""
        if not self._is_setup:
            self._setup()
            self.decode = Tally(stage_histogram("decode"))
            self.queue = Tally(stage_histogram("queue_wait"))
        name = path if path in self.paths else OTHER
        endpoint = self.endpoints.get(name) or self._add_endpoint(name)
        endpoint.in_progress += 1
        if not self.arrived and not name.startswith(self.skipped):
            self.arrived = True
        self.flusher.plan()
        return name, start

    def end(self, begun: tuple[str, float], status: int | None, stages: Stages) -> None:
        """Record the response. status: None if the client left first; then no response is counted."""
        name, start = begun
        endpoint = self.endpoints[name]
        endpoint.in_progress -= 1
        if status is not None:
            _, tally = endpoint.durations.get(status) or self._add_status(name, status)
            tally.add(time.perf_counter() - start)
        if stages.decode_ns:
            self.decode.add(stages.decode_ns / 1e9)
        if stages.queue_ns:
            self.queue.add(stages.queue_ns / 1e9)
        self.flusher.plan()

    def flush(self) -> None:
        """Move the numbers into Prometheus' metrics."""
        if not self._is_setup:
            return
        self.decode.flush()
        self.queue.flush()
        self.also()
        for endpoint in self.endpoints.values():
            endpoint.gauge.set(endpoint.in_progress)
            for total, tally in endpoint.durations.values():
                count = tally.flush()
                if count:
                    total.inc(count)
        if self.arrived:
            self.arrived = False
            self.metrics_last_request_timestamp.labels(**_service_labels()).set_to_current_time()

    def _add_endpoint(self, name: str) -> Endpoint:
        gauge = self.metrics_request_in_progress.labels(endpoint=name, **_service_labels())
        return self.endpoints.setdefault(name, Endpoint(gauge))

    def _add_status(self, name: str, status: int) -> tuple[Any, Tally]:
        labels = {"endpoint": name, "http_response_code": status, **_service_labels()}
        found = (
            self.metrics_request_total.labels(**labels),
            Tally(self.metrics_request_duration.labels(**labels)),
        )
        return self.endpoints[name].durations.setdefault(status, found)


def _service_labels() -> dict[str, Any]:
    return {
        "service_name": server_context.bento_name,
        "service_version": server_context.bento_version,
        "runner_name": server_context.service_name,
    }
