"""Picture files in a request: what decoding them costs, and their images; base64 in JSON."""

import binascii
from typing import Any, Final

import numpy as np

from fashion_mnist.errors import InputError
from fashion_mnist.imaging import cost, pixels
from fashion_mnist.imaging.cost import Cost
from fashion_mnist.imaging.decoder import Check
from fashion_mnist.serving.protocol.pixel_arrays import check_count, json_type
from fashion_mnist.serving.protocol.requests import Images, Limits, PictureFiles
from fashion_mnist.spec import ModelSpec

URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")
EXPECTED: Final = "expected the base64 of a picture file, or a data URL"


def read_pictures(
    pictures: PictureFiles, spec: ModelSpec, limits: Limits, check: Check | None = None
) -> Images:
    """Decode picture files one after the other.

    check: see `pixels.read_prepared`. Raises InputError, for a batch with the index of the bad file.
    """
    files, single = pictures
    images = np.empty((len(files), *spec.shape), np.uint8)
    notes: list[str | None] = []
    for index, file in enumerate(files):
        try:
            images[index], note = pixels.read_prepared(file, spec, limits.pixels, check)
            notes.append(note)
        except InputError as error:
            raise (error if single else error.at(index)) from None
    return Images(images, single, notes)


def estimate(pictures: PictureFiles, spec: ModelSpec, limits: Limits) -> Cost:
    """Return what decoding the files costs, by their headers: all of the time, the largest peak of memory.

    Raises InputError, for a batch with the index of the bad file.
    """
    files, single = pictures
    cpu_s, peak_bytes = 0.0, 0
    for index, file in enumerate(files):
        try:
            found = cost.estimate(file, spec, limits.pixels)
        except InputError as error:
            raise (error if single else error.at(index)) from None
        cpu_s += found.cpu_s
        peak_bytes = max(peak_bytes, found.peak_bytes)
    return Cost(cpu_s, peak_bytes)


def read_base64(value: Any, limits: Limits) -> PictureFiles:
    """Decode the base64 in the value of `image` in JSON: the text of one picture, or a list of such texts.

    Raises InputError, for a list with the index of the bad text.
    """
    single = not isinstance(value, list)
    texts = [value] if single else value
    if not texts:
        raise InputError("empty_batch", f"`image` is empty, {EXPECTED}")
    check_count(len(texts), limits.images)
    files = []
    for index, text in enumerate(texts):
        try:
            files.append(_from_base64(text))
        except InputError as error:
            raise (error if single else error.at(index)) from None
    return PictureFiles(files, single)


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
