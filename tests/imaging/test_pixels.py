"""From picture files to pixels: what is accepted, and what is rejected and why."""

import struct
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from support.paths import BOOT
from support.pictures import encode

from fashion_mnist.errors import InputError
from fashion_mnist.imaging.pixels import read_picture
from fashion_mnist.spec import ModelSpec

COLOR = ModelSpec(("a", "b"), 28, 28, 3)


def one(color: Any, mode: str = "L", size: tuple[int, int] = (28, 28)) -> Image.Image:
    return Image.new(mode, size, color)


@pytest.fixture
def garment(test_images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.array(test_images[0])


def test_a_gray_png_of_the_models_size_comes_back_pixel_for_pixel(
    spec: ModelSpec, garment: NDArray[np.uint8]
) -> None:
    assert np.array_equal(read_picture(encode(Image.fromarray(garment)), spec), garment)
    assert read_picture(BOOT.read_bytes(), spec, max_pixels=784).shape == (28, 28)


@pytest.mark.parametrize("form", ["PNG", "BMP", "GIF", "TIFF", "JPEG", "WEBP", "MPO", "AVIF"])
def test_every_accepted_format_shows_the_garment(
    spec: ModelSpec, garment: NDArray[np.uint8], form: str
) -> None:
    found = read_picture(encode(Image.fromarray(garment), form), spec)
    difference = np.abs(found.astype(int) - garment).mean()
    assert difference == 0 if form in ("PNG", "BMP", "GIF", "TIFF") else difference < 12


def bmp(gray: int, alpha: int) -> bytes:
    """Return a BMP whose header, version 4, has a mask for alpha, as programs for Windows write it."""
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, 28, 28, 1, 32, 3, 0, 0, 0, 0, 0) + masks + bytes(52)
    pixels = bytes([gray, gray, gray, alpha]) * 784
    return b"BM" + struct.pack("<IHHI", 122 + len(pixels), 0, 0, 122) + header + pixels


MODES = {
    "1": (encode(one(1, "1")), 255),
    "L": (encode(one(200)), 200),
    "LA opaque": (encode(one((200, 255), "LA")), 200),
    "LA transparent": (encode(one((200, 0), "LA")), 0),
    "P transparent": (encode(one(7, "P"), transparency=7), 0),
    "RGB": (encode(one((200, 200, 200), "RGB")), 200),
    "RGBA": (encode(one((200, 200, 200, 255), "RGBA")), 200),
    "RGBA half": (encode(one((200, 200, 200, 128), "RGBA")), 100),
    "CMYK JPEG": (encode(one((0, 0, 0, 55), "CMYK"), "JPEG"), 200),
    "BMP opaque": (bmp(200, 255), 200),
    "BMP half": (bmp(200, 128), 100),
    "BMP with alpha 0 everywhere": (bmp(200, 0), 200),
    "BMP of 32 bits without alpha": (encode(one((200, 200, 200, 0), "RGBA"), "BMP"), 200),
    "I;16": (encode(Image.fromarray(np.full((28, 28), 200 * 257, np.uint16))), 200),
}


@pytest.mark.parametrize(("picture", "gray"), MODES.values(), ids=MODES.keys())
def test_every_mode_becomes_gray(spec: ModelSpec, picture: bytes, gray: int) -> None:
    found = read_picture(picture, spec)
    assert found.shape == (28, 28)
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - gray).max() <= 1


def test_exif_orientation_is_applied(spec: ModelSpec, garment: NDArray[np.uint8]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown rotated 90 degrees clockwise
    found = read_picture(encode(Image.fromarray(garment), exif=exif), spec)
    assert np.array_equal(found, np.rot90(garment, -1))


@pytest.mark.parametrize("size", [(56, 28), (28, 56), (3000, 1500)])
def test_another_shape_is_centred_between_black_bars(spec: ModelSpec, size: tuple[int, int]) -> None:
    found = read_picture(encode(one(255, size=size)), spec)
    found = found.T if size == (28, 56) else found
    assert (found[7:21] == 255).all()
    assert (found[np.r_[:7, 21:28]] == 0).all()


def test_a_sliver_and_the_first_frame_of_an_animation_are_accepted(spec: ModelSpec) -> None:
    sliver = read_picture(encode(one(255, size=(5000, 1))), spec)
    assert ((sliver == 255).sum(), (sliver == 0).sum()) == (28, 28 * 27)
    data = encode(one(50), "GIF", save_all=True, append_images=[one(250)])
    assert (read_picture(data, spec) == 50).all()


def test_a_gray_picture_fills_the_channels_of_a_color_model(garment: NDArray[np.uint8]) -> None:
    found = read_picture(encode(Image.fromarray(garment)), COLOR)
    assert np.array_equal(found, np.stack([garment] * 3, axis=2))
    assert read_picture(encode(one((9, 8, 7), "RGB")), COLOR)[5, 5].tolist() == [9, 8, 7]


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("share", [0.2, 0.6])
def test_a_truncated_picture_is_rejected(
    spec: ModelSpec, test_images: NDArray[np.uint8], form: str, share: float
) -> None:
    data = encode(Image.fromarray(np.concatenate(test_images[:9])), form)
    with pytest.raises(InputError, match=r"truncated|not a picture") as caught:
        read_picture(data[: int(len(data) * share)], spec)
    assert caught.value.code == "broken_picture"


@pytest.mark.parametrize("data", [b"", b"hello", b"\0" * 500, bytes(range(256)), b"<html></html>"])
def test_junk_is_rejected(spec: ModelSpec, data: bytes) -> None:
    with pytest.raises(InputError, match="send") as caught:
        read_picture(data, spec)
    assert (caught.value.code, caught.value.status) == ("broken_picture", 400)


FOREIGN = {
    "HEIC": b"\0\0\0\x18ftypheic" + b"\0" * 40,
    "SVG": b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>',
    "PDF": encode(one(9), "PDF"),
    "BigTIFF": encode(one(9), "TIFF", big_tiff=True),
}


@pytest.mark.parametrize(("name", "data"), FOREIGN.items(), ids=FOREIGN.keys())
def test_an_unsupported_format_is_named(spec: ModelSpec, name: str, data: bytes) -> None:
    with pytest.raises(InputError, match=f"^{name} pictures are not supported; convert this") as caught:
        read_picture(data, spec)
    assert (caught.value.code, caught.value.status) == ("unsupported_picture_format", 415)


@pytest.mark.parametrize(("side", "most"), [(28, 783), (10_000, 40_000_000), (20_000, 40_000_000)])
def test_more_pixels_than_the_limit_are_rejected(spec: ModelSpec, side: int, most: int) -> None:
    bomb = encode(one(0, "1", (side, side)))
    with pytest.raises(
        InputError, match=f"^the picture has .*at most {most}.*; send a smaller one$"
    ) as caught:
        read_picture(bomb, spec, max_pixels=most)
    assert (caught.value.code, caught.value.status) == ("too_many_pixels", 413)


@pytest.mark.parametrize("form", ["PNG", "WEBP", "JPEG"])
def test_a_picture_with_a_damaged_exif_block_is_accepted(spec: ModelSpec, form: str) -> None:
    junk = b"Exif\0\0garbage!" if form == "JPEG" else b"garbage!!"
    assert np.abs(read_picture(encode(one(200), form, exif=junk), spec).astype(int) - 200).max() <= 2
