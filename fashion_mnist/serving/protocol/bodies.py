"""Decodes request bodies to images: JSON, forms, .npy files, pictures. Depends only on the given spec."""

import io
from typing import Any, Final
from urllib.parse import parse_qsl

import numpy as np
import orjson
from numpy.typing import NDArray

from fashion_mnist.errors import InputError
from fashion_mnist.imaging import decoder, pixels
from fashion_mnist.serving.protocol.pixel_arrays import to_images
from fashion_mnist.serving.protocol.requests import FORM, JSON, MULTIPART, NPY, PICTURE_TYPES, Limits
from fashion_mnist.spec import ModelSpec

QUICK_BYTES: Final = 8_192
"""Bodies up to this size decode in microseconds, in the event loop; larger ones are decoded in threads. A
small file can hold a large picture, so the same limit applies to the pixels of a picture."""
MAX_NPY_HEADER_BYTES: Final = 256
"""numpy.save writes 118. numpy parses the header as a Python literal; a long one would take a second."""
SPARE: Final = 200_000
"""Slack above a limit that is still parsed, so that the error can name the fault."""
LIST_ESCAPES: Final = ((b"%2C", b","), (b"%5B", b"["), (b"%5D", b"]"), (b"%20", b"+"))
"""Escapes of a JSON list's characters in a form; one form can hold millions of them."""
MAX_ESCAPES: Final = 10_000
"""Most other escapes in one form: decoding each takes 250 bytes of memory."""

Images = tuple[NDArray[np.uint8], bool]
"""Images uint8 (n, H, W[, 3]), and whether they are a single image rather than a batch of one."""


def is_quick(kind: str, body: bytes) -> bool:
    """Return whether a body decodes in microseconds."""
    if kind == MULTIPART or len(body) > QUICK_BYTES:
        return False
    return kind not in PICTURE_TYPES or decoder.count_pixels(body) <= QUICK_BYTES


def read_body(kind: str, body: bytes, spec: ModelSpec, limits: Limits) -> Images:
    """Decode a body that is not a multipart form. kind: from `media_type`. Raises InputError."""
    if kind == JSON:
        return read_json(body, spec, limits)
    if kind == NPY:
        return to_images(read_npy(body), spec, limits.images)
    if kind == FORM:
        return read_form(body, spec, limits)
    return pixels.read_picture(body, spec, limits.pixels)[np.newaxis], True


def read_json(body: bytes, spec: ModelSpec, limits: Limits) -> Images:
    """Read `{"pixels": […]}`: a flat or shaped image, or a batch of either."""
    _check_marks(body, spec, limits)
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if "depth limit" in str(error):
            raise InputError(
                "too_deep", "the JSON is nested too deeply; send an image as a list of numbers or rows"
            ) from error
        raise InputError("broken_json", f'the body is not JSON: {error}; send {{"pixels": […]}}') from error
    if not isinstance(content, dict) or "pixels" not in content:
        raise InputError("missing_pixels", 'the JSON has no `pixels`; send {"pixels": […]}')
    for name in content:
        if name != "pixels":
            raise InputError("unknown_field", f"unknown field {name[:40]!r}; send only `pixels`")
    values = content["pixels"]
    if isinstance(values, list) and len(values) == spec.pixel_count:
        flat = _flat_image(values, body)
        if flat is not None:
            return flat.reshape(1, *spec.shape), True
    return to_images(values, spec, limits.images)


def _check_marks(body: bytes, spec: ModelSpec, limits: Limits) -> None:
    """Reject JSON with more values, lists, objects or strings than the images of a request can have.

    Parsing takes memory up to 30 times the size of the body and blocks all other requests, so the marks are
    counted first: n images have a comma between any two pixels and a bracket for each image and row.
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
            "send an image as a list of numbers or a list of rows",
        )


def _flat_image(values: list[Any], body: bytes) -> NDArray[np.uint8] | None:
    """Convert a flat list of integers 0..255, ten times faster than to_images; None for anything else.

    bytes() accepts only integers 0..255, and booleans, which are integers to Python. A JSON boolean must be
    spelled out in the body, so searching for it finds every one.
    """
    if b"true" in body or b"false" in body:
        return None
    try:
        return np.frombuffer(bytes(values), np.uint8)
    except (TypeError, ValueError):
        return None


def read_form(body: bytes, spec: ModelSpec, limits: Limits) -> Images:
    """Read a form with the JSON list in its field `pixels`, as BentoML's client sends it."""
    if body.lstrip()[:1] in (b"{", b"["):
        raise InputError(
            "unsupported_content_type",
            f"the body is JSON but the content type is {FORM}; add the header 'Content-Type: {JSON}'",
        )
    for escape, sign in LIST_ESCAPES:
        body = body.replace(escape, sign).replace(escape.lower(), sign)
    if (escapes := body.count(b"%")) > MAX_ESCAPES:
        raise InputError(
            "broken_form",
            f"the form has {escapes} escapes besides brackets, commas and spaces, at most {MAX_ESCAPES} are "
            f"accepted; send the digits unescaped, or send {JSON}",
        )
    try:
        fields = dict(parse_qsl(body.decode("ascii"), strict_parsing=True, max_num_fields=16))
    except ValueError as error:
        raise InputError("broken_form", f"the form cannot be parsed: {error}") from error
    if "pixels" not in fields:
        raise InputError("missing_pixels", "the form has no field `pixels`; send the JSON list in it")
    return read_json(b'{"pixels": ' + fields["pixels"].encode() + b"}", spec, limits)


def read_npy(body: bytes) -> NDArray[np.uint8]:
    """Read an untrusted .npy file of uint8: no pickles, and no allocation sized by its header."""
    file = io.BytesIO(body)
    try:
        version = np.lib.format.read_magic(file)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = read_header(file, MAX_NPY_HEADER_BYTES)
    except Exception as error:  # numpy parses the header as a Python literal, which can raise nearly anything
        raise InputError("broken_npy", "the body is not a .npy file; send a file from numpy.save") from error
    if dtype != np.uint8:
        raise InputError("wrong_dtype", f"the array is {dtype}, expected uint8 with values 0..255")
    if len(shape) > 8 or not all(type(length) is int and length >= 0 for length in shape):
        raise InputError("broken_npy", "the .npy header has an invalid shape; send a file from numpy.save")
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
    except (ValueError, OverflowError) as error:  # (0, 10**23): no values, but a length beyond 64 bits
        raise InputError("broken_npy", f"the .npy header has an invalid shape: {error}") from error


def read_pictures(files: list[bytes], spec: ModelSpec, limits: Limits) -> Images:
    """Decode picture files. Raises InputError; of several files, with the index of the bad one."""
    images = np.empty((len(files), *spec.shape), np.uint8)
    for index, file in enumerate(files):
        try:
            images[index] = pixels.read_picture(file, spec, limits.pixels)
        except InputError as error:
            raise (error.at(index) if len(files) > 1 else error) from None
    return images, len(files) == 1
