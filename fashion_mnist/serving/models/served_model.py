"""The model that a service answers with: one object, so that it can be replaced in one assignment."""

import timeit
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fashion_mnist.errors import ModelError
from fashion_mnist.imaging import pixels
from fashion_mnist.inference.predictions import Predictions
from fashion_mnist.inference.predictor import Predictor
from fashion_mnist.registry import model_folder
from fashion_mnist.registry.store import ChosenModel
from fashion_mnist.serving.config import ServeConfig
from fashion_mnist.serving.monitoring.prediction_metrics import PredictionCounters, error_counters, show_model
from fashion_mnist.serving.protocol import answers, requests


class ServedModel:
    """A chosen model, compiled and warm.

    name: as answers give it. example: one real image of the model's, uint8 (1, H, W[, 3]), for the
    documentation and to warm up with; example_prediction: its own. single_s: what it takes, warm.
    Raises ModelError.
    """

    def __init__(self, chosen: ChosenModel, config: ServeConfig) -> None:
        self.name = chosen.name
        self.counters: PredictionCounters | None = None
        self.predictor = Predictor(chosen.folder, config.threads_a_worker, config.precision)
        self.spec = self.predictor.spec
        path = chosen.folder / model_folder.EXAMPLE
        try:
            self.example: NDArray[np.uint8] = pixels.read_picture(path.read_bytes(), self.spec)[None]
        except OSError as error:
            raise ModelError(f"{path}: not readable ({error.strerror})") from error
        self.predictor.warm_up()
        self.example_prediction = self.predictor.predict(self.example)
        self.single_s = min(timeit.repeat(lambda: self.predictor.predict(self.example), number=1, repeat=5))

    def start_counting(self) -> None:
        """Show model and counters in /metrics. Before that nothing is counted: to warm up is no traffic."""
        record = self.predictor.record
        show_model(self.name, record.network, self.predictor.precision)
        error_counters()
        self.counters = PredictionCounters(self.spec.classes, calibrated=record.ood_threshold is not None)

    def describe(self, config: ServeConfig) -> dict[str, Any]:
        """The answer of GET /model."""
        record = self.predictor.record
        metrics = record.metrics or {}
        shown = ("n", "accuracy", "precision", "recall", "f1", "nll")
        return {
            "model": self.name,
            "network": record.network,
            "dataset": record.data.get("name"),
            "created": record.created,
            "classes": list(self.spec.classes),
            "input_shape": list(self.spec.shape),
            "precision": self.predictor.precision,
            "metrics": {key: metrics[key] for key in shown if key in metrics} or None,
            "calibrated": record.temperature is not None,
            "ood_threshold": record.ood_threshold,
            "answers": {
                "top": True,
                "in_distribution": record.ood_threshold is not None,
            },
            "limits": {
                "body_bytes": config.max_body_bytes,
                "images": config.max_images,
                "picture_pixels": config.max_pixels,
                "body_timeout_s": config.body_timeout_s,
            },
            "content_types": list(requests.CONTENT_TYPES),
        }

    def predict(self, items: list[NDArray[np.uint8]]) -> list[Predictions]:
        """Classify a batch of items together; each is uint8 (n, H, W[, 3]), the answers are in order."""
        predictions = self.predictor.predict(np.concatenate(items))
        if self.counters is not None:
            self.counters.add(predictions)
        ends = np.cumsum([len(item) for item in items]).tolist()
        return [predictions[end - len(item) : end] for item, end in zip(items, ends, strict=True)]

    def write_answer(self, predictions: Predictions, item: requests.Item) -> bytes:
        """The body for one request's predictions."""
        return answers.write_answer(predictions, item, self.spec, self.name)
