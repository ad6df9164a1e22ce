"""Decodes JSON bodies to images: numbers as `pixels`, picture files in base64 as `image`."""

from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from fashion_mnist.errors import InputError
from fashion_mnist.serving.protocol.large_json import read_batch
from fashion_mnist.serving.protocol.picture_files import read_base64
from fashion_mnist.serving.protocol.pixel_arrays import json_type, to_images
from fashion_mnist.serving.protocol.requests import Images, Limits, PictureFiles
from fashion_mnist.spec import ModelSpec

SPARE: Final = 200_000
"""Slack above a limit that is still parsed, so that the error can name the fault."""
SEND: Final = 'send {"pixels": […]}, or {"image": "base64 of a picture file"}'
SHORT: Final = 16
"""No picture fits into a text that ends within this many bytes."""


def may_hold_pictures(body: bytes) -> bool:
    """Return whether JSON holds texts, besides the name of a first field."""
    return body.find(b'"', SHORT) >= 0


def read_json(body: bytes, spec: ModelSpec, limits: Limits) -> Images | PictureFiles:
    """Read `{"pixels": …}`, `{"image": …}`, or the list alone."""
    batch = read_batch(body, spec, limits.images)
    if batch is not None:
        return batch
    content = _parse(body, spec, limits)
    field = _find_field(content)
    values = content[field] if isinstance(content, dict) else content
    if field == "image":
        return read_base64(values, limits)
    return _read_values(values, body, spec, limits)


def read_pixels(text: bytes, spec: ModelSpec, limits: Limits) -> Images:
    """Read the JSON of `pixels` alone: a flat or shaped image, or a batch of either."""
    batch = read_batch(text, spec, limits.images)
    return _read_values(_parse(text, spec, limits), text, spec, limits) if batch is None else batch


def _read_values(values: Any, body: bytes, spec: ModelSpec, limits: Limits) -> Images:
    if isinstance(values, list) and len(values) == spec.pixel_count:
        flat = _flat_image(values, body)
        if flat is not None:
            return Images(flat.reshape(1, *spec.shape), single=True)
    return to_images(values, spec, limits.images)


def _find_field(content: Any) -> str:
    """Return which field a body sends, `pixels` or `image`; a list alone is either, by what it holds."""
    if isinstance(content, list):
        return _meant(content)
    if not isinstance(content, dict) or not content:
        raise InputError("missing_pixels", f"the JSON is {json_type(content)} without `pixels`; {SEND}")
    field = "pixels" if "pixels" in content else "image"
    if field not in content:
        # clients of other servers send more beside the values, as TF Serving's `signature_name`
        items = list(content.items())
        name, value = next((item for item in items if isinstance(item[1], list | dict)), items[0])
        raise InputError("missing_pixels", f"the JSON has {name[:40]!r}, not `{_meant(value)}`; {SEND}")
    if len(content) > 1:
        other = next(name for name in content if name != field)
        raise InputError("unknown_field", f"{other[:40]!r} beside `{field}`; send only `{field}`")
    return field


def _meant(value: Any) -> str:
    """Return the field for a value: `image` for text, however deep, else `pixels`."""
    while isinstance(value, list | dict) and value:
        value = next(iter(value.values() if isinstance(value, dict) else value))
    return "image" if isinstance(value, str) else "pixels"


def _parse(body: bytes, spec: ModelSpec, limits: Limits) -> Any:
    _check_marks(body, spec, limits)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if "depth limit" in str(error):
            raise InputError(
                "too_deep", "the JSON is nested too deeply; send an image as a list of numbers or rows"
            ) from error
        raise InputError("broken_json", f"the body is not JSON: {error}; {SEND}") from error


def _check_marks(body: bytes, spec: ModelSpec, limits: Limits) -> None:
    """Reject JSON with more values, lists, objects or texts than the images of a request can have.

    Parsing takes memory up to 30 times the size of the body and blocks all other requests, so the marks are
    counted first: n images have a comma between any two pixels, a bracket for each image, row and, at most,
    pixel, and two quotes if they are in base64.
    """
    if len(body) <= SPARE:
        return
    # one character beyond Latin-1 makes Python keep a text of 32 MB in 128 MB
    if not body.isascii() or body.count(b"\\u") > body.count(b"\\u00"):
        raise InputError(
            "broken_picture",
            f"the JSON has other characters than ASCII, base64 and numbers have none; {SEND}",
        )
    values = body.count(b",") + 1
    if values > limits.images * spec.pixel_count + SPARE:
        raise InputError(
            "too_many_images",
            f"the JSON has {values} values, at most {limits.images} images of {spec.pixel_count} "
            "are accepted; send several requests",
        )
    if values > 2 * spec.pixel_count + SPARE:  # and not the batch that `read_batch` reads
        raise InputError("wrong_shape", f"the JSON has {values} values, but not as a list of images; {SEND}")
    images = values // spec.pixel_count + 1
    lists = body.count(b"[") - images * (2 + spec.height + spec.height * spec.width)
    texts = body.count(b"{") + body.count(b'"') - 2 * limits.images
    if max(lists, texts) > SPARE:
        raise InputError(
            "wrong_shape",
            f"the JSON has {max(lists, texts)} more brackets or quotes than {values} values need; "
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
        pixels = bytes(values)
    except (TypeError, ValueError):
        return None
    # nothing is left of an image of 0 and 1 alone, which to_images judges
    return np.frombuffer(pixels, np.uint8) if pixels.lstrip(b"\0\1") else None
