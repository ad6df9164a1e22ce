"""What decoding costs: the estimate is above the real peak, and what has no honest use is refused at once."""

import io
import re
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.paths import ROOT

from fashion_mnist.errors import InputError
from fashion_mnist.imaging import cost, pixels
from fashion_mnist.imaging.cost import Cost
from fashion_mnist.spec import ModelSpec

GRAY = ModelSpec(("a", "b"), 28, 28, 1)
GARMENT = ModelSpec(("a", "b"), 28, 28, 1, "garment")
COLOR = ModelSpec(("a", "b"), 96, 96, 3)
MOST = 40_000_000
SIZE = (2000, 1250)

MEASURE = """
import re, sys
from fashion_mnist.imaging import heif, pixels
from fashion_mnist.spec import ModelSpec
def kilobytes(name):
    return int(re.search(name + r":\\s+(\\d+)", open("/proc/self/status").read())[1])
side, channels, preparation = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
spec = ModelSpec(("a", "b"), side, side, channels, preparation)
pixels.read_picture(open("examples/ankle-boot.png", "rb").read(), spec)
heif.register("AVIF")
data = sys.stdin.buffer.read()
open("/proc/self/clear_refs", "w").write("5")
before = kilobytes("VmRSS")
pixels.read_picture(data, spec)
print(1024 * (kilobytes("VmHWM") - before))
"""


def encode(picture: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def make(mode: str) -> Image.Image:
    small = np.random.default_rng(0).integers(0, 256, (50, 80, 3), np.uint8)
    picture = Image.fromarray(small).resize(SIZE)
    return Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16)) if mode == "I;16" else (
        picture.quantize(64) if mode == "P" else picture.convert(mode)
    )  # fmt: skip


KINDS: list[tuple[str, str, dict[str, Any]]] = [
    ("L", "PNG", {}),
    ("RGBA", "PNG", {"compress_level": 1}),
    ("I;16", "PNG", {}),
    ("RGB", "JPEG", {}),
    ("RGB", "JPEG", {"progressive": True, "subsampling": 0}),
    ("CMYK", "JPEG", {"progressive": True}),
    ("RGB", "WEBP", {"method": 0}),
    ("RGBA", "WEBP", {"lossless": True, "method": 0}),
    ("RGB", "AVIF", {"speed": 9}),
    ("P", "GIF", {}),
    ("RGB", "BMP", {}),
    ("RGB", "TIFF", {"compression": "tiff_lzw"}),
    ("1", "TIFF", {"compression": "group4"}),
]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peaks are read from /proc, which only Linux has")
@pytest.mark.parametrize("spec", [GRAY, COLOR, GARMENT], ids=["gray model", "color model", "garment model"])
def test_the_real_peak_is_below_the_estimate(spec: ModelSpec) -> None:
    for mode, kind, options in KINDS:
        data = encode(make(mode), kind, **options)
        settings = (str(spec.height), str(spec.channels), spec.preparation)
        command = [sys.executable, "-c", MEASURE, *settings]
        done = subprocess.run(command, input=data, cwd=ROOT, capture_output=True, check=True)
        found = cost.estimate(data, spec, MOST)
        peak = int(done.stdout)
        assert peak <= found.peak_bytes <= 5 * peak + 20_000_000, (mode, kind, options, peak, found)


def estimate(data: bytes) -> Cost:
    return cost.estimate(data, GRAY, MOST)


def test_thirty_photographs_fit_and_ten_large_webps_do_not() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    photograph = encode(Image.fromarray(noise).resize((4000, 3000), Image.Resampling.BICUBIC), "JPEG")
    assert 0.01 < estimate(photograph).cpu_s < 0.2
    assert 30 * estimate(photograph).cpu_s < 6
    webp = encode(Image.new("RGB", (8000, 5000)), "WEBP", lossless=True, method=0)
    assert len(webp) < 1000
    assert 10 * estimate(webp).cpu_s > 6
    assert estimate(webp).peak_bytes > 15 * 8000 * 5000


def test_every_scan_costs() -> None:
    picture = Image.new("RGB", (4000, 2500))
    ordinary = encode(picture, "JPEG", progressive=True)
    scan = ordinary[ordinary.rfind(b"\xff\xda") : -2]
    assert estimate(ordinary[:-2] + 20 * scan + b"\xff\xd9").cpu_s > estimate(ordinary).cpu_s + 0.1


def test_a_damaged_file_costs_nothing() -> None:
    for data in (b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"BM", b"RIFF0000WEBP", b"II*\0"):
        assert estimate(data) == Cost(0.0, 0)


def rle_bmp(runs: int) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, 5000, 5000, 1, 8, 1, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 1078) + header + bytes(1024) + b"\1\1" * runs


def gif(comments: int) -> bytes:
    picture = encode(Image.new("P", (8, 8)), "GIF")
    at = picture.index(b"\x2c")
    return picture[:at] + b"\x21\xfe" + b"\1a" * comments + b"\0" + picture[at:]


def jpeg(comments: int) -> bytes:
    picture = encode(Image.new("L", (8, 8)), "JPEG")
    return picture[:2] + b"\xff\xfe\0\2" * comments + picture[2:]


def png(chunks: int) -> bytes:
    picture = encode(Image.new("L", (8, 8)), "PNG")
    return picture[:33] + b"\0\0\0\0tEXt\xbf\x88\x35\x57" * chunks + picture[33:]


@pytest.mark.parametrize(
    ("make", "most"), [(gif, 9_000), (jpeg, 900), (png, 19_000)], ids=["GIF", "JPEG", "PNG"]
)
def test_millions_of_blocks_are_refused_in_milliseconds(make: Callable[[int], bytes], most: int) -> None:
    pixels.read_picture(make(most), GRAY)
    data = make(3_000_000)
    start = time.thread_time()
    with pytest.raises(InputError, match="more than"):
        pixels.read_picture(data, GRAY)
    assert estimate(data) == Cost(0.0, 0)
    assert time.thread_time() - start < 1


def test_run_lengths_cost_by_byte_and_pixel() -> None:
    assert estimate(rle_bmp(15_000_000)).cpu_s > 6  # Pillow decodes them in Python
    assert estimate(rle_bmp(10)).cpu_s > 2.5  # ... and pads each of 5,000 rows, pixel by pixel


class GoneError(Exception):
    pass


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "AVIF"])
def test_a_picture_is_abandoned_when_the_check_says_so(kind: str) -> None:
    data = encode(Image.new("L", (300, 300)), kind)

    def check() -> None:
        raise GoneError

    with pytest.raises(GoneError):
        pixels.read_picture(data, GRAY, check=check)
    assert re.match("uint8", str(pixels.read_picture(data, GRAY, check=lambda: None).dtype))
