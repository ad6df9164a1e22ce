"""Decoding bodies and encoding predictions, called directly where HTTP would be too slow."""

import io
import json
import tracemalloc
from urllib.parse import quote, urlencode

import numpy as np
import orjson
import pytest
from numpy.typing import NDArray

from fashion_mnist.errors import InputError
from fashion_mnist.inference.predictions import Predictions, to_objects
from fashion_mnist.inference.predictor import Predictor
from fashion_mnist.serving.protocol import bodies, json_bodies, npy_files, requests
from fashion_mnist.serving.protocol.requests import Images, PredictRequest, read_options
from fashion_mnist.serving.protocol.responses import encode_predictions
from fashion_mnist.spec import ModelSpec

LIMITS = requests.Limits(body_bytes=1_000_000, images=100, pixels=1_000_000)
COLOR = ModelSpec(("a", "b"), 4, 6, 3)


def test_flat_integers_take_the_quick_conversion_and_give_the_same_image(
    spec: ModelSpec, test_images: NDArray[np.uint8]
) -> None:
    flat = test_images[0].reshape(-1).tolist()
    body = json.dumps({"pixels": flat}).encode()
    assert json_bodies._flat_image(flat, body) is not None
    read = json_bodies.read_json(body, spec, LIMITS)
    assert isinstance(read, Images)
    assert read.single
    assert np.array_equal(read.images[0], test_images[0])


@pytest.mark.parametrize("first", [True, False, None, "1", 1.5, -1, 256, [1]])
def test_the_quick_conversion_accepts_nothing_but_pixels(spec: ModelSpec, first: object) -> None:
    body = json.dumps({"pixels": [first] + [0] * 783}).encode()
    with pytest.raises(InputError):
        json_bodies.read_json(body, spec, LIMITS)


def test_colour_images_are_read_flat_shaped_and_batched() -> None:
    image = np.arange(72, dtype=np.uint8).reshape(4, 6, 3)
    for values, single in (
        (image.tolist(), True),
        (image.reshape(-1).tolist(), True),
        ([image.tolist()] * 2, False),
        ([image.reshape(-1).tolist()] * 2, False),
    ):
        read = json_bodies.read_json(orjson.dumps({"pixels": values}), COLOR, LIMITS)
        assert isinstance(read, Images)
        assert read.single is single
        assert np.array_equal(read.images[-1], image)


def test_a_header_that_announces_more_than_the_file_holds_allocates_nothing() -> None:
    file = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": (10**12, 784)}
    np.lib.format.write_array_header_1_0(file, header)
    with pytest.raises(InputError, match="784000000000000"):
        npy_files.read_array(file.getvalue(), LIMITS.body_bytes)


def test_returned_probabilities_sum_to_one_and_keep_their_order(
    bundled: Predictor, test_images: NDArray[np.uint8]
) -> None:
    predictions = bundled.predict(test_images)
    for answer in to_objects(predictions, bundled.spec.classes):
        values = list(answer["probabilities"].values())
        assert sum(values) == pytest.approx(1, abs=1e-7)
        assert answer["confidence"] == max(values) == values[answer["class_id"]]


def test_a_model_without_calibration_returns_null() -> None:
    predictions = Predictions(np.array([[0.25, 0.75]]), None, None)
    answer = orjson.loads(
        encode_predictions(predictions, PredictRequest(np.zeros((1, 4, 6, 3), np.uint8), True), COLOR, "m")
    )
    assert answer["in_distribution"] is None
    assert answer["ood_score"] is None
    assert answer["prediction"] == "b"


@pytest.mark.parametrize("shape", [(-28, -28), (0, 10**23, 28), (1,) * 100 + (784,), (True, 28, 28)])
def test_impossible_npy_shapes_are_refused(shape: tuple[int, ...]) -> None:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    with pytest.raises(InputError) as raised:
        npy_files.read_array(file.getvalue() + bytes(784), LIMITS.body_bytes)
    assert raised.value.code == "broken_npy"


def test_a_long_npy_header_is_not_parsed(spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    def parse(source: object, *args: object, **options: object) -> None:
        raise AssertionError("numpy parsed the header, which takes a second for nonsense")

    monkeypatch.setattr("ast.literal_eval", parse)
    monkeypatch.setattr("tokenize.generate_tokens", parse)
    header = b"\\'" * 4_000
    body = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with pytest.raises(InputError) as raised:
        npy_files.read_array(body, LIMITS.body_bytes)
    assert raised.value.code == "broken_npy"
    assert isinstance(raised.value.__cause__, ValueError)


def test_many_parameters_are_refused_before_they_are_split(spec: ModelSpec) -> None:
    with pytest.raises(InputError, match="more than 16 parameters"):
        read_options("&".join(["top=1"] * 17), spec)


@pytest.mark.parametrize(
    "top", ["٣", "1e1", "", "99999999999999999999", "+1", "0000000019", "1" + "0" * 5000]
)
def test_a_top_that_is_not_a_small_number_is_refused(spec: ModelSpec, top: str) -> None:
    with pytest.raises(InputError, match="top is"):
        read_options(f"top={quote(top)}", spec)


HOSTILE = {
    "a form of escapes": (requests.FORM, b"pixels=" + b"%5B" * 1_000_000, "wrong_shape"),
    "a form of rare escapes": (requests.FORM, b"pixels=" + b"%30" * 1_000_000, "broken_form"),
    "a form of non-ASCII characters": (
        requests.FORM,
        b"pixels=" + "é1".encode() * 1_000_000 + b"%30",
        "broken_form",
    ),
    "empty lists": (requests.JSON, b'{"pixels": [' + b"[]," * 1_000_000 + b"[]]}", "too_many_images"),
    "nested lists": (requests.JSON, b'{"pixels": [' + b"[[[]]]," * 200_000 + b"7]}", "too_many_images"),
    "numbers": (requests.JSON, b'{"pixels": [' + b"999," * 1_000_000 + b"7]}", "too_many_images"),
    "objects": (requests.JSON, b'{"pixels": [' + b'{"a":1},' * 200_000 + b"7]}", "wrong_shape"),
    "keys": (requests.JSON, b"{%s}" % b",".join(b'"%06d":1' % i for i in range(200_000)), "wrong_shape"),
}


@pytest.mark.parametrize(("kind", "body", "code"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_bodies_are_refused_before_they_take_memory(
    spec: ModelSpec, kind: str, body: bytes, code: str
) -> None:
    tracemalloc.start()
    with pytest.raises(InputError) as raised:
        bodies.read_body(kind, body, spec, LIMITS)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert raised.value.code == code
    assert peak < 4 * len(body)


def test_text_in_lists_of_json_is_bounded_like_numbers(spec: ModelSpec) -> None:
    body = b'{"image": [' + b'"",' * 200_000 + b'""]}'
    with pytest.raises(InputError, match="more brackets or quotes than"):
        json_bodies.read_json(body, spec, LIMITS)


def test_a_batch_over_the_limit_is_refused_before_it_is_converted(spec: ModelSpec) -> None:
    too_many = [["not a number"] * 784] * 101
    with pytest.raises(InputError, match="101 images in one request, at most 100 are accepted"):
        json_bodies.read_json(orjson.dumps({"pixels": too_many}), spec, LIMITS)


@pytest.mark.slow
def test_the_largest_allowed_batch_is_read_in_every_form(
    spec: ModelSpec, test_images: NDArray[np.uint8]
) -> None:
    most = requests.Limits(body_bytes=33_554_432, images=10_000, pixels=784)
    images = np.concatenate([test_images] * 10)
    for layout in (images, images.reshape(10_000, 784)):
        body = orjson.dumps({"pixels": layout.tolist()})
        assert len(body) < most.body_bytes
        assert np.array_equal(json_bodies.read_json(body, spec, most)[0], images)
    with_channel = images[:5_000, ..., np.newaxis]  # more brackets than in any other form
    body = orjson.dumps(with_channel.tolist())
    assert np.array_equal(json_bodies.read_json(body, spec, most)[0], images[:5_000])
    text = json.dumps(test_images.tolist())
    for form in (urlencode({"pixels": text}), urlencode({"pixels": text}, quote_via=quote).lower()):
        assert np.array_equal(bodies.read_form(form.encode(), spec, most)[0], test_images)
