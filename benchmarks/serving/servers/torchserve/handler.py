"""TorchServe's custom handler, called with whole batches."""

from typing import Any

import numpy as np
import orjson

from benchmarks.serving.servers.shared import load_predictor, read_pixels, to_answers
from fashion_mnist.imaging import pixels
from fashion_mnist.inference.predictor import Predictor

_predictor: list[Predictor] = []


def handle(data: list[dict[str, Any]] | None, context: Any) -> list[bytes] | None:
    """Return the answers of a batch of requests, in order; the first call has None, to load the model.

    TorchServe parses JSON bodies itself; the bytes of a picture arrive unchanged.
    """
    if not _predictor:
        _predictor.append(load_predictor())
    if data is None:
        return None
    predictor = _predictor[0]
    spec, images = predictor.spec, []
    for row in data:
        body = row.get("body") or row.get("data")
        if isinstance(body, dict):
            images.append(read_pixels(body["pixels"], spec))
        else:
            images.append(pixels.read_picture(bytes(body or b""), spec)[np.newaxis])
    return [orjson.dumps(one) for one in to_answers(predictor.predict(np.concatenate(images)), spec.classes)]
