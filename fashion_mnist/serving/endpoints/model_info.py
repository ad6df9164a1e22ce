"""GET /model: describes the served model."""

from typing import Any, Final

from fashion_mnist.serving.config import ServeConfig
from fashion_mnist.serving.models.served_model import ServedModel
from fashion_mnist.serving.protocol.requests import CONTENT_TYPES

PATH: Final = "/model"
METRICS: Final = ("n", "accuracy", "precision", "recall", "f1", "nll", "ece")


def describe_model(served: ServedModel, config: ServeConfig) -> dict[str, Any]:
    """Return the content of GET /model: tag, classes, shape, limits, metrics."""
    record = served.predictor.record
    metrics = record.metrics or {}
    return {
        "model": served.name,
        "network": record.network,
        "dataset": record.data.get("name"),
        "created": record.created,
        "classes": list(served.spec.classes),
        "input_shape": list(served.spec.shape),
        "preparation": served.spec.preparation,
        "precision": served.predictor.precision,
        "metrics": {key: metrics[key] for key in METRICS if key in metrics} or None,
        "calibrated": record.temperature is not None,
        "ood_threshold": served.predictor.ood_threshold,
        "answers": {
            "top": True,
            "prediction_set": record.prediction_sets is not None,
            "in_distribution": record.ood_threshold is not None,
        },
        "limits": {
            "body_bytes": config.max_body_bytes,
            "images": config.max_images,
            "picture_pixels": config.max_pixels,
            "body_timeout_s": config.body_timeout_s,
        },
        "content_types": list(CONTENT_TYPES),
    }
