"""HTTP requests to images. Knows nothing but the spec that it is given."""

import io
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl

import numpy as np
import orjson
from numpy.typing import NDArray

from fashion_mnist.errors import InputError
from fashion_mnist.imaging import pixels
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
MAX_NPY_HEADER_BYTES: Final = 256
"""numpy.save writes 118. Long nonsense would be parsed for a second."""
SPARE: Final = 200_000
"""So much too much of values or lists is parsed all the same, so that the error says what is wrong."""
LIST_ESCAPES: Final = ((b"%2C", b","), (b"%5B", b"["), (b"%5D", b"]"), (b"%20", b"+"))
"""What a form writes for the signs of a JSON list; there can be millions."""
MAX_ESCAPES: Final = 10_000
"""Others in one form: each takes 250 bytes to decode."""


@dataclass(frozen=True)
class Limits:
    """What one request may hold."""

    body_bytes: int
    images: int
    pixels: int


@dataclass(frozen=True)
class Item:
    """One request: images uint8 (n, H, W[, 3]), and what it asks for.

    single: answer with one object, not a list. top: only so many probabilities.
    """

    images: NDArray[np.uint8]
    single: bool
    top: int | None = None


def read_query(text: str, spec: ModelSpec) -> int | None:
    """The parameter `top`, or None, of a URL's query.

    Raises InputError: unknown_parameter, bad_parameter (also when it stands twice).
    """
    try:
        query = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
    except ValueError as error:
        raise InputError(
            "unknown_parameter", f"more than {MAX_PARAMETERS} parameters; known is `top`"
        ) from error
    for name, _ in query:
        if name != "top":
            raise InputError("unknown_parameter", f"unknown parameter {name[:40]!r}; known is `top`")
    if not query:
        return None
    value, most = query[0][1], len(spec.classes)
    if len(query) > 1 or not (
        value.isascii() and value.isdigit() and len(value) < 10 and 1 <= int(value) <= most
    ):
        came = f"{value[:40]!r}" if len(query) == 1 else f"given {len(query)} times"
        raise InputError("bad_parameter", f"top is {came}, expected the number of classes wanted, 1..{most}")
    return int(value)


def media_type(content_type: str | None) -> str:
    """The type without its parameters. Raises InputError: unsupported_content_type."""
    kind = (content_type or "").partition(";")[0].strip().lower()
    if kind in CONTENT_TYPES:
        return kind
    came = f"content type {kind!r} is not accepted" if kind else "the content type is missing"
    if kind.startswith("image/") or kind == "application/pdf":
        raise InputError(
            "unsupported_picture_format",
            f"{kind} is not decoded; convert it to PNG, JPEG, WebP, BMP or GIF",
        )
    raise InputError("unsupported_content_type", f"{came}; send one of {', '.join(CONTENT_TYPES)}")


def read_body(kind: str, body: bytes, spec: ModelSpec, limits: Limits) -> tuple[NDArray[np.uint8], bool]:
    """Images uint8 (n, H, W[, 3]) of a body that is no multipart form, and whether it is a single one.

    kind: from `media_type`. Raises InputError.
    """
    if kind == JSON:
        return read_json(body, spec, limits)
    if kind == NPY:
        return pixels.to_images(read_npy(body), spec, limits.images)
    if kind == FORM:
        return read_form(body, spec, limits)
    return pixels.read_picture(body, spec, limits.pixels)[np.newaxis], True


def read_json(body: bytes, spec: ModelSpec, limits: Limits) -> tuple[NDArray[np.uint8], bool]:
    """`{"pixels": […]}`: a flat or shaped image, or a batch of such."""
    _check_marks(body, spec, limits)
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if "depth limit" in str(error):
            raise InputError(
                "too_deep", "the JSON is nested too deep; an image is a list, or a list of rows"
            ) from error
        raise InputError("broken_json", f'the body is not JSON: {error}; send {{"pixels": […]}}') from error
    if not isinstance(content, dict) or "pixels" not in content:
        raise InputError("missing_pixels", 'the JSON has no `pixels`; send {"pixels": […]}')
    for name in content:
        if name != "pixels":
            raise InputError("unknown_field", f"unknown field {name[:40]!r}; known is `pixels`")
    values = content["pixels"]
    if isinstance(values, list) and len(values) == spec.pixel_count:
        flat = _flat_image(values, body)
        if flat is not None:
            return flat.reshape(1, *spec.shape), True
    return pixels.to_images(values, spec, limits.images)


def _check_marks(body: bytes, spec: ModelSpec, limits: Limits) -> None:
    """Refuse JSON of more values, lists, objects and strings than the images of a request can have.

    Parsing it would hold up all other requests, and takes up to 30 times its size. Of n images, there is
    a comma between any two pixels, and a bracket for each image and each row; whatever else is there.
    """
    if len(body) <= SPARE:
        return
    values = body.count(b",") + 1
    if values > limits.images * spec.pixel_count + SPARE:
        raise InputError(
            "too_many_images",
            f"the JSON has {values} values, at most {limits.images} images of {spec.pixel_count} "
            "are accepted; send several requests",
        )
    images = values // spec.pixel_count + 1
    most = SPARE + images * (1 + spec.pixel_count // spec.shape[-1] + spec.height)
    marks = sum(body.count(mark) for mark in (b"[", b"{", b'"'))
    if marks > most:
        raise InputError(
            "wrong_shape",
            f"the JSON has {marks} brackets and quotes for {values} values; "
            "an image is a list of numbers, or a list of rows",
        )


def _flat_image(values: list[Any], body: bytes) -> NDArray[np.uint8] | None:
    """The usual case, ten times as fast: a flat list of integers 0..255, or None if it is anything else.

    bytes() takes integers 0..255 and nothing else, but for booleans, which are integers to Python; a
    JSON boolean has to be spelled out in the body.
    """
    if b"true" in body or b"false" in body:
        return None
    try:
        return np.frombuffer(bytes(values), np.uint8)
    except (TypeError, ValueError):
        return None


def read_form(body: bytes, spec: ModelSpec, limits: Limits) -> tuple[NDArray[np.uint8], bool]:
    """A field `pixels` with the JSON, as BentoML's client sends it."""
    if body.lstrip()[:1] in (b"{", b"["):
        raise InputError(
            "unsupported_content_type",
            f"the body is JSON, the content type says {FORM}; add the header 'Content-Type: {JSON}'",
        )
    for escape, sign in LIST_ESCAPES:
        body = body.replace(escape, sign).replace(escape.lower(), sign)
    if (escapes := body.count(b"%")) > MAX_ESCAPES:
        raise InputError(
            "broken_form",
            f"the form has {escapes} escapes besides those of lists, at most {MAX_ESCAPES} are accepted; "
            f"send the digits as they are, or {JSON}",
        )
    try:
        fields = dict(parse_qsl(body.decode("ascii"), strict_parsing=True, max_num_fields=16))
    except ValueError as error:
        raise InputError("broken_form", f"the form cannot be parsed: {error}") from error
    if "pixels" not in fields:
        raise InputError("missing_pixels", "the form has no field `pixels`; it holds the JSON list")
    return read_json(b'{"pixels": ' + fields["pixels"].encode() + b"}", spec, limits)


def read_npy(body: bytes) -> NDArray[np.uint8]:
    """The array of a .npy file, uint8; pickled objects are refused, nothing is allocated on its word."""
    file = io.BytesIO(body)
    try:
        version = np.lib.format.read_magic(file)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = read_header(file, MAX_NPY_HEADER_BYTES)
    except Exception as error:  # numpy parses the header as a Python literal: nearly anything is raised
        raise InputError("broken_npy", "the body is no .npy file; send what numpy.save writes") from error
    if dtype != np.uint8:
        raise InputError("wrong_dtype", f"the array is {dtype}, expected uint8 with 0..255")
    if len(shape) > 8 or not all(type(length) is int and length >= 0 for length in shape):
        raise InputError("broken_npy", "the .npy header has no possible shape; send what numpy.save writes")
    start = file.tell()
    size = 1
    for length in shape:  # Python integers: no overflow
        size *= length
    if len(body) - start != size:
        raise InputError(
            "broken_npy",
            f"the .npy file holds {len(body) - start} values, its header says {size}; send the whole file",
        )
    values = np.frombuffer(body, np.uint8, offset=start)
    try:
        return values.reshape(shape, order="F" if fortran else "C")
    except (ValueError, OverflowError) as error:  # nothing times far too much
        raise InputError("broken_npy", f"the .npy header has no possible shape: {error}") from error


def read_pictures(files: list[bytes], spec: ModelSpec, limits: Limits) -> tuple[NDArray[np.uint8], bool]:
    """Images uint8 (n, H, W[, 3]) of picture files, and whether it is a single one."""
    images = np.empty((len(files), *spec.shape), np.uint8)
    for index, file in enumerate(files):
        try:
            images[index] = pixels.read_picture(file, spec, limits.pixels)
        except InputError as error:
            raise (error.at(index) if len(files) > 1 else error) from None
    return images, len(files) == 1
