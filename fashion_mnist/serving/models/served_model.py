"""A served model: its predictor, its queue, its spec and its name, as one object."""

import contextlib
import ctypes
from collections import deque
from collections.abc import Callable, Sequence
from time import perf_counter, perf_counter_ns
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fashion_mnist.errors import InputError, ModelError
from fashion_mnist.imaging import pixels
from fashion_mnist.inference.openvino_runtime import BATCH_SIZES
from fashion_mnist.inference.predictions import Predictions
from fashion_mnist.inference.predictor import Predictor
from fashion_mnist.registry import model_folder
from fashion_mnist.registry.store import ChosenModel
from fashion_mnist.serving.config import ServeConfig
from fashion_mnist.serving.models.batching import BatchQueue, Waiter, smooth
from fashion_mnist.serving.monitoring.prediction_metrics import (
    PredictionCounters,
    error_counters,
    show_model,
    stage_histogram,
)
from fashion_mnist.serving.monitoring.stages import Stages
from fashion_mnist.serving.monitoring.tallies import Tally
from fashion_mnist.serving.protocol.requests import PredictRequest
from fashion_mnist.serving.protocol.responses import encode_predictions

PIECE_IMAGES: Final = 64
"""A large request passes through the queue in pieces of this many images, one after the other, so that small
requests share the model with it."""
BRIEF_S: Final = 0.02
"""Longest batch that may block the event loop. A longer one runs in a thread, which competes with the event
loop for the GIL and the CPU and costs a quarter of the throughput."""


class ServedModel:
    """A chosen model, compiled and warm, with its queue.

    A request uses one object for decoding, queueing and encoding. To replace the served model, assign another
    object; requests in flight finish with the one they began with.

    name: as in responses. example: one of the model's own images, uint8 (1, H, W[, 3]), for the documentation
    and the warm-up. image_s: moving average of the seconds per image. last_batch: start and duration of the
    last batch, in ns of perf_counter_ns(), and its requests.
    Raises ModelError.
    """

    def __init__(self, chosen: ChosenModel, config: ServeConfig) -> None:
        self.name = chosen.name
        self.predictor = Predictor(
            chosen.folder, config.threads_a_worker, config.precision, refuse=config.refuse
        )
        self.spec = self.predictor.spec
        sizes = [size for size in BATCH_SIZES if size <= config.batch_size]
        self.queue: BatchQueue[NDArray[np.uint8], Predictions] = BatchQueue(
            self.run_batch, self.is_brief, sizes, config.max_latency_ms / 1000
        )
        path = chosen.folder / model_folder.EXAMPLE
        try:
            self.example: NDArray[np.uint8] = pixels.read_picture(path.read_bytes(), self.spec)[None]
        except OSError as error:
            raise ModelError(f"{path}: not readable ({error.strerror})") from error
        except InputError as error:
            raise ModelError(f"{path}: damaged: {error}") from error
        self._counters: PredictionCounters | None = None
        self._counted: deque[tuple[Predictions, int, int]] | None = None
        self.last_batch = (0, 0, 0)
        self.predictor.warm_up()
        start = perf_counter()
        self.example_prediction = self.predictor.predict(self.example)
        self.image_s = perf_counter() - start
        trim_memory()

    def start_counting(self, batch_sizes: Any) -> None:
        """Show the model and count predictions in /metrics from now on, so that the warm-up is left out.

        batch_sizes: a Prometheus histogram.
        """
        record = self.predictor.record
        show_model(self.name, record.network, self.predictor.precision)
        error_counters()
        self._counters = PredictionCounters(
            self.spec.classes, calibrated=self.predictor.ood_threshold is not None
        )
        self._batch_sizes = Tally(batch_sizes)
        self._inference = Tally(stage_histogram("inference"))
        self._counted = deque()

    def flush(self) -> None:
        """Move the counts of the batches since the last call into /metrics."""
        batches = []
        while self._counted:  # a thread may append meanwhile
            batches.append(self._counted.popleft())
        if self._counters is None or not batches:
            return
        self._counters.add(Predictions.join([predictions for predictions, _, _ in batches]))
        for _, requests, took_ns in batches:
            self._batch_sizes.add(requests)
            self._inference.add(took_ns / 1e9)
        self._batch_sizes.flush()
        self._inference.flush()

    def enqueue(
        self, images: NDArray[np.uint8], waiter: Waiter[Predictions], deadline: float | None = None
    ) -> None:
        """Queue images, uint8 (n, H, W[, 3]) with n up to PIECE_IMAGES; the waiter receives predictions.

        deadline: a time.monotonic() at which they are of no use any more.
        """
        self.queue.enqueue(images, waiter, deadline)

    async def predict(
        self,
        images: NDArray[np.uint8],
        stages: Stages,
        deadline: float | None = None,
        left: Callable[[], bool] | None = None,
    ) -> Predictions:
        """Classify uint8 images (n, H, W[, 3]) through the queue, and note in `stages` how long it took.

        n is at least 1. deadline: see `enqueue`. left: returns whether the client has left; then the rest is
        dropped. Raises InputError: overloaded, deadline_exceeded, and what the network raises.
        """
        parts = []
        for start in range(0, len(images), PIECE_IMAGES):
            stages.queue_at = perf_counter_ns()
            try:
                parts.append(await self.queue.submit(images[start : start + PIECE_IMAGES], deadline, left))
            except Exception:
                stages.give_up(perf_counter_ns())
                raise
            stages.add_batch(*self.last_batch)  # the queue's next batch starts only after its waiters ran
        return Predictions.join(parts)

    def run_batch(self, items: Sequence[NDArray[np.uint8]]) -> list[Predictions]:
        """Classify items together, each uint8 (n, H, W[, 3]); predictions are in the same order."""
        images = np.concatenate(items)
        start = perf_counter_ns()
        predictions = self.predictor.predict(images)
        took_ns = perf_counter_ns() - start
        self.last_batch = (start, took_ns, len(items))
        self.image_s = smooth(self.image_s, took_ns / 1e9 / len(images))
        if self._counted is not None:
            self._counted.append((predictions, len(items), took_ns))
        ends = np.cumsum([len(item) for item in items]).tolist()
        return [predictions[end - len(item) : end] for item, end in zip(items, ends, strict=True)]

    def is_brief(self, items: Sequence[NDArray[np.uint8]]) -> bool:
        """Return whether a batch is short enough to run in the event loop."""
        return sum(map(len, items)) * self.image_s < BRIEF_S

    def encode(self, predictions: Predictions, request: PredictRequest) -> bytes:
        """Encode the response to one request. Raises InputError: out_of_distribution."""
        return encode_predictions(
            predictions, request, self.spec, self.name, self.predictor.record.prediction_sets
        )


def trim_memory() -> None:
    """Give freed memory back to the system; glibc alone keeps much of it, 5 MB after compilation."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)
