"""PNG: metadata cost nothing and harm nothing; what decides pixels is checked."""

import io
import os
import time
import zlib

import numpy as np
import pytest
from PIL import Image
from support.paths import BOOT
from support.pictures import encode

from fashion_mnist.errors import InputError
from fashion_mnist.imaging import png
from fashion_mnist.imaging.pixels import read_picture
from fashion_mnist.spec import ModelSpec

PICTURE = BOOT.read_bytes()
PALETTE = encode(Image.open(BOOT).convert("P"), transparency=0)


def chunk(kind: bytes, content: bytes, error: int = 0) -> bytes:
    checksum = zlib.crc32(kind + content) ^ error
    return len(content).to_bytes(4) + kind + content + checksum.to_bytes(4)


def insert(*chunks: bytes, into: bytes = PICTURE) -> bytes:
    """Return a PNG with more chunks before its pixels."""
    at = into.find(b"IDAT") - 4
    return into[:at] + b"".join(chunks) + into[at:]


def exif(orientation: int, size: int = 0) -> bytes:
    block = Image.Exif()
    block[0x0112] = orientation
    return block.tobytes()[6:] + bytes(size)


LARGE = os.urandom(3_000_000)
METADATA = {
    "large text": insert(chunk(b"tEXt", b"prompt\0" + b"{}" * 2_000_000)),
    "large compressed text": insert(chunk(b"zTXt", b"prompt\0\0" + zlib.compress(bytes(2_000_000)))),
    "large XMP": insert(chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(LARGE))),
    "much text": insert(*[chunk(b"tEXt", b"a\0" + bytes(1_000_000))] * 70),
    "a large color profile": encode(Image.open(BOOT), icc_profile=LARGE),
    "text after the pixels": PICTURE[:-12] + chunk(b"zTXt", b"a\0\0" + zlib.compress(LARGE)) + PICTURE[-12:],
    "EXIF data of any size": insert(chunk(b"eXIf", exif(6, 100_000))),
    **{
        f"{kind} with a wrong checksum": insert(chunk(kind.encode(), content, error=1))
        for kind, content in [("tEXt", b"a\0b"), ("pHYs", bytes(9)), ("eXIf", exif(6)), ("prVt", b"x")]
    },
}


@pytest.mark.parametrize("data", METADATA.values(), ids=METADATA.keys())
def test_metadata_never_decide_whether_a_picture_is_read(spec: ModelSpec, data: bytes) -> None:
    assert np.array_equal(read_picture(data, spec), np.asarray(Image.open(BOOT)))


def test_text_that_unpacks_to_gigabytes_is_not_unpacked(spec: ModelSpec) -> None:
    bomb = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10_000_000), 9))
    data = insert(*[bomb] * 100)
    started = time.perf_counter()
    read_picture(data, spec)
    assert time.perf_counter() - started < 0.5  # unpacking takes seconds


def test_orientation_is_applied_among_other_metadata(spec: ModelSpec) -> None:
    data = insert(chunk(b"tEXt", b"a\0b"), chunk(b"eXIf", exif(6)), chunk(b"gAMA", bytes(4)))
    assert np.array_equal(read_picture(data, spec), np.rot90(np.asarray(Image.open(BOOT)), -1))


def test_an_animation_gives_its_first_frame_whatever_follows(spec: ModelSpec) -> None:
    boot = Image.open(BOOT)
    animation = encode(boot, save_all=True, append_images=[boot.rotate(90), boot.rotate(180)])
    frame = animation.find(b"fdAT")
    damaged = animation[: frame + 20] + b"x" + animation[frame + 21 :]
    for data in (animation, damaged):
        assert np.array_equal(read_picture(data, spec), np.asarray(boot))


@pytest.mark.parametrize("kind", [b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"])
def test_a_wrong_checksum_of_what_decides_pixels_is_rejected(spec: ModelSpec, kind: bytes) -> None:
    at = PALETTE.find(kind)
    end = at + 4 + int.from_bytes(PALETTE[at - 4 : at])
    damaged = PALETTE[:end] + bytes([PALETTE[end] ^ 1]) + PALETTE[end + 1 :]
    with pytest.raises(InputError, match="wrong checksum at byte") as caught:
        read_picture(damaged, spec)
    assert caught.value.code == "broken_picture"


def test_a_picture_without_metadata_is_not_copied() -> None:
    assert png.strip_metadata(PICTURE) is PICTURE
    assert png.strip_metadata(insert(chunk(b"tIME", bytes(7)))) == PICTURE
    expected = np.asarray(Image.open(io.BytesIO(PALETTE)).convert("RGBA"))
    stripped = png.strip_metadata(insert(chunk(b"tIME", bytes(7)), into=PALETTE))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(stripped)).convert("RGBA")), expected)
