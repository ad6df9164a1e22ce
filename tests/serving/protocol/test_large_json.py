"""Large batches of numbers in JSON: read image by image, the same as all at once, in little memory."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.paths import ROOT

from fashion_mnist.errors import InputError
from fashion_mnist.serving.protocol import json_bodies
from fashion_mnist.serving.protocol.large_json import MIN_BYTES, read_batch
from fashion_mnist.serving.protocol.requests import Limits
from fashion_mnist.spec import ModelSpec

SPEC = ModelSpec(tuple("abcdefghij"), 28, 28, 1)
LIMITS = Limits(33_554_432, 10_000, 40_000_000)


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (300, 28, 28), np.uint8)


def body(values: object, *, field: bool = True, indent: int | None = None) -> bytes:
    return json.dumps({"pixels": values} if field else values, indent=indent).encode()


@pytest.mark.parametrize("form", [(784,), (28, 28), (28, 28, 1), (1, 28, 28)], ids=str)
@pytest.mark.parametrize("field", [True, False], ids=["field", "list alone"])
def test_every_form_is_read(images: NDArray[np.uint8], form: tuple[int, ...], field: bool) -> None:
    values = images.reshape(-1, *form)
    for content in (values.tolist(), values.astype(float).tolist()):
        for indent in (None, 1):
            found = read_batch(body(content, field=field, indent=indent), SPEC, 10_000)
            assert found is not None
            assert np.array_equal(found[0], images)
            assert not found[1]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (256, "pixel_out_of_range"),
        (0.5, "pixel_not_integer"),
        (True, "wrong_pixel_type"),
        (None, "wrong_pixel_type"),
        ([1], "wrong_shape"),
    ],
)
def test_the_bad_image_is_named(images: NDArray[np.uint8], change: object, code: str) -> None:
    values: list[list[Any]] = images.reshape(-1, 784).tolist()
    values[217][5] = change
    with pytest.raises(InputError) as error:
        json_bodies.read_json(body(values), SPEC, LIMITS)
    assert error.value.index == 217
    assert error.value.code == code


def test_damage_and_missing_values_are_named(images: NDArray[np.uint8]) -> None:
    values = images.reshape(-1, 784).tolist()
    good = body(values)
    for at, damage, code in (
        (good.index(b"]", 100_000), b"x", "broken_json"),
        (good.index(b",", 100_000), b",,", "broken_json"),
    ):
        with pytest.raises(InputError) as error:
            json_bodies.read_json(good[:at] + damage + good[at:], SPEC, LIMITS)
        assert error.value.code == code
        assert error.value.index == good[:at].count(b"[") - 2
    values[3].pop()
    with pytest.raises(InputError) as error:
        json_bodies.read_json(body(values), SPEC, LIMITS)
    assert (error.value.code, error.value.index) == ("wrong_pixel_count", 3)


def test_limits_hold(images: NDArray[np.uint8]) -> None:
    with pytest.raises(InputError, match="300 images") as error:
        json_bodies.read_json(body(images.tolist()), SPEC, Limits(33_554_432, 299, 40_000_000))
    assert error.value.code == "too_many_images"
    assert read_batch(body(images[:20].tolist()), SPEC, 10) is None  # small: parsed at once
    assert len(body(images[:20].tolist())) < MIN_BYTES


HOSTILE = {
    "floats": b'{"pixels":[' + b",".join([b"[" + b",".join([b"1.0"] * 784) + b"]"] * 9900) + b"]}",
    "one list": b'{"pixels":[' + b",".join([b"0.5"] * 7_700_000) + b"]}",
    "one list in a list": b'{"pixels":[[' + b",".join([b"999"] * 7_700_000) + b"]]}",
    "with a text": b'{"pixels":[' + b",".join([b"0.5"] * 7_700_000) + b'],"x":"y"}',
    "text of wide characters": b'{"image":"' + "😀".encode() + b"A" * 33_000_000 + b'"}',
    "text of escaped characters": b'{"image":"\\ud83d\\ude00' + b"A" * 33_000_000 + b'"}',
    "no lists": b'{"pixels":[[1],' + b",".join([b"0.5"] * 7_700_000) + b"]}",
}
MEASURE = """
import pathlib, re, sys
from fashion_mnist.errors import InputError
from fashion_mnist.serving.protocol import json_bodies
from fashion_mnist.serving.protocol.requests import Limits
from fashion_mnist.spec import ModelSpec
def peak():  # not ru_maxrss, which starts at that of the parent process
    return int(re.search("VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1])
body = pathlib.Path(sys.argv[1]).read_bytes()
before = peak()
try:
    json_bodies.read_json(body, ModelSpec(tuple("abcdefghij"), 28, 28, 1), Limits(33_554_432, 10_000, 1))
except InputError as error:
    print(error.code, end=" ")
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from Linux's /proc")
@pytest.mark.parametrize("name", HOSTILE)
def test_no_body_takes_much_more_than_its_size(name: str, tmp_path: Path) -> None:
    file = tmp_path / "body"
    file.write_bytes(HOSTILE[name])
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, file], cwd=ROOT, capture_output=True, text=True, check=True
    )
    *_, kilobytes = done.stdout.split()
    assert int(kilobytes) < 100_000, done.stdout  # all at once, floats took 700 MB
