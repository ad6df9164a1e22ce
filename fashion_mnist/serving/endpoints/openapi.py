"""The OpenAPI description of the service; its examples are answers of the served model."""

import base64
import io
from typing import Any, Final

import numpy as np
import orjson
from PIL import Image

import fashion_mnist
from fashion_mnist.errors import HTTP_ERRORS
from fashion_mnist.inference.predictions import Predictions
from fashion_mnist.serving.config import ServeConfig
from fashion_mnist.serving.endpoints import schemas
from fashion_mnist.serving.endpoints.model_info import describe_model
from fashion_mnist.serving.models.served_model import ServedModel
from fashion_mnist.serving.protocol.requests import (
    FORM,
    JSON,
    MAX_TIMEOUT_MS,
    MULTIPART,
    NPY,
    PARAMETERS,
    PICTURE_TYPES,
    PredictRequest,
)

EXAMPLE_PX: Final = 32


def describe(served: ServedModel, config: ServeConfig) -> dict[str, Any]:
    """Return the document for /docs.json."""
    return {
        "openapi": "3.0.3",
        "servers": [{"url": "."}],  # relative to /docs.json: a proxy may add a prefix
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
            "/docs.json": {"get": _document()},
            "/livez": {"get": _probe("Alive", "the process is alive")},
            "/healthz": {"get": _probe("Alive, as /livez", "the process is alive")},
            "/readyz": {"get": _probe("Ready", "the model is loaded and warm", 503)},
            "/metrics": {"get": _metrics()},
        },
        "components": {
            "schemas": schemas.build(served.spec, config.max_images),
            "securitySchemes": _SECURITY_SCHEMES,
        },
        **({"security": [{"bearer": []}, {"basic": []}]} if config.api_keys_file is not None else {}),
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
        ]
        + [
            {
                "name": "X-Request-Timeout-Ms",
                "in": "header",
                "description": "milliseconds after which the caller needs no answer; a later one is a 503",
                "schema": {"type": "integer", "minimum": 1, "maximum": MAX_TIMEOUT_MS},
            }
        ],
        "requestBody": {"required": True, "content": _bodies(served)},
        "responses": {
            "200": {
                "description": "an object for one picture, a list `predictions` for a batch",
                "headers": _HEADERS,
                "content": {
                    JSON: {
                        "schema": {"oneOf": [schemas.ref("Prediction"), schemas.ref("Batch")]},
                        "examples": {
                            "one": {"summary": "one picture", "value": answer},
                            "batch": {"summary": "two pictures", "value": batch_answer},
                        },
                    }
                },
            },
            **_errors(400, 408, 415, 422, *_ANYWHERE, *_GUARDED),
        },
    }


def _bodies(served: ServedModel) -> dict[str, Any]:
    shown = _encode_example(served)
    npy = "a file from numpy.save, or numpy.savez with one array: numbers 0..255, one image or a batch"
    return {
        JSON: {
            "schema": schemas.ref("Images"),
            "examples": {
                "picture": {"summary": "one picture in base64", "value": {"image": shown}},
                "batch": {"summary": "two pictures", "value": {"image": [shown, shown]}},
            },
        },
        **{kind: {"schema": schemas.FILE} for kind in PICTURE_TYPES},
        MULTIPART: {"schema": schemas.ref("Files")},
        FORM: {"schema": schemas.ref("Form")},
        NPY: {"schema": {**schemas.FILE, "description": npy}},
    }


def _encode_example(served: ServedModel) -> str:
    """Return the example as base64 of a PNG, shrunk if it would fill pages."""
    picture = Image.fromarray(served.example[0])
    picture.thumbnail((EXAMPLE_PX, EXAMPLE_PX))
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def _model(served: ServedModel, config: ServeConfig) -> dict[str, Any]:
    return {
        "summary": "Describe the served model: tag, classes, shape, limits, metrics",
        "operationId": "model",
        "tags": ["model"],
        "responses": {
            "200": {
                "description": "the served model",
                "headers": _HEADERS,
                "content": {
                    JSON: {"schema": schemas.ref("Model"), "example": describe_model(served, config)}
                },
            },
            **_errors(*_ANYWHERE, *_GUARDED),
        },
    }


def _document() -> dict[str, Any]:
    return {
        "summary": "This document",
        "operationId": "document",
        "tags": ["operations"],
        "responses": {
            "200": {
                "description": "OpenAPI 3.0",
                "headers": _HEADERS,
                "content": {JSON: {"schema": {"type": "object"}}},
            },
            **_errors(*_ANYWHERE, *_GUARDED),
        },
    }


def _metrics() -> dict[str, Any]:
    return {
        "summary": "Metrics",
        "tags": ["operations"],
        "responses": {"200": _text("Prometheus metrics"), **_errors(*_ANYWHERE, *_GUARDED)},
    }


def _probe(summary: str, description: str, *errors: int) -> dict[str, Any]:
    return {
        "summary": summary,
        "tags": ["operations"],
        "security": [],  # open: an orchestrator has no key
        "responses": {"200": _text(description), **_errors(*_ANYWHERE, *errors)},
    }


def _text(description: str) -> dict[str, Any]:
    return {
        "description": description,
        "headers": _HEADERS,
        "content": {"text/plain": {"schema": {"type": "string"}}},
    }


def _errors(*statuses: int) -> dict[str, Any]:
    responses = {}
    for status in sorted(statuses):
        codes = {code: when for code, (s, when) in HTTP_ERRORS.items() if s == status}
        responses[str(status)] = {
            "description": "; ".join(f"`{code}`: {when}" for code, when in codes.items()),
            "headers": _HEADERS if status not in (429, 503) else {**_HEADERS, "Retry-After": _RETRY_AFTER},
            "content": {
                JSON: {
                    "schema": schemas.ref("Error"),
                    "examples": {
                        code: {"value": {"error": when, "code": code}} for code, when in codes.items()
                    },
                }
            },
        }
    return responses


_ANYWHERE: Final = (413, 431, 500)
"""Statuses of every route: limits on chunks and heads, and a failure of the service."""
_GUARDED: Final = (401, 403, 429, 503)
"""Statuses of every route that is not a probe: keys, rates and capacity."""
_HEADERS: Final = {
    "X-Request-ID": {"description": "the caller's, else a new one", "schema": {"type": "string"}}
}
_SECURITY_SCHEMES: Final = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "basic": {"type": "http", "scheme": "basic", "description": "user: the key's name; password: the key"},
}
_RETRY_AFTER: Final = {"description": "seconds to wait", "schema": {"type": "integer"}}
