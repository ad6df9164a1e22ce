"""Converts the numbers of a request, nested lists or an array, to images."""

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fashion_mnist.errors import InputError
from fashion_mnist.spec import ModelSpec

MAX_DEPTH: Final = 16
"""Deepest nesting of a JSON array: any image needs far less, and the stack allows far more."""


def to_images(values: Any, spec: ModelSpec, max_images: int | None = None) -> tuple[NDArray[np.uint8], bool]:
    """Check numbers and convert them to images of the model's shape.

    values: an array or nested lists of 0..255 with the shape (pixels,), the model's (H, W[, 3]), or
    either with a leading n. Returns images uint8 (n, H, W[, 3]) and whether it was a single image.
    Numbers and lengths are checked before anything is converted. Raises InputError: wrong_pixel_type,
    wrong_pixel_count, wrong_shape, pixel_not_integer, pixels_scaled, pixel_out_of_range, empty_batch,
    too_deep, too_many_images; for a batch, with the index of the bad image.
    """
    if isinstance(values, np.ndarray):
        return _from_array(values, spec, max_images)
    if not isinstance(values, list):
        raise InputError("wrong_pixel_type", f"`pixels` is {_json_type(values)}, {_wanted(spec)}")
    if not values:
        raise InputError("empty_batch", f"`pixels` is empty, {_wanted(spec)}")
    shape = _first_lengths(values)
    if not _is_batch(shape, spec):
        return _read_image(values, shape, spec, None)[np.newaxis], True
    _check_count(len(values), max_images)
    images = np.empty((len(values), *spec.shape), np.uint8)
    for index, item in enumerate(values):
        images[index] = _read_image(item, shape[1:], spec, index)
    return images, False


def _from_array(
    array: NDArray[Any], spec: ModelSpec, max_images: int | None
) -> tuple[NDArray[np.uint8], bool]:
    accepted = ((spec.pixel_count,), spec.shape)
    single = array.shape in accepted
    if not single and array.shape[1:] not in accepted:
        raise _wrong_shape(array.shape, spec, None)
    if len(array) == 0:
        raise InputError("empty_batch", f"the array is empty, {_wanted(spec)}")
    count = 1 if single else len(array)
    _check_count(count, max_images)
    rows = array.reshape(count, spec.pixel_count)
    if rows.dtype != np.uint8:
        rows = np.stack([_to_uint8(row, None if single else i) for i, row in enumerate(rows)])
    return rows.reshape(-1, *spec.shape), single


def _check_count(images: int, most: int | None) -> None:
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
    """Return whether lists of this shape are several images.

    n x m numbers are n flat images or n rows of one image; a row is far shorter than an image.
    """
    if len(shape) == len(spec.shape):
        return math.prod(shape[1:]) >= spec.pixel_count / 2
    return len(shape) > 1


def _read_image(values: Any, shape: tuple[int, ...], spec: ModelSpec, index: int | None) -> NDArray[np.uint8]:
    """Read one image from lists of numbers, uint8 (H, W[, 3]).

    shape: that of the first image, required of the whole batch. index: position in the batch, for errors.
    """
    if not isinstance(values, list):
        raise InputError("wrong_shape", f"an image is {_json_type(values)}, {_wanted(spec)}", index)
    accepted = ((spec.pixel_count,), spec.shape)
    found = _first_lengths(values)
    if found not in accepted:
        raise _wrong_shape(found, spec, index)
    if found != shape:
        raise InputError(
            "wrong_shape",
            f"an image is {_by(found)}, the first one is {_by(shape)}; send all images in the same form",
            index,
        )
    _check_numbers(values, shape, spec, index)
    return _to_uint8(np.asarray(values).reshape(-1), index).reshape(spec.shape)


def _check_numbers(values: list[Any], shape: tuple[int, ...], spec: ModelSpec, index: int | None) -> None:
    """Raise InputError for the first list not as long as `shape` says, or leaf that is not a number.

    Booleans are rejected here, because numpy would convert them to 0 and 1.
    """
    if len(values) != shape[0]:
        raise InputError("wrong_shape", f"the rows of an image differ in length, {_wanted(spec)}", index)
    of_rows = len(shape) > 1
    kinds = {list} if of_rows else {int, float}
    if not set(map(type, values)) <= kinds:
        bad = next(value for value in values if type(value) not in kinds)
        wanted = "a row" if of_rows else "a number 0..255"
        raise InputError("wrong_pixel_type", f"a pixel is {_json_type(bad)}, expected {wanted}", index)
    if of_rows:
        for row in values:
            _check_numbers(row, shape[1:], spec, index)


def _wrong_shape(shape: tuple[int, ...], spec: ModelSpec, index: int | None) -> InputError:
    if len(shape) == 1:
        return InputError("wrong_pixel_count", f"{shape[0]} pixels, {_wanted(spec)}", index)
    came = f"{_by(shape)} pixels" if shape else "a single number"
    code = "wrong_shape"
    if len(shape) == 2 and shape[1] >= spec.pixel_count / 2:  # n x 783: a batch of flat images
        code, came = "wrong_pixel_count", f"{shape[1]} pixels per image"
    return InputError(code, f"{came}, {_wanted(spec)}", index)


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
    integral = pixels.astype(np.uint8)
    if pixels.dtype.kind == "f" and (fraction := pixels != integral).any():
        if pixels.max() <= 1:
            raise InputError(
                "pixels_scaled",
                "all pixels lie within 0..1, some are fractions; expected 0..255: multiply by 255 and round",
                index,
            )
        at = int(fraction.argmax())
        raise InputError("pixel_not_integer", f"pixel {at} is {pixels[at]:g}, expected an integer", index)
    return integral


def _wanted(spec: ModelSpec) -> str:
    return f"expected {spec.pixel_count} or {_by(spec.shape)}, or a batch of either"


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _json_type(value: Any) -> str:
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
