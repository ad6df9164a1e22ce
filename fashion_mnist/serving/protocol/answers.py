"""Predictions and errors to the JSON that users see."""

from typing import Any, Final

import orjson

from fashion_mnist.errors import InputError
from fashion_mnist.inference.predictions import Predictions
from fashion_mnist.serving.protocol.requests import Item
from fashion_mnist.spec import ModelSpec

PROBABILITY_DIGITS: Final = 8
"""Enough for a row to sum to 1 within 1e-7, and a third shorter than all digits."""


def write_answer(predictions: Predictions, item: Item, spec: ModelSpec, model: str) -> bytes:
    """The JSON for one request: an object, or `{"predictions": […]}` for a batch.

    predictions: those of the item's images, in order.
    """
    objects = to_objects(predictions, spec.classes, item.top)
    if item.single:
        objects[0]["model"] = model
        return orjson.dumps(objects[0])
    return orjson.dumps({"predictions": objects, "model": model})


def to_objects(
    predictions: Predictions, classes: tuple[str, ...], top: int | None = None
) -> list[dict[str, Any]]:
    """One object for each image, as users see it; `probabilities` in the order of the classes."""
    rounded = predictions.probabilities.round(PROBABILITY_DIGITS)
    ids = predictions.class_ids.tolist()
    scores = [None] * len(ids) if predictions.ood_scores is None else predictions.ood_scores.round(6).tolist()
    known = [None] * len(ids) if predictions.in_distribution is None else predictions.in_distribution.tolist()
    objects = []
    for class_id, row, score, within in zip(ids, rounded.tolist(), scores, known, strict=True):
        named = dict(zip(classes, row, strict=True))
        if top is not None:
            kept = set(sorted(classes, key=named.__getitem__, reverse=True)[:top])
            named = {name: value for name, value in named.items() if name in kept}
        objects.append(
            {
                "prediction": classes[class_id],
                "class_id": class_id,
                "confidence": row[class_id],
                "probabilities": named,
                "in_distribution": within,
                "ood_score": score,
            }
        )
    return objects


def write_error(error: InputError) -> bytes:
    """The JSON for an error: `{"error", "code"}`, with `index` for a batch."""
    content: dict[str, Any] = {"error": str(error), "code": error.code}
    if error.index is not None:
        content["index"] = error.index
    return orjson.dumps(content)
