"""The head of a request to /predict: media type, query parameters, limits."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

import numpy as np
from numpy.typing import NDArray

from fashion_mnist.errors import InputError
from fashion_mnist.inference.conformal import COVERAGES
from fashion_mnist.spec import ModelSpec

PICTURE_TYPES: Final = (
    "image/png",
    "image/jpeg",
    "image/*",
    "application/octet-stream",
    "binary/octet-stream",
)
PICTURE: Final = "image/*"
"""The kind of every picture file: its format is read from its bytes, whatever type was announced."""
JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"
MULTIPART: Final = "multipart/form-data"
NPY: Final = "application/x-npy"
CONTENT_TYPES: Final = (JSON, *PICTURE_TYPES, MULTIPART, FORM, NPY)
MAX_PARAMETERS: Final = 16
TIMEOUT_HEADER: Final = b"x-request-timeout-ms"
MAX_TIMEOUT_MS: Final = 3_600_000
MAX_SHOWN: Final = 64
"""Most images in a request with `include=prepared`: each becomes a PNG in the answer."""


class Images(NamedTuple):
    """Decoded images, uint8 (n, H, W[, 3]). single: a single image rather than a batch of one.

    notes: for each picture file, what its preparation did, if anything; empty for numbers.
    """

    images: NDArray[np.uint8]
    single: bool
    notes: Sequence[str | None] = ()


class PictureFiles(NamedTuple):
    """Picture files of a request, not decoded yet. single: the one file is a picture, not a batch of one."""

    files: list[bytes]
    single: bool


@dataclass(frozen=True)
class Limits:
    """Limits on one request. pixels: of one picture."""

    body_bytes: int
    images: int
    pixels: int


@dataclass(frozen=True)
class Options:
    """Options from a request's query; each field is a row of PARAMETERS.

    top: number of most probable classes to return, None for all. coverage: of the prediction sets, one of
    COVERAGES. reject: refuse pictures unlike the training images. prepare: `none` to only resize pictures,
    None for the model's preparation. include: `prepared` to return what the network saw.
    """

    top: int | None = None
    coverage: str = COVERAGES[0]
    reject: bool = False
    prepare: str | None = None
    include: str | None = None

    def adapt(self, spec: ModelSpec) -> ModelSpec:
        """Return the spec by which pictures are decoded."""
        return spec if self.prepare is None else replace(spec, preparation="none")

    def check(self, images: int) -> None:
        """Raise InputError, too_many_images, if as many images cannot be shown as asked for."""
        if self.include is not None and images > MAX_SHOWN:
            raise InputError(
                "too_many_images",
                f"{images} images with `include`, at most {MAX_SHOWN} are accepted; send several requests",
            )


DEFAULTS: Final = Options()


@dataclass(frozen=True)
class PredictRequest:
    """One decoded request. images, single, notes: see Images; a single one is answered with an object."""

    images: NDArray[np.uint8]
    single: bool
    options: Options = DEFAULTS
    notes: Sequence[str | None] = ()


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
    "coverage": Parameter(
        "share of pictures like the training images whose `prediction_set` holds the right class",
        lambda value, spec: value if value in COVERAGES else None,
        lambda spec: " or ".join(COVERAGES),
        lambda spec: {"type": "string", "enum": list(COVERAGES), "default": COVERAGES[0]},
    ),
    "reject": Parameter(
        "answer 422, `out_of_distribution`, to a picture unlike the training images",
        lambda value, spec: {"true": True, "false": False}.get(value),
        lambda spec: "true or false",
        lambda spec: {"type": "boolean", "default": False},
    ),
    "prepare": Parameter(
        "`none`: only resize pictures and pad them with black, whatever preparation the model has",
        lambda value, spec: value if value == "none" else None,
        lambda spec: "none",
        lambda spec: {"type": "string", "enum": ["none"]},
    ),
    "include": Parameter(
        f"`prepared`: also return the image that the network saw; for at most {MAX_SHOWN} images",
        lambda value, spec: value if value == "prepared" else None,
        lambda spec: "prepared",
        lambda spec: {"type": "string", "enum": ["prepared"]},
    ),
}
"""Every query parameter; parsing, errors and the OpenAPI document are derived from this table."""


def read_head(headers: dict[bytes, bytes], query: bytes, spec: ModelSpec) -> tuple[str, Options]:
    """Return the kind of body and the options of a request.

    headers: names in lower case. The kind is one of JSON, PICTURE, MULTIPART, FORM and NPY, or empty if the
    content type is missing. Raises InputError.
    """
    options = read_options(query.decode("latin-1"), spec) if query else DEFAULTS
    encoding = headers.get(b"content-encoding", b"")
    if encoding and encoding.strip().lower() != b"identity":
        raise InputError(
            "unsupported_content_type",
            f"the body is compressed (Content-Encoding: {encoding[:40].decode('latin-1')}); "
            "send it uncompressed, without this header",
        )
    return _read_kind(headers.get(b"content-type", b"").decode("latin-1")), options


def read_deadline(headers: dict[bytes, bytes]) -> float | None:
    """Return the time.monotonic() at which the caller gives up, None if it does not say.

    Raises InputError: bad_parameter.
    """
    text = headers.get(TIMEOUT_HEADER)
    if text is None:
        return None
    if not text.isdigit() or len(text) > 9 or not 1 <= int(text) <= MAX_TIMEOUT_MS:
        came = text[:40].decode("latin-1")
        raise InputError(
            "bad_parameter",
            f"X-Request-Timeout-Ms is {came!r}, expected milliseconds, a whole number 1..{MAX_TIMEOUT_MS}",
        )
    return time.monotonic() + int(text) / 1000


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


def _read_kind(content_type: str) -> str:
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type.startswith("image/") or media_type in PICTURE_TYPES or media_type == "application/pdf":
        return PICTURE
    if media_type and media_type not in CONTENT_TYPES:
        raise unsupported_type(f"content type {media_type[:80]!r} is not accepted")
    return media_type


def unsupported_type(came: str) -> InputError:
    """Return the error for a content type that is not accepted, or none. came: what is wrong with it."""
    return InputError("unsupported_content_type", f"{came}; send one of {', '.join(CONTENT_TYPES)}")
