"""Damage that Pillow ignores is rejected; whole pictures decode exactly as in Pillow."""

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.paths import BOOT
from support.pictures import encode

from fashion_mnist.errors import InputError
from fashion_mnist.imaging import decoder


def scaled(jpeg: bytes, width: int, height: int) -> bytes:
    """Return the JPEG with another size in its header."""
    at = max(jpeg.find(b"\xff\xc0"), jpeg.find(b"\xff\xc2")) + 5
    return jpeg[:at] + struct.pack(">HH", height, width) + jpeg[at + 4 :]


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


BOOT_JPEG = encode(Image.open(BOOT), "JPEG")
LARGE_JPEG = encode(Image.open(BOOT).resize((300, 200)), "JPEG", restart_marker_blocks=4)
BOOT_BMP = encode(Image.open(BOOT), "BMP")
DAMAGED = {
    "a PNG with a wrong checksum of its pixels": flipped(BOOT.read_bytes(), -14),
    "a PNG with a wrong final checksum": flipped(BOOT.read_bytes()[:-12] + b"\0\0\0\1tEXta" + bytes(4), -1)
    + BOOT.read_bytes()[-12:],
    "a PNG without its end": BOOT.read_bytes()[:-12],
    "a JPEG with far too many pixels": scaled(BOOT_JPEG, 6000, 6000),
    "a progressive JPEG, likewise": scaled(encode(Image.open(BOOT), "JPEG", progressive=True), 6000, 6000),
    "a JPEG with a few pixels too many": scaled(BOOT_JPEG, 40, 28),
    "a JPEG that ends early": BOOT_JPEG[: len(BOOT_JPEG) * 8 // 10] + b"\xff\xd9",
    "a large JPEG that ends early": LARGE_JPEG[: len(LARGE_JPEG) * 8 // 10] + b"\xff\xd9",
    "a BMP with a negative width": BOOT_BMP[:18] + struct.pack("<i", -28) + BOOT_BMP[22:],
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_picture_that_pillow_would_accept_is_rejected(data: bytes) -> None:
    with pytest.raises(
        InputError, match=r"^the picture is truncated or damaged .*send the whole file"
    ) as caught:
        decoder.decode(data, 40_000_000, (56, 56))
    assert caught.value.code == "broken_picture"


@pytest.mark.parametrize("options", [{}, {"restart_marker_blocks": 3}, {"progressive": True}, {"quality": 1}])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_whole_jpeg_of_any_kind_decodes_as_in_pillow(mode: str, options: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    for size in [(1, 1), (7, 9), (16, 17), (33, 64), (100, 61)]:
        smooth = Image.fromarray(rng.integers(0, 256, (5, 4, 3), np.uint8)).resize(size)
        for trailing in (b"", b"\0\xff\xd9junk"):
            data = encode(smooth.convert(mode), "JPEG", subsampling=size[0] % 3, **options) + trailing
            found = decoder.decode(data, 10_000, size)
            assert np.array_equal(np.asarray(found), np.asarray(Image.open(io.BytesIO(data))))
