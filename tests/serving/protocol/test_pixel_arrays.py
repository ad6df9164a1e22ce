"""Numbers converted to images: what is accepted, what is refused and why."""

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fashion_mnist.errors import InputError
from fashion_mnist.serving.protocol.pixel_arrays import to_images
from fashion_mnist.spec import ModelSpec

FLAT = [0] * 784
ROWS = [[0] * 28] * 28


SINGLE = ((784,), (28, 28), (28, 28, 1))
BATCHES = ((1, 784), (1, 28, 28), (3, 784), (3, 28, 28), (28, 784))
WITH_CHANNEL = ((1, 28, 28, 1), (3, 28, 28, 1), (28, 28, 28, 1), (1, 1, 28, 28), (3, 1, 28, 28))


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.float16, np.float32, np.uint64, list])
@pytest.mark.parametrize("shape", [*SINGLE, *BATCHES, *WITH_CHANNEL])
def test_every_accepted_shape_gives_the_same_pixels(
    spec: ModelSpec, test_images: NDArray[np.uint8], shape: tuple[int, ...], kind: type
) -> None:
    count = 1 if shape in SINGLE else shape[0]
    values = test_images[:count].reshape(shape)
    images, single, _ = to_images(values.tolist() if kind is list else values.astype(kind), spec)
    assert images.dtype == np.uint8
    assert np.array_equal(images, test_images[:count])
    assert single == (shape in SINGLE)


def test_integral_floats_and_colour_images_are_accepted(spec: ModelSpec) -> None:
    assert to_images([0.0, 255.0] * 392, spec)[0].max() == 255
    small = ModelSpec(("a", "b"), 8, 8, 3)
    for shape, single in (((192,), True), ((8, 8, 3), True), ((2, 192), False), ((2, 8, 8, 3), False)):
        images, was_single, _ = to_images(np.full(shape, 7).tolist(), small)
        assert (images.shape[1:], was_single) == ((8, 8, 3), single)
    with pytest.raises(InputError, match="expected 192 or 8 x 8 x 3"):
        to_images([[0] * 8] * 8, small)


def test_blank_images_are_accepted(spec: ModelSpec) -> None:
    for values in (FLAT, ROWS, [FLAT] * 2, np.zeros((28, 28), np.uint8), np.zeros((2, 784), np.float32)):
        assert not to_images(values, spec)[0].any()


REFUSED: dict[str, tuple[Any, str, str, int | None]] = {
    "boolean": ([True, *FLAT[1:]], "wrong_pixel_type", "a boolean", None),
    "string": (["7", *FLAT[1:]], "wrong_pixel_type", "a string", None),
    "null": ([None, *FLAT[1:]], "wrong_pixel_type", "null", None),
    "object": ([{}, *FLAT[1:]], "wrong_pixel_type", "an object", None),
    "null in a row of one image": ([*ROWS[1:], [None] * 28], "wrong_pixel_type", "null", None),
    "null in a batch": ([FLAT, FLAT, [None] * 784], "wrong_pixel_type", "null", 2),
    "783": (FLAT[1:], "wrong_pixel_count", "783 pixels, expected 784 or 28 x 28", None),
    "785": (
        [*FLAT, 0],
        "wrong_pixel_count",
        "785 pixels, expected 784 .* still hold its label",
        None,
    ),
    "785 at 1": ([FLAT, [*FLAT, 0]], "wrong_pixel_count", "785 pixels.* label", 1),
    "n x 785": (np.zeros((3, 785), np.uint8), "wrong_pixel_count", "785 pixels per image.* label", None),
    "another size": ([[0] * 32] * 32, "wrong_shape", "32 x 32 pixels.* only picture files are resized", None),
    "two channels": ([[[0, 0]] * 28] * 28, "wrong_shape", "28 x 2 pixels", 0),
    "783 at 2": ([FLAT, FLAT, FLAT[1:]], "wrong_pixel_count", "783 pixels", 2),
    "28 x 27": ([[0] * 27] * 28, "wrong_shape", "28 x 27 pixels, expected 784 or 28 x 28", None),
    "flat among rows": ([ROWS, FLAT], "wrong_shape", "an image is 784, the first one .* 28 x 28; send", 1),
    "rows among flat": ([FLAT, FLAT, ROWS], "wrong_shape", "28 x 28, the first one .* 784; send", 2),
    "a number among rows": ([*ROWS[1:], 7], "wrong_pixel_type", "a pixel is a number, expected a row", None),
    "a list among numbers": ([*FLAT[1:], []], "wrong_pixel_type", "a pixel is a list", None),
    "ragged rows": ([*ROWS[1:], [0] * 27], "wrong_shape", "differ in length", None),
    "ragged rows at 2": ([ROWS, ROWS, [*ROWS[1:], [0] * 27]], "wrong_shape", "differ in length", 2),
    "256": ([*FLAT[1:], 256], "pixel_out_of_range", "pixel 783 is 256, expected 0..255", None),
    "-1 at 2": ([FLAT, FLAT, [-1, *FLAT[1:]]], "pixel_out_of_range", "pixel 0 is -1", 2),
    "beyond floats": ([10**400, *FLAT[1:]], "pixel_out_of_range", "beyond 64 bits", None),
    "fraction": ([0.5, 255, *FLAT[2:]], "pixel_not_integer", "pixel 0 is 0.5", None),
    "binarised": ([0, 1, *FLAT[2:]], "pixels_scaled", "multiply by 255", None),
    "binarised at 2": ([FLAT, [9, 1, *FLAT[2:]], [0, 1, *FLAT[2:]]], "pixels_scaled", "0..1", 2),
    "binarised uint8": (np.eye(28, dtype=np.uint8), "pixels_scaled", "multiply by 255", None),
    "binarised uint8 at 1": (np.array([[0] * 784, [0, 1] * 392], np.uint8), "pixels_scaled", "0..1", 1),
    "scaled float32 at 1": (np.array([[0] * 784, [0.5] * 784], np.float32), "pixels_scaled", "0..1", 1),
    "fraction float32": (np.full((1, 784), 7.5, np.float32), "pixel_not_integer", "pixel 0 is 7.5", 0),
    "-1 int8": (np.full(784, -1, np.int8), "pixel_out_of_range", "pixel 0 is -1", None),
    "scaled": ([0.5, 1, *FLAT[2:]], "pixels_scaled", "multiply by 255", None),
    "nan": (np.full(784, np.nan), "pixel_out_of_range", "pixel 0 is nan", None),
    "inf": (np.full((2, 28, 28), np.inf), "pixel_out_of_range", "pixel 0 is inf", 0),
    "empty": ([], "empty_batch", "`pixels` is empty", None),
    "an empty item": ([[]], "wrong_shape", "1 x 0 pixels", None),
    "too deep": (json.loads("[" * 17 + "]" * 17), "too_deep", "more than 16 deep", None),
}


@pytest.mark.parametrize(("values", "code", "message", "index"), REFUSED.values(), ids=REFUSED.keys())
def test_wrong_numbers_are_refused_with_code_index_and_reason(
    spec: ModelSpec, values: Any, code: str, message: str, index: int | None
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        to_images(values, spec)
    assert (caught.value.code, caught.value.index) == (code, index)
