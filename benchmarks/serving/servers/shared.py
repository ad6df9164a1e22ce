"""The model and its preprocessing, shared by all servers that run OpenVINO."""

import os
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

import fashion_mnist
from fashion_mnist.imaging import pixels
from fashion_mnist.inference.predictions import Predictions
from fashion_mnist.inference.predictor import Predictor
from fashion_mnist.spec import ModelSpec

WEIGHTS: Final = Path(fashion_mnist.__file__).parent / "weights"
THREADS: Final = int(os.environ.get("BENCH_THREADS", "1"))
WORKERS: Final = int(os.environ.get("BENCH_WORKERS", "1"))
WAIT_S: Final = int(os.environ.get("BENCH_WAIT_MS", "0")) / 1000
PORT: Final = int(os.environ.get("BENCH_PORT", "0"))
PRECISION: Final = os.environ.get("BENCH_PRECISION", "bf16")
"""Precision of the network. int8 is a feature of this project, so by default the others run without it."""
BATCH: Final = int(os.environ.get("BENCH_BATCH", "64"))
"""Largest batch of every peer that batches; this service takes 16."""


def load_predictor() -> Predictor:
    """Load the bundled model with the threads of this worker, and warm it up."""
    predictor = Predictor(WEIGHTS, THREADS, PRECISION)
    predictor.warm_up()
    return predictor


def read_body(content_type: str, body: bytes, spec: ModelSpec) -> NDArray[np.uint8]:
    """Decode a JSON or PNG body into images uint8 (1, H, W)."""
    if content_type == "application/json":
        return read_pixels(orjson.loads(body)["pixels"], spec)
    return pixels.read_picture(body, spec)[np.newaxis]


def read_pixels(values: list[int], spec: ModelSpec) -> NDArray[np.uint8]:
    """Turn a flat list into images uint8 (1, H, W); bytes() is the fastest way and checks 0..255."""
    return np.frombuffer(bytes(values), np.uint8).reshape(1, *spec.shape)


def to_answers(predictions: Predictions, classes: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return one object per image, as a typical service answers; without an out-of-distribution score."""
    rows = predictions.probabilities.round(8).tolist()
    return [
        {
            "prediction": classes[class_id],
            "class_id": class_id,
            "confidence": row[class_id],
            "probabilities": dict(zip(classes, row, strict=True)),
        }
        for class_id, row in zip(predictions.class_ids.tolist(), rows, strict=True)
    ]
