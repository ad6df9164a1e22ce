"""A served model: its predictor, its queue, its spec and its name, as one object."""

import contextlib
import ctypes
from collections.abc import Sequence
from time import perf_counter
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
from fashion_mnist.serving.models.batching import BatchQueue, Waiter
from fashion_mnist.serving.monitoring.prediction_metrics import PredictionCounters, error_counters, show_model
from fashion_mnist.serving.protocol.requests import PredictRequest
from fashion_mnist.serving.protocol.responses import encode_predictions

PIECE_IMAGES: Final = 64
"""A large request passes through the queue in pieces of this many images, one after the other, so that small
requests share the model with it."""
BRIEF_S: Final = 0.02
"""Longest batch that may block the event loop. A longer one runs in a thread, which competes with the event
loop for the GIL and the CPU and costs a quarter of the throughput."""
MEMORY: Final = 0.9
"""Weight of the past in the moving average of the time an image takes."""
MAX_JUMP: Final = 4.0
"""Cap on a new value, in multiples of the average: one interrupted batch moves the average by 30 % at most
and does not send the next one to the thread; a lasting slowdown by 20 times is noticed within 12 batches."""


class ServedModel:
    """A chosen model, compiled and warm, with its queue.

    A request uses one object for decoding, queueing and encoding. To replace the served model, assign another
    object; requests in flight finish with the one they began with.

    name: as in responses. example: one of the model's own images, uint8 (1, H, W[, 3]), for the documentation
    and the warm-up. image_s: moving average of the seconds per image.
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
        self._batch_sizes: Any = None
        self.predictor.warm_up()
        start = perf_counter()
        self.example_prediction = self.predictor.predict(self.example)
        self.image_s = perf_counter() - start
        _trim_memory()

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
        self._batch_sizes = batch_sizes

    def enqueue(self, images: NDArray[np.uint8], waiter: Waiter[Predictions]) -> None:
        """Queue images, uint8 (n, H, W[, 3]) with n up to PIECE_IMAGES; the waiter receives predictions."""
        self.queue.enqueue(images, waiter)

    async def predict(self, images: NDArray[np.uint8]) -> Predictions:
        """Classify uint8 images (n, H, W[, 3]) through the queue; n is at least 1.

        Raises InputError: overloaded, and what the network raises.
        """
        parts = []
        for start in range(0, len(images), PIECE_IMAGES):
            parts.append(await self.queue.submit(images[start : start + PIECE_IMAGES]))  # noqa: PERF401
        return Predictions.join(parts)

    def run_batch(self, items: Sequence[NDArray[np.uint8]]) -> list[Predictions]:
        """Classify items together, each uint8 (n, H, W[, 3]); predictions are in the same order."""
        images = np.concatenate(items)
        start = perf_counter()
        predictions = self.predictor.predict(images)
        took_s = min((perf_counter() - start) / len(images), MAX_JUMP * self.image_s)
        self.image_s = MEMORY * self.image_s + (1 - MEMORY) * took_s
        if self._counters is not None:
            self._counters.add(predictions)
            self._batch_sizes.observe(len(items))
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


def _trim_memory() -> None:
    """Give the memory that compilation has freed back to the system; glibc alone keeps 5 MB of it."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)
