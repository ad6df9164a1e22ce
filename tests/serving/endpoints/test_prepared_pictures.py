"""Pictures that are prepared for the model: what answers say and show of it, on both paths and in forms."""

import base64
import io
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from support.commands import run
from support.paths import BOOT
from support.pictures import encode
from support.product_photos import enlarged
from support.requests import assert_error, npy, post

REMOVED = "light background removed"


@pytest.fixture
def product(test_images: NDArray[np.uint8]) -> bytes:
    """A boot on white, too large for the fast path."""
    return encode(Image.open(io.BytesIO(enlarged(np.asarray(Image.open(BOOT)), "white"))).resize((448, 448)))


@pytest.fixture
def small_product() -> bytes:
    return encode(Image.eval(Image.open(BOOT).resize((56, 56)), lambda level: 255 - level))


def test_answers_say_what_was_done(client: httpx.Client, product: bytes, small_product: bytes) -> None:
    assert len(small_product) < 8192 < 448 * 448
    for body in (product, small_product):
        answer = post(client, "image/png", body).json()
        assert (answer["prediction"], answer["preparation"]) == ("Ankle boot", REMOVED)
        answer = post(client, "image/png", body, "?prepare=none").json()
        assert "preparation" not in answer
        assert answer["prediction"] != "Ankle boot"
    for kind, body in (("image/png", BOOT.read_bytes()), ("application/x-npy", npy(np.zeros(784, np.uint8)))):
        assert not {"preparation", "prepared"} & set(post(client, kind, body).json())


def test_the_image_that_the_network_saw_is_shown(client: httpx.Client, product: bytes) -> None:
    text = base64.b64encode(product).decode()
    for shown in (
        post(client, "image/png", product, "?include=prepared").json()["prepared"],
        client.post("/predict?include=prepared", json={"image": text}).json()["prepared"],
    ):
        head, _, content = shown.partition(",")
        assert head == "data:image/png;base64"
        image = Image.open(io.BytesIO(base64.b64decode(content)))
        assert (image.size, image.mode) == ((28, 28), "L")
        again = post(client, "image/png", encode(image)).json()
        assert again["prediction"] == "Ankle boot"
    boot = post(client, "image/png", BOOT.read_bytes(), "?include=prepared").json()["prepared"]
    passed = np.asarray(Image.open(io.BytesIO(base64.b64decode(boot.partition(",")[2]))))
    assert np.array_equal(passed, np.asarray(Image.open(BOOT)))


def test_forms_say_it_for_each_picture(client: httpx.Client, product: bytes) -> None:
    files = [("image", ("a.png", BOOT.read_bytes())), ("image", ("b.png", product))]
    answers = client.post("/predict?include=prepared", files=files).json()["predictions"]
    assert [answer.get("preparation") for answer in answers] == [None, REMOVED]
    assert all(answer["prepared"].startswith("data:image/png;base64,") for answer in answers)


def test_as_many_images_as_can_be_shown(client: httpx.Client) -> None:
    for count in (64, 65):
        body = npy(np.zeros((count, 28, 28), np.uint8))
        answer = post(client, "application/x-npy", body, "?include=prepared")
        if count == 64:
            assert len(answer.json()["predictions"]) == 64
        else:
            assert_error(answer, 413, "too_many_images")


@pytest.mark.parametrize("query", ["?prepare=garment", "?include=all", "?include="])
def test_other_values_are_refused(client: httpx.Client, query: str) -> None:
    assert_error(post(client, "image/png", BOOT.read_bytes(), query), 422, "bad_parameter")


def test_the_model_says_how_pictures_are_prepared(client: httpx.Client) -> None:
    assert client.get("/model").json()["preparation"] == "garment"


def test_the_command_line_prepares_alike(tmp_path: Path, client: httpx.Client, product: bytes) -> None:
    (tmp_path / "a.png").write_bytes(product)
    code, out, err = run("prepare", tmp_path / "a.png", "-o", tmp_path / "out.png")
    assert (code, out, err) == (0, f"{tmp_path / 'out.png'}: 28 x 28, {REMOVED}\n", "")
    shown = post(client, "image/png", product, "?include=prepared").json()["prepared"]
    served = Image.open(io.BytesIO(base64.b64decode(shown.partition(",")[2])))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out.png")), np.asarray(served))
    _, out, _ = run("predict", "--model", "bundled", tmp_path / "a.png")
    assert f"({REMOVED})" in out
    code, _, err = run("prepare", tmp_path / "b.png", "-o", tmp_path / "out.png")
    assert (code, err) == (2, f"fashion-mnist: {tmp_path / 'b.png'}: No such file or directory\n")
