"""TIFF: the first page of what scanners and programs write is read; damage and metadata are kept out."""

import io
import struct
import subprocess
import sys
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.paths import BOOT
from support.pictures import encode

from fashion_mnist.errors import InputError
from fashion_mnist.imaging import decoder
from fashion_mnist.imaging.pixels import read_picture
from fashion_mnist.spec import ModelSpec

BOOT_GRAY = np.asarray(Image.open(BOOT))
COLOR = ModelSpec(("a", "b"), 28, 28, 3)
COMPRESSIONS = [None, "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits"]


def page(pixels: bytes, order: str = "<", **changes: Any) -> bytes:
    """Return a gray TIFF of 28 x 28 in one strip. changes: t258=16, or t258=[8, 8, 8], sets a tag."""
    tags = {256: 28, 257: 28, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 28, 279: len(pixels)}
    tags |= {int(name[1:]): value for name, value in changes.items()}
    start = 8 + len(pixels)
    entries, rest = b"", b""
    for tag, value in sorted((tag, value) for tag, value in tags.items() if value is not None):
        values = value if isinstance(value, list) else [value]
        packed = struct.pack(f"{order}{len(values)}L", *values)
        if len(packed) > 4:
            place = start + 2 + 12 * sum(value is not None for value in tags.values()) + 4 + len(rest)
            rest, packed = rest + packed, struct.pack(f"{order}L", place)
        entries += struct.pack(f"{order}HHL", tag, 4, len(values)) + packed
    mark = b"II" if order == "<" else b"MM"
    head = mark + struct.pack(f"{order}HL", 42, start)
    return head + pixels + struct.pack(f"{order}H", len(entries) // 12) + entries + bytes(4) + rest


def refused(data: bytes, code: str) -> str:
    with pytest.raises(InputError) as caught:
        read_picture(data, COLOR)
    assert caught.value.code == code
    return str(caught.value)


KINDS = [(mode, name) for mode in ("1", "L", "P", "RGB", "RGBA", "CMYK", "LA") for name in COMPRESSIONS]
KINDS += [
    ("1", "group3"),
    ("1", "group4"),
    ("1", "tiff_ccitt"),
    ("L", "jpeg"),
    ("RGB", "jpeg"),
    ("CMYK", "jpeg"),
]


@pytest.mark.parametrize(("mode", "compression"), KINDS)
def test_every_compression_decodes_as_in_pillow(mode: str, compression: str | None) -> None:
    data = encode(Image.open(BOOT).convert(mode), "TIFF", compression=compression)
    found = decoder.decode(data, 784, (56, 56))
    assert np.array_equal(np.asarray(found), np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_sixteen_bits_are_reduced_as_in_png(spec: ModelSpec, compression: str | None) -> None:
    deep = BOOT_GRAY.astype(np.uint16) * 257
    data = encode(Image.fromarray(deep), "TIFF", compression=compression)
    assert np.array_equal(read_picture(data, spec), BOOT_GRAY)
    big_endian = page(deep.astype(">u2").tobytes(), ">", t258=16)
    assert np.array_equal(read_picture(big_endian, spec), BOOT_GRAY)


def test_white_as_zero_premultiplied_alpha_and_planes_are_understood(spec: ModelSpec) -> None:
    assert np.array_equal(read_picture(page((255 - BOOT_GRAY).tobytes(), t262=0), spec), BOOT_GRAY)
    associated = page(b"\x64\x80" * 784, t258=[8, 8], t277=2, t338=1)
    assert abs(read_picture(associated, spec).astype(int) - 100).max() <= 1
    planes = page(
        bytes(784) + b"\x07" * 784 + b"\x09" * 784, t262=2, t258=[8] * 3, t277=3, t284=2, t273=[8, 792, 1576]
    )
    assert read_picture(planes, COLOR)[5, 5].tolist() == [0, 7, 9]


@pytest.mark.parametrize("compressed", [False, True])
def test_a_page_in_tiles_is_read(spec: ModelSpec, compressed: bool) -> None:
    padded = np.pad(BOOT_GRAY, (0, 4))
    tiles = [padded[y : y + 16, x : x + 16].tobytes() for y in (0, 16) for x in (0, 16)]
    tiles = [zlib.compress(tile) for tile in tiles] if compressed else tiles
    places = [8 + sum(len(tile) for tile in tiles[:n]) for n in range(4)]
    data = page(
        b"".join(tiles),
        t259=8 if compressed else 1,
        t273=None,
        t278=None,
        t279=None,
        t322=16,
        t323=16,
        t324=places,
        t325=[len(tile) for tile in tiles],
    )
    assert np.array_equal(read_picture(data, spec), BOOT_GRAY)


def test_the_first_of_several_pages_is_read_and_its_orientation_applied(spec: ModelSpec) -> None:
    boot = Image.open(BOOT)
    pages = encode(boot, "TIFF", save_all=True, append_images=[boot.rotate(90), boot.rotate(180)])
    assert np.array_equal(read_picture(pages, spec), BOOT_GRAY)
    for compression in COMPRESSIONS:
        turned = encode(boot, "TIFF", compression=compression, tiffinfo={274: 6})
        assert np.array_equal(read_picture(turned, spec), np.rot90(BOOT_GRAY, -1))


def test_metadata_never_decide_whether_a_picture_is_read(spec: ModelSpec) -> None:
    loop = page(BOOT_GRAY.tobytes(), t34665=8 + 784, t330=8 + 784, t700=4_000_000_000, t34675=[1, 2, 3])
    assert np.array_equal(read_picture(loop, spec), BOOT_GRAY)


@pytest.mark.parametrize("compression", [*COMPRESSIONS, "jpeg"])
def test_a_file_cut_anywhere_is_rejected(compression: str | None) -> None:
    data = encode(Image.open(BOOT).convert("RGB"), "TIFF", compression=compression)
    for end in range(4, len(data) - 10, 7):
        assert "send the whole file" in refused(data[:end], "broken_picture")


PIXELS = BOOT_GRAY.tobytes()
DAMAGED = {
    "too few strips": page(PIXELS, t278=14),
    "too many strips": page(PIXELS, t273=[8, 8], t279=[784, 784]),
    "no strips": page(PIXELS, t273=None),
    "tiles of one pixel": page(
        PIXELS, t256=2000, t257=1000, t322=1, t323=1, t324=[8] * 2_000_000, t325=[1] * 2_000_000
    ),
    "no width": page(PIXELS, t256=None),
    "a width of 0": page(PIXELS, t256=0),
    "a tile without height": page(PIXELS, t322=16),
    "a directory behind the end": b"II*\0" + struct.pack("<L", 900) + PIXELS,
    "only the first bytes": b"II*\0",
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_directory_is_rejected(data: bytes) -> None:
    refused(data, "broken_picture")


UNSUPPORTED = {
    "32 bits": page(PIXELS * 4, t258=32),
    "floating point": page(PIXELS * 4, t258=32, t339=3),
    "signed": page(PIXELS * 2, t258=16, t339=2),
    "12 bits": page(PIXELS * 2, t258=12),
    "16 bits, white as 0": page(PIXELS * 2, t258=16, t262=0),
    "Lab": page(PIXELS * 3, t258=[8] * 3, t277=3, t262=8),
    "seven samples": page(PIXELS * 7, t258=[8] * 7, t277=7),
    "an unknown compression": page(PIXELS, t259=34712),
    "an unknown layout": page(PIXELS * 3, t258=[8, 4, 8], t277=3, t262=2),
}


@pytest.mark.parametrize("data", UNSUPPORTED.values(), ids=UNSUPPORTED.keys())
def test_what_is_not_decoded_is_named(data: bytes) -> None:
    text = refused(data, "unsupported_picture_format")
    assert text.startswith("TIFF pictures of this kind are not supported (")
    assert text.endswith("convert this one to 8 bits, or to PNG")


def test_the_limits_apply_before_decoding() -> None:
    bomb = zlib.compress(bytes(20_000_000))
    assert "10000 x 10000" in refused(
        page(bomb, t256=10_000, t257=10_000, t278=10_000, t259=8), "too_many_pixels"
    )
    tile = page(bomb, t322=20_000, t323=20_000, t324=8, t325=len(bomb), t259=8)
    assert "20000 x 20000" in refused(tile, "too_many_pixels")
    assert decoder.count_pixels(page(PIXELS)) == 784


def test_nothing_is_printed_about_a_damaged_file() -> None:
    data = encode(Image.open(BOOT), "TIFF", compression="tiff_adobe_deflate")
    damaged = data[:20] + b"\xff" * 100 + data[120:]
    code = (
        "import sys; from fashion_mnist.imaging import decoder\n"
        "try: decoder.decode(sys.stdin.buffer.read(), 784, (56, 56))\n"
        "except Exception as error: print(error.code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=damaged, capture_output=True, timeout=60, check=True
    )
    assert (done.stdout.strip(), done.stderr) == (b"broken_picture", b"")
