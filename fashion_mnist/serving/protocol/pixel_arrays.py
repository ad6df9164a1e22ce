"""Converts the numbers of a request, nested lists or an array, to images."""

import math
from itertools import chain
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fashion_mnist.errors import InputError
from fashion_mnist.serving.protocol.requests import Images
from fashion_mnist.spec import ModelSpec

MAX_DEPTH: Final = 16
"""Deepest nesting of a JSON array: any image needs far less, and the stack allows far more."""


def to_images(values: Any, spec: ModelSpec, max_images: int | None = None) -> Images:
    """Check numbers and convert them to images of the model's shape.

    values: an array or nested lists of 0..255 in one of the `forms` of an image, or with a leading n.
    Numbers and lengths are checked before anything is converted. Raises InputError: wrong_pixel_type,
    wrong_pixel_count, wrong_shape, pixel_not_integer, pixels_scaled, pixel_out_of_range, empty_batch,
    too_deep, too_many_images; for a batch, with the index of the bad image.
    """
    if isinstance(values, np.ndarray):
        return _from_array(values, spec, max_images)
    if not isinstance(values, list):
        hint = "; send the base64 of a picture as `image`" if isinstance(values, str) else ""
        raise InputError("wrong_pixel_type", f"`pixels` is {json_type(values)}, {_wanted(spec)}{hint}")
    if not values:
        raise InputError("empty_batch", f"`pixels` is empty, {_wanted(spec)}")
    shape = _first_lengths(values)
    if not _is_batch(shape, spec):
        return Images(_read_image(values, shape, spec, None)[np.newaxis], single=True)
    check_count(len(values), max_images)
    images = np.empty((len(values), *spec.shape), np.uint8)
    for index, item in enumerate(values):
        images[index] = _read_image(item, shape[1:], spec, index)
    return Images(images, single=False)


def read_item(
    values: Any, form: tuple[int, ...] | None, spec: ModelSpec, index: int
) -> tuple[NDArray[np.uint8], tuple[int, ...]]:
    """Read one image of a batch from lists of numbers; return it, uint8 (H, W[, 3]), and its form.

    form: that of the first image, None for the first. Raises InputError, with the index.
    """
    if type(values) is list and len(values) == spec.pixel_count and form in (None, (spec.pixel_count,)):
        try:
            pixels = bytes(values)  # ten times faster; booleans, which pass too, are looked for
        except (TypeError, ValueError):
            pixels = b""
        if pixels.lstrip(b"\0\1") and not any(type(value) is bool for value in values):
            return np.frombuffer(pixels, np.uint8).reshape(spec.shape), (spec.pixel_count,)
    found = form or _first_lengths(values)
    return _read_image(values, found, spec, index), found


def forms(spec: ModelSpec) -> tuple[tuple[int, ...], ...]:
    """Return the shapes that an image may have; the last one, (1, H, W), only in a batch.

    A gray image may have an axis for its channel: the last axis with Keras, the first one with torch.
    """
    flat, shape = (spec.pixel_count,), spec.shape
    return (flat, shape, (*shape, 1), (1, *shape)) if spec.channels == 1 else (flat, shape)


def _from_array(array: NDArray[Any], spec: ModelSpec, max_images: int | None) -> Images:
    accepted = forms(spec)
    single = array.shape in accepted[:3]
    if not single and array.shape[1:] not in accepted:
        raise _wrong_shape(array.shape, spec, None)
    if len(array) == 0:
        raise InputError("empty_batch", f"the array is empty, {_wanted(spec)}")
    count = 1 if single else len(array)
    check_count(count, max_images)
    rows = array.reshape(count, spec.pixel_count)
    if rows.dtype == np.uint8 and 1 not in np.maximum.reduce(rows, axis=1).tolist():
        return Images(rows.reshape(-1, *spec.shape), single)
    images = np.empty((count, *spec.shape), np.uint8)
    for index, row in enumerate(rows):
        images[index] = _to_uint8(row, None if single else index).reshape(spec.shape)
    return Images(images, single)


def check_count(images: int, most: int | None) -> None:
    """Raise InputError, too_many_images, for more images than a request may hold."""
    if most is not None and images > most:
        raise InputError(
            "too_many_images",
            f"{images} images in one request, at most {most} are accepted; send several requests",
        )


def _first_lengths(values: Any) -> tuple[int, ...]:
    """Return the lengths of the first list at each depth: the shape, if it is regular; () for a number."""
    shape: tuple[int, ...] = ()
    while isinstance(values, list):
        if len(shape) == MAX_DEPTH:
            raise InputError(
                "too_deep",
                f"`pixels` is nested more than {MAX_DEPTH} deep; send an image as a list of numbers or rows",
            )
        shape = (*shape, len(values))
        values = values[0] if values else None
    return shape


def _is_batch(shape: tuple[int, ...], spec: ModelSpec) -> bool:
    """Return whether lists of this shape are several images, right or wrong.

    n x m numbers are n flat images or n rows of one image; a row is far shorter than an image.
    """
    if shape in forms(spec)[:3]:
        return False
    return len(shape) > len(spec.shape) or math.prod(shape[1:]) >= spec.pixel_count / 2


def _read_image(values: Any, shape: tuple[int, ...], spec: ModelSpec, index: int | None) -> NDArray[np.uint8]:
    """Read one image from lists of numbers, uint8 (H, W[, 3]).

    shape: that of the first image, required of the whole batch. index: position in the batch, for errors.
    """
    if not isinstance(values, list):
        raise InputError("wrong_shape", f"an image is {json_type(values)}, {_wanted(spec)}", index)
    found = _first_lengths(values)
    if found not in forms(spec):
        raise _wrong_shape(found, spec, index)
    if found != shape:
        raise InputError(
            "wrong_shape",
            f"an image is {_by(found)}, the first one is {_by(shape)}; send all images in the same form",
            index,
        )
    return _to_uint8(np.asarray(_flatten(values, shape, spec, index)), index).reshape(spec.shape)


def _flatten(values: list[Any], shape: tuple[int, ...], spec: ModelSpec, index: int | None) -> list[Any]:
    """Return the numbers of nested lists, level by level: calls for each list would take ten times as long.

    Raises InputError if a list is not as long as `shape` says, or a leaf is not a number.
    """
    for length in shape[1:]:
        _check_types(values, {list}, "a row", index)
        if set(map(len, values)) != {length}:
            raise InputError("wrong_shape", f"the rows of an image differ in length, {_wanted(spec)}", index)
        values = list(chain.from_iterable(values))
    _check_types(values, {int, float}, "a number 0..255", index)  # no booleans: numpy makes them 0 and 1
    return values


def _check_types(values: list[Any], wanted: set[type], name: str, index: int | None) -> None:
    if not set(map(type, values)) <= wanted:
        bad = next(value for value in values if type(value) not in wanted)
        raise InputError("wrong_pixel_type", f"a pixel is {json_type(bad)}, expected {name}", index)


def _wrong_shape(shape: tuple[int, ...], spec: ModelSpec, index: int | None) -> InputError:
    code, came = "wrong_shape", f"{_by(shape)} pixels" if shape else "a single number"
    if len(shape) == 1:
        code = "wrong_pixel_count"
    elif len(shape) == 2 and shape[1] >= spec.pixel_count / 2:  # n x 783: a batch of flat images
        code, came = "wrong_pixel_count", f"{shape[1]} pixels per image"
    label = code == "wrong_pixel_count" and shape[-1] == spec.pixel_count + 1
    hint = "does it still hold its label?" if label else "only picture files are resized"
    return InputError(code, f"{came}, {_wanted(spec)}; {hint}", index)


def _to_uint8(pixels: NDArray[Any], index: int | None) -> NDArray[np.uint8]:
    """Convert numbers (pixels,) to uint8. Raises InputError for the first one that is not in 0..255."""
    if pixels.dtype.kind != "O" and pixels.dtype.kind not in "iuf":
        raise InputError("wrong_pixel_type", f"the pixels are {pixels.dtype}, expected numbers 0..255", index)
    if pixels.dtype.kind == "O":
        raise InputError("pixel_out_of_range", "a pixel is beyond 64 bits, expected 0..255", index)
    outside = ~((pixels >= 0) & (pixels <= 255))  # NaN is outside too
    if outside.any():
        at = int(outside.argmax())
        raise InputError("pixel_out_of_range", f"pixel {at} is {pixels[at]:g}, expected 0..255", index)
    if 0 < pixels.max() <= 1:
        raise InputError(
            "pixels_scaled",
            "all pixels lie within 0..1, expected 0..255; multiply by 255 and round",
            index,
        )
    integral = pixels.astype(np.uint8)
    fraction = pixels != integral
    if fraction.any():
        at = int(fraction.argmax())
        raise InputError("pixel_not_integer", f"pixel {at} is {pixels[at]:g}, expected an integer", index)
    return integral


def _wanted(spec: ModelSpec) -> str:
    return f"expected {spec.pixel_count} or {_by(spec.shape)}, or a batch of either"


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def json_type(value: Any) -> str:
    """Return what a value of JSON is, for an error."""
    names = {
        bool: "a boolean",
        str: "a string",
        type(None): "null",
        dict: "an object",
        list: "a list",
        int: "a number",
        float: "a number",
    }
    return names.get(type(value), type(value).__name__)
