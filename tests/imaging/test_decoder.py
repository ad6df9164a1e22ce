"""Damage that Pillow ignores is rejected; whole pictures decode exactly as in Pillow."""

import base64
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


def cut(jpeg: bytes, share: float) -> bytes:
    """Return the first part of a JPEG, with an end marker."""
    return jpeg[: int(len(jpeg) * share)] + b"\xff\xd9"


def scans(jpeg: bytes) -> list[int]:
    """Return where each scan of a JPEG starts."""
    return [at for at in range(len(jpeg)) if jpeg[at : at + 2] == b"\xff\xda"]


BOOT_JPEG = encode(Image.open(BOOT), "JPEG")
LARGE_JPEG = encode(Image.open(BOOT).resize((300, 200)), "JPEG", restart_marker_blocks=4)
PROGRESSIVE = encode(Image.open(BOOT).convert("RGB").resize((90, 70)), "JPEG", progressive=True)
RESTARTS = encode(
    Image.open(BOOT).resize((300, 200)), "JPEG", progressive=True, restart_marker_blocks=7, quality=90
)
MPO = encode(
    Image.open(BOOT).resize((300, 200)), "MPO", save_all=True, append_images=[Image.open(BOOT).rotate(9)]
)
# one scan for each of Y, Cb and Cr, which Pillow cannot write
THREE_SCANS = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABsSFBcUERsXFhceHBsgKEIrKCUlKFE6PTBCYFVlZF9VXVtqeJmBanGQc1tdhbWGkJ6j"
    "q62rZ4C8ybqmx5moq6T/2wBDARweHigjKE4rK06kbl1upKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSk"
    "pKSkpKSkpKT/wAARCAAcABwDASIAAhEBAxEB/8QAGAABAQEBAQAAAAAAAAAAAAAABAMFAAL/xAAeEAACAQQDAQAAAAAAAAAAAAAA"
    "AQIDBBEhEhMxIv/aAAgBAQAAPwDqVNqS0alDUAF6stgeLNvpij05KKwFrJTZDpRWVy8EJ3Tz6Upz5FcApPQeT+hlt4JP/8QAFwEA"
    "AwEAAAAAAAAAAAAAAAAAAAECBP/EABsRAAICAwEAAAAAAAAAAAAAAAECAAMEERIT/9oACAECEQA/AIsywILR6joRZFS6mdbmUaE/"
    "/8QAFgEBAQEAAAAAAAAAAAAAAAAABQAE/8QAGhEAAwEAAwAAAAAAAAAAAAAAAAEDAhEhIv/aAAgBAxEAPwCnMwVXGhe/hdAFNN6P"
    "/9k="
)
BOOT_BMP = encode(Image.open(BOOT), "BMP")
DAMAGED = {
    "a PNG with a wrong checksum of its pixels": flipped(BOOT.read_bytes(), -14),
    "a PNG with a wrong final checksum": flipped(BOOT.read_bytes(), -1),
    "a PNG without its end": BOOT.read_bytes()[:-12],
    "a JPEG with far too many pixels": scaled(BOOT_JPEG, 6000, 6000),
    "a progressive JPEG, likewise": scaled(encode(Image.open(BOOT), "JPEG", progressive=True), 6000, 6000),
    "a JPEG with a few pixels too many": scaled(BOOT_JPEG, 40, 28),
    "a JPEG that ends early": BOOT_JPEG[: len(BOOT_JPEG) * 8 // 10] + b"\xff\xd9",
    "a large JPEG that ends early": LARGE_JPEG[: len(LARGE_JPEG) * 8 // 10] + b"\xff\xd9",
    "a JPEG without scans": BOOT_JPEG[: scans(BOOT_JPEG)[0]] + b"\xff\xd9",
    **{f"a progressive JPEG cut at {share}": cut(PROGRESSIVE, share) for share in (0.4, 0.5, 0.8, 0.9, 0.97)},
    **{f"one with restart markers, at {share}": cut(RESTARTS, share) for share in (0.5, 0.7, 0.9, 0.99)},
    **{f"one of three scans, at {share}": cut(THREE_SCANS, share) for share in (0.7, 0.8, 0.9)},
    "a progressive JPEG without its last scan": PROGRESSIVE[: scans(PROGRESSIVE)[-1]] + b"\xff\xd9",
    "a progressive JPEG without its end": PROGRESSIVE[:-2],
    "a JPEG of a phone, MPO, that ends early": MPO[: scans(MPO)[0] + 500] + b"\xff\xd9",
    "a JPEG of a thousand scans": PROGRESSIVE[:-2]
    + PROGRESSIVE[slice(*scans(PROGRESSIVE)[:2])] * 1000
    + b"\xff\xd9",
    "a BMP with a negative width": BOOT_BMP[:18] + struct.pack("<i", -28) + BOOT_BMP[22:],
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_picture_that_pillow_would_accept_is_rejected(data: bytes) -> None:
    with pytest.raises(
        InputError, match=r"^the picture is truncated or damaged .*send the whole file"
    ) as caught:
        decoder.decode(data, 40_000_000, (56, 56))
    assert caught.value.code == "broken_picture"


OPTIONS: list[dict[str, Any]] = [
    {},
    {"restart_marker_blocks": 3},
    {"quality": 1},
    {"progressive": True},
    {"progressive": True, "restart_marker_blocks": 3},
    {"progressive": True, "quality": 100},
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_whole_jpeg_of_any_kind_decodes_as_in_pillow(mode: str, options: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    for size in [(1, 1), (7, 9), (16, 17), (33, 64), (100, 61)]:
        smooth = Image.fromarray(rng.integers(0, 256, (5, 4, 3), np.uint8)).resize(size)
        for trailing in (b"", b"\0\xff\xd9junk"):
            data = encode(smooth.convert(mode), "JPEG", subsampling=size[0] % 3, **options) + trailing
            found = decoder.decode(data, 10_000, size)
            assert np.array_equal(np.asarray(found), np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("data", [THREE_SCANS, MPO, PROGRESSIVE], ids=["three scans", "MPO", "progressive"])
def test_a_jpeg_of_several_scans_or_pictures_decodes_as_its_first_picture(data: bytes) -> None:
    expected = Image.open(io.BytesIO(data))
    found = decoder.decode(data, 100_000, expected.size)
    assert np.array_equal(np.asarray(found), np.asarray(expected))
    large = encode(expected.resize((1200, 800)), "MPO", save_all=True, append_images=[expected])
    assert decoder.decode(large, 1_000_000, (56, 56)).size == (150, 100)  # the cheap decoding, at an eighth


def test_every_cut_of_a_progressive_jpeg_but_that_of_its_last_bytes_is_rejected() -> None:
    accepted = []
    for end in range(scans(PROGRESSIVE)[0], len(PROGRESSIVE) - 2):
        try:
            decoder.decode(PROGRESSIVE[:end] + b"\xff\xd9", 100_000, (90, 70))
            accepted.append(len(PROGRESSIVE) - 2 - end)
        except InputError as error:
            assert error.code == "broken_picture"  # noqa: PT017 - most cuts raise, the last few need not
    assert max(accepted, default=0) <= 16
