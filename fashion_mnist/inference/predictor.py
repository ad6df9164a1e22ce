"""A stored model as a function: images -> predictions. Runs on OpenVINO, without torch."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fashion_mnist.cpu import available_cpus
from fashion_mnist.inference.calibration import softmax
from fashion_mnist.inference.ood import DEFAULT_SHARE, OodHead, energy_score, find_threshold, read_head
from fashion_mnist.inference.openvino_runtime import BATCH_SIZES, CompiledNetwork
from fashion_mnist.inference.predictions import Predictions
from fashion_mnist.registry import model_folder
from fashion_mnist.registry.model_folder import ModelRecord

Outputs = tuple[NDArray[np.float32], NDArray[np.float32]]


class Network(Protocol):
    """Runs a network. precision: the precision in use: `int8`, `bf16` or `fp32`."""

    precision: str

    def run(self, images: NDArray[np.uint8]) -> Outputs:
        """Return logits (n, K) and features (n, D) of uint8 images (n, H, W[, C]); n is in BATCH_SIZES."""


class Predictor:
    """One model, ready to predict. Thread-safe: concurrent calls run one after the other.

    folder: see registry/model_folder.py. threads: for inference, None for all CPUs that this process may
    use. precision: `auto`, `int8`, `bf16` or `fp32`. network: builds what runs the network, see `Network`.
    refuse: share of known images that may count as out-of-distribution, 0.001..0.05.
    Raises ModelError.
    """

    def __init__(
        self,
        folder: Path,
        threads: int | None = None,
        precision: str = "auto",
        network: Callable[[Path, ModelRecord, int, str], Network] = CompiledNetwork,
        refuse: float = DEFAULT_SHARE,
    ) -> None:
        self.folder = folder
        self.record = model_folder.read_record(folder)
        self.spec = self.record.spec
        self.threads = threads or available_cpus()
        self._network = network(folder, self.record, self.threads, precision)
        self.precision = self._network.precision
        self._lock = threading.Lock()
        self.ood_threshold = find_threshold(self.record, refuse)
        self._head: OodHead | None = None
        if self.record.has_head:
            logits, features = self.outputs(np.zeros((1, *self.spec.shape), np.uint8))
            self._head = read_head(folder, logits.shape[1] + features.shape[1])

    def outputs(self, images: NDArray[np.uint8]) -> Outputs:
        """Return the network's raw logits (N, K) and features (N, D).

        images: uint8 (N, H, W) or (N, H, W, 3), in the model's shape; any N from 1.
        """
        with self._lock:
            parts = [self._network.run(chunk) for chunk in _chunks(images)]
        if len(parts) == 1:
            return parts[0]
        return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])

    def predict(self, images: NDArray[np.uint8]) -> Predictions:
        """Classify images: uint8 (N, H, W) or (N, H, W, 3), in the model's shape; 0 is background."""
        return self.interpret(*self.outputs(images))

    def interpret(self, logits: NDArray[np.float32], features: NDArray[np.float32]) -> Predictions:
        """Apply the model's temperature, OOD score and threshold to logits (N, K) and features (N, D)."""
        probabilities = softmax(logits, self.record.temperature or 1.0)
        if self.ood_threshold is None:
            return Predictions(probabilities, None, None)
        scores = energy_score(logits) if self._head is None else self._head.score(logits, features)
        return Predictions(probabilities, scores, scores <= self.ood_threshold)

    def warm_up(self) -> None:
        """Run every batch size once, so that no request pays for a first run."""
        for size in BATCH_SIZES:
            self.outputs(np.zeros((size, *self.spec.shape), np.uint8))


def _chunks(images: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """Cut images (N, ...) into pieces whose lengths are in BATCH_SIZES, the largest first."""
    start = 0
    for size in BATCH_SIZES:
        while len(images) - start >= size:
            yield images[start : start + size]
            start += size
