"""Metrics of predictions, errors, stages and the model, shown in /metrics beside BentoML's request metrics.

BentoML's metrics client (bentoml 1.4.39) adds up the workers; it must be requested inside a worker. Every
series exists from the start, at 0: a rate over a series that begins with its first error misses that error.
Label values are the model's classes and our own error codes; clients of the service cannot add any.
"""

import functools
from typing import Any, Final

import numpy as np

from fashion_mnist.bentoml_internals import BentoMLContainer
from fashion_mnist.errors import HTTP_ERRORS
from fashion_mnist.inference.predictions import Predictions

PREFIX: Final = "fashion_mnist"
STAGES: Final = {
    "decode": "Seconds from a complete body to images, one observation per request",
    "queue_wait": "Seconds that a request waited for the model, one observation per request",
    "inference": "Seconds that the model ran, one observation per batch",
}
BUCKETS_S: Final = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
"""From one small image, 0.1 ms, to the longest that a request may wait."""


@functools.cache
def _counter(name: str, documentation: str, *labels: str) -> Any:
    """Create a counter, or return the existing one: a process may create each name only once."""
    client = BentoMLContainer.metrics_client.get()
    return client.Counter(f"{PREFIX}_{name}", documentation, labelnames=labels)


@functools.cache
def error_counters() -> dict[str, Any]:
    """Return one counter for each code of HTTP_ERRORS."""
    counter = _counter("errors_total", "Requests answered with an error, by code", "code")
    return {code: counter.labels(code) for code in HTTP_ERRORS}


def count_error(code: str) -> None:
    """Count one error response with this code."""
    error_counters()[code].inc()


@functools.cache
def stage_histogram(stage: str) -> Any:
    """Return the histogram of a stage, a key of STAGES; those of several workers and pods can be added up."""
    client = BentoMLContainer.metrics_client.get()
    return client.Histogram(f"{PREFIX}_{stage}_seconds", STAGES[stage], buckets=BUCKETS_S)


def lost_log_lines() -> Any:
    """Return the counter of log lines that could not be written."""
    return _counter("log_lines_lost_total", "Lines of the request log that could not be written")


@functools.cache
def _workers() -> Any:
    client = BentoMLContainer.metrics_client.get()
    return client.Gauge(f"{PREFIX}_workers", "Worker processes", multiprocess_mode="max")


def show_workers(count: int) -> None:
    """Show the number of workers in /metrics; every worker sets the same value."""
    _workers().set(count)


class PredictionCounters:
    """Counts images by predicted class, and images unlike the training images.

    calibrated: whether the model can detect the latter; else they have no counter, since 0 would be wrong.
    """

    def __init__(self, classes: tuple[str, ...], *, calibrated: bool) -> None:
        by_class = _counter("predictions_total", "Images by predicted class", "class")
        self.by_class = [by_class.labels(name) for name in classes]
        self.strange = (
            _counter("out_of_distribution_total", "Images unlike the training images") if calibrated else None
        )

    def add(self, predictions: Predictions) -> None:
        """Count one batch. The cost grows with the classes found in it, not with its images."""
        counts = np.bincount(predictions.class_ids, minlength=len(self.by_class))
        for class_id in counts.nonzero()[0].tolist():
            self.by_class[class_id].inc(int(counts[class_id]))
        known = predictions.in_distribution
        if self.strange is not None and known is not None:
            self.strange.inc(len(known) - int(np.count_nonzero(known)))


@functools.cache
def _model_info() -> Any:
    """Return the gauge of served models; `max` merges the workers' values, all 1, into one series."""
    labels = ("model", "network", "precision")
    client = BentoMLContainer.metrics_client.get()
    return client.Gauge(
        f"{PREFIX}_model_info", "1 for the served model", labelnames=labels, multiprocess_mode="max"
    )


def show_model(name: str, network: str, precision: str) -> None:
    """Show the served model in /metrics; called when it is ready."""
    _model_info().labels(name, network, precision).set(1)
