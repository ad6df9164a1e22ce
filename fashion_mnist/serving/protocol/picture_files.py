"""Decodes picture files to images: those of a form, and those in base64 in JSON."""

import binascii
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from fashion_mnist.errors import InputError
from fashion_mnist.imaging import pixels
from fashion_mnist.serving.protocol.pixel_arrays import check_count, json_type
from fashion_mnist.serving.protocol.requests import Images, Limits
from fashion_mnist.spec import ModelSpec

URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")
EXPECTED: Final = "expected the base64 of a picture file, or a data URL"


def read_pictures(files: Sequence[Any], spec: ModelSpec, limits: Limits, *, single: bool) -> Images:
    """Decode picture files: bytes, or values of JSON, which must be base64.

    single: whether the one file is a picture rather than a batch of one. Raises InputError, for a batch with
    the index of the bad file.
    """
    images = np.empty((len(files), *spec.shape), np.uint8)
    for index, file in enumerate(files):
        try:
            data = file if isinstance(file, bytes) else _from_base64(file)
            images[index] = pixels.read_picture(data, spec, limits.pixels)
        except InputError as error:
            raise (error if single else error.at(index)) from None
    return images, single


def read_base64(value: Any, spec: ModelSpec, limits: Limits) -> Images:
    """Decode the value of `image` in JSON: the text of one picture, or a list of such texts."""
    single = not isinstance(value, list)
    files = [value] if single else value
    if not files:
        raise InputError("empty_batch", f"`image` is empty, {EXPECTED}")
    check_count(len(files), limits.images)
    return read_pictures(files, spec, limits, single=single)


def _from_base64(text: Any) -> bytes:
    """Decode base64, also without padding, with line breaks, URL-safe, or as a data URL."""
    if not isinstance(text, str):
        what = "numbers" if isinstance(text, list) else json_type(text)
        raise InputError("wrong_pixel_type", f"`image` holds {what}, {EXPECTED}; send numbers as `pixels`")
    if text[:5].lower() == "data:":
        head, _, text = text.partition(",")
        if not head.lower().endswith(";base64"):
            raise InputError("broken_picture", f"`image` is a data URL without base64, {EXPECTED}")
    if not text:
        raise InputError("broken_picture", f"`image` is empty, {EXPECTED}")
    try:
        data = text.encode("ascii").translate(URL_SAFE, b" \t\r\n").rstrip(b"=")
        return binascii.a2b_base64(data + b"=" * (-len(data) % 4), strict_mode=True)
    except ValueError as error:
        raise InputError("broken_picture", f"`image` is not base64, {EXPECTED}") from error
