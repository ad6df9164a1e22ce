"""The head of a request to /predict: media type, query parameters, limits."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

import numpy as np
from numpy.typing import NDArray

from fashion_mnist.errors import InputError
from fashion_mnist.spec import ModelSpec

PICTURE_TYPES: Final = (
    "image/png",
    "image/jpeg",
    "image/jpg",
    "image/webp",
    "image/bmp",
    "image/gif",
    "application/octet-stream",
)
JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"
MULTIPART: Final = "multipart/form-data"
NPY: Final = "application/x-npy"
CONTENT_TYPES: Final = (JSON, *PICTURE_TYPES, MULTIPART, FORM, NPY)
MAX_PARAMETERS: Final = 16


@dataclass(frozen=True)
class Limits:
    """Limits on one request. pixels: of one picture."""

    body_bytes: int
    images: int
    pixels: int


@dataclass(frozen=True)
class Options:
    """Options from a request's query; each field is a row of PARAMETERS.

    top: number of most probable classes to return, None for all.
    """

    top: int | None = None


@dataclass(frozen=True)
class PredictRequest:
    """One decoded request. images: uint8 (n, H, W[, 3]). single: respond with one object, not a list."""

    images: NDArray[np.uint8]
    single: bool
    options: Options = Options()


class Parameter(NamedTuple):
    """A query parameter of /predict.

    read: returns the value, or None if it is invalid. expected: for the error. schema: for OpenAPI.
    """

    description: str
    read: Callable[[str, ModelSpec], Any]
    expected: Callable[[ModelSpec], str]
    schema: Callable[[ModelSpec], dict[str, Any]]


def _read_top(value: str, spec: ModelSpec) -> int | None:
    is_number = value.isascii() and value.isdigit() and len(value) < 10
    return int(value) if is_number and 1 <= int(value) <= len(spec.classes) else None


PARAMETERS: Final = {
    "top": Parameter(
        "number of most probable classes to keep in `probabilities`",
        _read_top,
        lambda spec: f"the number of classes to return, 1..{len(spec.classes)}",
        lambda spec: {"type": "integer", "minimum": 1, "maximum": len(spec.classes)},
    ),
}
"""Every query parameter; parsing, errors and the OpenAPI document are derived from this table."""


def read_head(headers: dict[bytes, bytes], query: bytes, spec: ModelSpec) -> tuple[str, Options]:
    """Return the media type and options of a request. headers: names in lower case. Raises InputError."""
    options = read_options(query.decode("latin-1"), spec) if query else Options()
    return media_type(headers.get(b"content-type", b"").decode("latin-1")), options


def read_options(query: str, spec: ModelSpec) -> Options:
    """Read the parameters of a URL's query.

    Raises InputError: unknown_parameter, bad_parameter (also when one is given twice).
    """
    known = ", ".join(f"`{name}`" for name in PARAMETERS)
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
    except ValueError as error:
        raise InputError(
            "unknown_parameter", f"the query has more than {MAX_PARAMETERS} parameters; accepted: {known}"
        ) from error
    values: dict[str, Any] = {}
    for name, text in pairs:
        if name not in PARAMETERS:
            raise InputError("unknown_parameter", f"unknown parameter {name[:40]!r}; accepted: {known}")
        parameter = PARAMETERS[name]
        value = None if name in values else parameter.read(text, spec)
        if value is None:
            came = "given twice" if name in values else repr(text[:40])
            raise InputError("bad_parameter", f"{name} is {came}, expected {parameter.expected(spec)}")
        values[name] = value
    return Options(**values)


def media_type(content_type: str) -> str:
    """Return the media type without its parameters. Raises InputError: unsupported_content_type."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind in CONTENT_TYPES:
        return kind
    came = f"content type {kind!r} is not accepted" if kind else "the content type is missing"
    if kind.startswith("image/") or kind == "application/pdf":
        raise InputError(
            "unsupported_picture_format",
            f"{kind} is not supported; convert it to PNG, JPEG, WebP, BMP or GIF",
        )
    raise InputError("unsupported_content_type", f"{came}; send one of {', '.join(CONTENT_TYPES)}")
