"""The OpenAPI description of the service; its examples are answers of the served model."""

from typing import Any, Final

import numpy as np
import orjson

import fashion_mnist
from fashion_mnist.errors import HTTP_ERRORS
from fashion_mnist.inference.predictions import Predictions
from fashion_mnist.serving.config import ServeConfig
from fashion_mnist.serving.endpoints.model_info import describe_model
from fashion_mnist.serving.models.served_model import ServedModel
from fashion_mnist.serving.protocol.requests import (
    FORM,
    JSON,
    MULTIPART,
    NPY,
    PARAMETERS,
    PICTURE_TYPES,
    PredictRequest,
)
from fashion_mnist.spec import ModelSpec

REF: Final = "#/components/schemas/"


def describe(served: ServedModel, config: ServeConfig) -> dict[str, Any]:
    """Return the document for /docs.json."""
    return {
        "openapi": "3.0.3",
        "info": {
            "title": "fashion_mnist",
            "version": fashion_mnist.__version__,
            "description": (
                f"Classifies pictures into {len(served.spec.classes)} classes with `{served.name}`. "
                "Every error is one JSON object with a sentence and a code that never changes."
            ),
        },
        "paths": {
            "/predict": {"post": _predict(served, config)},
            "/model": {"get": _model(served, config)},
            "/livez": {"get": _probe("Alive", "the process is alive")},
            "/readyz": {"get": _probe("Ready", "the model is loaded and warm")},
            "/metrics": {"get": _probe("Metrics", "Prometheus metrics")},
        },
        "components": {"schemas": _schemas(served)},
    }


def _predict(served: ServedModel, config: ServeConfig) -> dict[str, Any]:
    one = served.example_prediction
    answer = orjson.loads(served.encode(one, PredictRequest(served.example, single=True)))
    two = PredictRequest(np.concatenate([served.example, served.example]), single=False)
    batch_answer = orjson.loads(served.encode(Predictions.join([one, one]), two))
    return {
        "summary": "Classify one picture or several",
        "operationId": "predict",
        "tags": ["predict"],
        "description": (
            f"At most {config.max_body_bytes} bytes, {config.max_images} images and {config.max_pixels} "
            "pixels per picture. A picture's format is read from its bytes, not from the header."
        ),
        "parameters": [
            {
                "name": name,
                "in": "query",
                "description": parameter.description,
                "schema": parameter.schema(served.spec),
            }
            for name, parameter in PARAMETERS.items()
        ],
        "requestBody": {"required": True, "content": _bodies(served)},
        "responses": {
            "200": {
                "description": "an object for one picture, a list `predictions` for a batch",
                "headers": _HEADERS,
                "content": {
                    JSON: {
                        "schema": {"oneOf": [_ref("Prediction"), _ref("Batch")]},
                        "examples": {
                            "one": {"summary": "one picture", "value": answer},
                            "batch": {"summary": "two pictures", "value": batch_answer},
                        },
                    }
                },
            },
            **_errors(400, 408, 413, 415, 422, 500, 503),
        },
    }


def _bodies(served: ServedModel) -> dict[str, Any]:
    flat = served.example.reshape(-1).tolist()
    rows = served.example[0].tolist()
    picture = {"schema": {"type": "string", "format": "binary"}}
    return {
        JSON: {
            "schema": _ref("Pixels"),
            "examples": {
                "flat": {"summary": "one image, flat", "value": {"pixels": flat}},
                "rows": {"summary": "one image, by rows", "value": {"pixels": rows}},
                "batch": {"summary": "two images", "value": {"pixels": [flat, flat]}},
            },
        },
        **dict.fromkeys(PICTURE_TYPES, picture),
        MULTIPART: {
            "schema": {
                "type": "object",
                "properties": {"image": {"type": "array", "items": {"type": "string", "format": "binary"}}},
            }
        },
        FORM: {
            "schema": {
                "type": "object",
                "required": ["pixels"],
                "properties": {"pixels": {"type": "string", "description": "`pixels` as JSON text"}},
            },
            "example": {"pixels": orjson.dumps(flat).decode()},
        },
        NPY: {
            "schema": {
                "type": "string",
                "format": "binary",
                "description": "a file written by numpy.save: uint8, one image or a batch, flat or shaped",
            }
        },
    }


def _model(served: ServedModel, config: ServeConfig) -> dict[str, Any]:
    return {
        "summary": "Describe the served model: tag, classes, shape, limits, metrics",
        "operationId": "model",
        "tags": ["model"],
        "responses": {
            "200": {
                "description": "the served model",
                "headers": _HEADERS,
                "content": {JSON: {"schema": {"type": "object"}, "example": describe_model(served, config)}},
            }
        },
    }


def _probe(summary: str, description: str) -> dict[str, Any]:
    return {
        "summary": summary,
        "tags": ["operations"],
        "responses": {"200": {"description": description}},
    }


def _errors(*statuses: int) -> dict[str, Any]:
    responses = {}
    for status in statuses:
        codes = {code: when for code, (s, when) in HTTP_ERRORS.items() if s == status}
        responses[str(status)] = {
            "description": "; ".join(f"`{code}`: {when}" for code, when in codes.items()),
            "headers": _HEADERS if status != 503 else {**_HEADERS, "Retry-After": _RETRY_AFTER},
            "content": {
                JSON: {
                    "schema": _ref("Error"),
                    "examples": {
                        code: {"value": {"error": when, "code": code}} for code, when in codes.items()
                    },
                }
            },
        }
    return responses


def _schemas(served: ServedModel) -> dict[str, Any]:
    spec = served.spec
    return {
        "Pixels": _pixels(spec),
        "Prediction": _prediction(spec),
        "Batch": {
            "type": "object",
            "required": ["predictions", "model"],
            "properties": {
                "predictions": {"type": "array", "items": _ref("Prediction")},
                "model": {"type": "string"},
            },
        },
        "Error": {
            "type": "object",
            "required": ["error", "code"],
            "properties": {
                "error": {"type": "string", "description": "what came, what is expected, what to do"},
                "code": {"type": "string", "enum": list(HTTP_ERRORS)},
                "index": {"type": "integer", "description": "position of the bad item in a batch"},
            },
        },
    }


def _pixels(spec: ModelSpec) -> dict[str, Any]:
    pixel = {"type": "integer", "minimum": 0, "maximum": 255}
    shape = " x ".join(map(str, spec.shape))
    return {
        "type": "object",
        "required": ["pixels"],
        "additionalProperties": False,
        "properties": {
            "pixels": {
                "type": "array",
                "description": f"{spec.pixel_count} integers 0..255, or {shape}, or a batch of either",
                "items": {"oneOf": [pixel, {"type": "array", "items": {}}]},
            }
        },
    }


def _prediction(spec: ModelSpec) -> dict[str, Any]:
    probability = {"type": "number", "minimum": 0, "maximum": 1}
    return {
        "type": "object",
        "required": ["prediction", "class_id", "confidence", "probabilities"],
        "properties": {
            "prediction": {"type": "string", "enum": list(spec.classes)},
            "class_id": {"type": "integer", "minimum": 0, "maximum": len(spec.classes) - 1},
            "confidence": probability,
            "probabilities": {
                "type": "object",
                "description": "in the order of the model's classes; sums to 1 without `top`",
                "additionalProperties": probability,
            },
            "in_distribution": {
                "type": "boolean",
                "nullable": True,
                "description": "whether ood_score is at most the model's threshold",
            },
            "ood_score": {"type": "number", "nullable": True, "description": "higher is more unusual"},
            "model": {"type": "string", "description": "absent inside a batch"},
        },
    }


_HEADERS: Final = {
    "X-Request-ID": {"description": "the caller's, else a new one", "schema": {"type": "string"}}
}
_RETRY_AFTER: Final = {"description": "seconds to wait", "schema": {"type": "integer"}}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": REF + name}
