"""The schemas of the OpenAPI document, in OpenAPI 3.0: those of requests, answers and errors."""

from typing import Any, Final

from fashion_mnist.errors import HTTP_ERRORS
from fashion_mnist.serving.protocol.bodies import MAX_FIELDS
from fashion_mnist.serving.protocol.pixel_arrays import forms
from fashion_mnist.spec import ModelSpec

Schema = dict[str, Any]

FILE: Final[Schema] = {"type": "string", "format": "binary"}
_TEXT: Final[Schema] = {"type": "string"}
_INTEGER: Final[Schema] = {"type": "integer"}
_NUMBER: Final[Schema] = {"type": "number"}
_FLAG: Final[Schema] = {"type": "boolean"}
_PROBABILITY: Final[Schema] = {"type": "number", "minimum": 0, "maximum": 1}


def build(spec: ModelSpec, max_images: int) -> dict[str, Schema]:
    """Return all schemas by name. max_images: limit on the images of a request."""
    return {
        "Images": _images(spec, max_images),
        "Files": {
            **_object({"image": _list(FILE, 1, max_images)}),
            "additionalProperties": _TEXT,
            "maxProperties": 1 + max_images,
            "description": "files, under this or any other name; fields that are not files are ignored",
        },
        "Form": {
            **_object({"pixels": _pixels_text(spec)}),
            "additionalProperties": _TEXT,
            "maxProperties": MAX_FIELDS,
            "description": "other fields are ignored",
        },
        "Prediction": _prediction(spec),
        "Batch": _object({"predictions": _list(ref("Prediction")), "model": _TEXT}),
        "Model": _model(),
        "Error": _object(
            {
                "error": {**_TEXT, "description": "what came, what is expected, what to do"},
                "code": {**_TEXT, "enum": list(HTTP_ERRORS)},
                "index": {**_INTEGER, "description": "position of the bad item in a batch"},
            },
            optional=("index",),
        ),
    }


def _images(spec: ModelSpec, max_images: int) -> Schema:
    shape = " x ".join(map(str, spec.shape))
    picture = {
        **_TEXT,
        "format": "byte",
        "minLength": 1,
        "description": "a picture file of any size in base64, or as a data URL",
    }
    images = [_image(form, spec) for form in forms(spec)]
    return {
        "type": "object",
        "description": "either `image` or `pixels`; the list alone is accepted too",
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": False,
        "properties": {
            "image": {
                "oneOf": [picture, _list(picture, 1, max_images)],
                "description": "one picture, or a batch",
            },
            "pixels": {
                # the last form of a gray image is one only within a batch
                "anyOf": [*images[:3], *(_list(image, 1, max_images) for image in images)],
                "description": f"{spec.pixel_count} integers 0..255, or {shape}, or a batch of either",
                "example": [0, 0, 13, 255],
            },
        },
    }


def _image(form: tuple[int, ...], spec: ModelSpec) -> Schema:
    """Return the schema of one image of numbers, nested in lists of the lengths `form`."""
    image: Schema = {**_INTEGER, "minimum": 0, "maximum": 255}
    black, binary = Schema(maximum=0), Schema(maximum=1)
    for length in reversed(form):
        image, black, binary = _list(image, length, length), {"items": black}, {"items": binary}
    # refused as `pixels_scaled`: nothing above 1, unless all is 0
    return {**image, "not": {**binary, "not": black}}


def _pixels_text(spec: ModelSpec) -> Schema:
    return {
        **_TEXT,
        "format": "json",
        "minLength": 2 * spec.pixel_count + 1,  # a digit and a comma or bracket for each pixel
        "description": "the list `pixels` as JSON text",
    }


def _prediction(spec: ModelSpec) -> Schema:
    return _object(
        {
            # no enumeration: generated clients would fail on the classes of another model
            "prediction": {**_TEXT, "description": "one of the model's classes", "example": spec.classes[0]},
            "class_id": {**_INTEGER, "minimum": 0},
            "confidence": _PROBABILITY,
            "probabilities": {
                "type": "object",
                "description": "in the order of the model's classes; sums to 1 without `top`",
                "additionalProperties": _PROBABILITY,
            },
            "prediction_set": {
                **_or_null(_list(_TEXT)),
                "description": "the classes that the picture may have, the most probable first",
            },
            "in_distribution": {
                **_or_null(_FLAG),
                "description": "whether ood_score is at most the model's threshold",
            },
            "ood_score": {**_or_null(_NUMBER), "description": "higher is more unusual"},
            "preparation": {
                **_TEXT,
                "description": "what was done to a picture before the network saw it; absent if nothing was",
                "example": "light background removed",
            },
            "prepared": {
                **_TEXT,
                "description": "with `include=prepared`: the image that the network saw, a PNG as a data URL",
            },
            "model": {**_TEXT, "description": "absent inside a batch"},
        },
        optional=("preparation", "prepared", "model"),
    )


def _model() -> Schema:
    shares = ("accuracy", "precision", "recall", "f1", "nll", "ece")
    metrics = {"n": _INTEGER, **dict.fromkeys(shares, _NUMBER)}
    limits = dict.fromkeys(("body_bytes", "images", "picture_pixels"), _INTEGER)
    return _object(
        {
            "model": {**_TEXT, "description": "tag, folder name or `bundled`"},
            "network": _TEXT,
            "dataset": _or_null(_TEXT),
            "created": _or_null(_TEXT),
            "classes": _list(_TEXT),
            "input_shape": {**_list(_INTEGER), "description": "height, width and, for colour, 3"},
            "preparation": {**_TEXT, "description": "of pictures; none: they are only resized"},
            "precision": _TEXT,
            "metrics": {
                **_or_null(_object(metrics, optional=tuple(metrics))),
                "description": "on test images",
            },
            "calibrated": _FLAG,
            "ood_threshold": _or_null(_NUMBER),
            "answers": _object(dict.fromkeys(("top", "prediction_set", "in_distribution"), _FLAG)),
            "limits": _object({**limits, "body_timeout_s": _NUMBER}),
            "content_types": _list(_TEXT),
        }
    )


def _object(properties: dict[str, Schema], optional: tuple[str, ...] = ()) -> Schema:
    required = [name for name in properties if name not in optional]
    schema = {"type": "object", "properties": properties}
    return {**schema, "required": required} if required else schema


def _list(items: Schema, at_least: int | None = None, at_most: int | None = None) -> Schema:
    schema: Schema = {"type": "array", "items": items}
    return schema if at_least is None else {**schema, "minItems": at_least, "maxItems": at_most}


def _or_null(schema: Schema) -> Schema:
    return {**schema, "nullable": True}


def ref(name: str) -> dict[str, str]:
    """Return a reference to a schema of `build`."""
    return {"$ref": f"#/components/schemas/{name}"}
