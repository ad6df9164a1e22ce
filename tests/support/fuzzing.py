"""Bodies of every kind, ways to damage them, and what no body may do to the decoders."""

import base64
import json
import os
import random
import resource
import struct
import sys
import time
import zlib
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from fashion_mnist.errors import InputError
from fashion_mnist.imaging import cost, png
from fashion_mnist.serving.protocol import bodies, picture_files, requests
from fashion_mnist.spec import ModelSpec
from support.paths import BOOT
from support.pictures import encode
from support.requests import npy, npz

MAX_CPU_S = 2
LIMITS = requests.Limits(body_bytes=1_000_000, images=50, pixels=2_000_000)
SPECS = (ModelSpec(tuple("abcdefghij"), 28, 28, 1), ModelSpec(("a", "b"), 8, 8, 3))
KINDS = (requests.PICTURE, requests.JSON, requests.FORM, requests.NPY, requests.MULTIPART)
NOISE_BYTES = 16_000_000
"""What the test's own process may need meanwhile."""
BYTES_PER_BYTE = 40
"""Memory that numbers take to parse, for each byte of the body."""
PEAK = os.open("/proc/self/clear_refs", os.O_WRONLY) if sys.platform == "linux" else 0
FORM_TYPE = b"multipart/form-data; boundary=x"
PART = b"--x\r\nContent-Disposition: form-data; name=a; filename=b\r\n\r\n%s\r\n--x--\r\n"
NUMBERS = (0, 1, 2, 8, 28, 127, 128, 255, 1447, 30_001, 32_767, 65_535, 2**31 - 1, 2**31, 2**32 - 1)
RUNS = b"BM" + struct.pack("<IHHI IiiHHIIiiII", 0, 0, 0, 1078, 40, 28, 28, 1, 8, 1, 0, 0, 0, 0, 0)
RUNS += bytes(range(256)) * 4 + b"\x1c\7\0\0" * 27 + b"\2\1\0\3abc\0\x17\2\0\1"
"""A BMP of run lengths."""
_ENTRIES = ((256, 28), (257, 28), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, 28), (279, 784))
MOTOROLA = b"MM\0*" + struct.pack(">L", 792) + bytes(range(256)) * 3 + bytes(16) + struct.pack(">H", 9)
MOTOROLA += b"".join(struct.pack(">HHLL", tag, 4, 1, value) for tag, value in _ENTRIES) + bytes(4)
"""A TIFF with the high byte first."""
COMPRESSIONS, FACSIMILE = (
    ("packbits", "tiff_lzw", "tiff_adobe_deflate", "jpeg"),
    ("tiff_ccitt", "group3", "group4"),
)
TOKENS = (
    *(
        b"[",
        b"]",
        b"{",
        b'"',
        b",",
        b"null",
        b"true",
        b"-1",
        b"1e400",
        b"NaN",
        b"\\ud800",
        b"%5B",
        b"\r\n--x",
    ),
    *(b"\xff\xda", b"\xff\xd9", b"IDAT", b"fcTL", b"VP8X", b"\x21\xf9", b"\0", b"\xff"),
)


class Judged(NamedTuple):
    """What the decoders did with a body. outcomes: one for each kind, `read` or a code of HTTP_ERRORS."""

    outcomes: tuple[str, ...]
    cpu_s: float
    peak_bytes: int


def seeds() -> list[bytes]:
    """Return small valid bodies: pictures in each format, mode and compression, numbers, forms."""
    boot = Image.open(BOOT)
    modes = {mode: boot.convert(mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK")}
    deep = Image.fromarray(np.asarray(boot).astype(np.uint16) * 257)
    clear = boot.convert("P").convert("RGBA").quantize(8)
    frames: dict[str, Any] = {"save_all": True, "append_images": [boot.rotate(90)], "duration": 9}
    turned = Image.Exif()
    turned[0x0112] = 6
    pictures = [
        *(encode(modes[mode], "PNG") for mode in ("1", "L", "LA", "P", "RGB", "RGBA")),
        *(encode(deep), encode(clear, transparency=0), encode(boot, **frames), encode(boot, exif=turned)),
        *(encode(modes[mode], "JPEG") for mode in ("L", "RGB", "CMYK")),
        *(encode(modes["RGB"], "JPEG", **{name: 1}) for name in ("progressive", "restart_marker_blocks")),
        *(encode(modes["RGB"], "JPEG", exif=turned), encode(modes["RGB"], "JPEG", subsampling=0)),
        *(encode(modes[mode], "WEBP", lossless=exact) for mode in ("RGB", "RGBA") for exact in (0, 1)),
        *(encode(boot, "WEBP", **frames), encode(boot, "WEBP", exif=turned)),
        *(encode(boot, "GIF"), encode(clear, "GIF", transparency=0), encode(boot, "GIF", **frames)),
        *(encode(modes[mode], "BMP") for mode in ("1", "L", "P", "RGB", "RGBA")),
        *(RUNS, MOTOROLA, encode(deep, "TIFF")),
        *(encode(modes[mode], "TIFF") for mode in modes),
        *(encode(modes["RGB"], "TIFF", compression=name) for name in COMPRESSIONS),
        *(encode(modes["1"], "TIFF", compression=name) for name in FACSIMILE),
    ]
    pixels = np.asarray(boot)
    numbers = json.dumps(pixels.ravel().tolist()).encode()
    numbers += b" " * (len(numbers) % 2)  # bodies of even length are judged by the gray spec
    return [
        *pictures,
        json.dumps({"pixels": pixels.tolist()}).encode() + b" ",
        numbers,
        b'{"pixels":[[[1,2],[3,"x"]],null,true,1e400,-5,1.5]}',
        json.dumps({"image": [base64.b64encode(pictures[1]).decode()] * 2}).encode(),
        b"pixels=" + numbers.replace(b", ", b"%2C").strip() + b"&a=" + b"b" * (1 + numbers.count(b",") % 2),
        npy(np.zeros((2, 28, 28), np.uint8)),
        npy(np.zeros((1, 28, 28, 1), np.float32)),
        npz(np.zeros((1, 28, 28), np.uint8)),
        PART % pictures[1],
        b"--x\r\nContent-Disposition: form-data; name=c\r\n\r\n1\r\n" + PART % pictures[10],
    ]


def damage(body: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """Change bits, numbers and tokens of a body; remove, move and repeat blocks, or take them from others."""
    changed = bytearray(body)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 5, 16))):
        at = rng.randrange(len(changed) + 1)
        length = rng.choice((1, 2, 4, 12, 64))
        match rng.randrange(9):
            case 0:
                changed[at : at + 1] = bytes(byte ^ 1 << rng.randrange(8) for byte in changed[at : at + 1])
            case 1:
                changed[at : at + 1] = bytes([rng.randrange(256)])
            case 2:
                size, order = rng.choice((1, 2, 4)), rng.choice(("little", "big"))
                number = rng.choice(NUMBERS) % 256**size
                changed[at : at + size] = number.to_bytes(size, order)
            case 3:
                changed[at:at] = rng.choice(TOKENS)
            case 4:
                del changed[at : at + length]
            case 5:
                changed[at:at] = changed[at : at + length] * rng.choice((1, 2, 50))
            case 6:
                start = rng.randrange(len(changed) + 1)
                changed[at : at + length] = changed[start : start + length]
            case 7:
                other = rng.choice(others)
                start = rng.randrange(len(other))
                changed[at : at + length] = other[start : start + rng.choice((length, len(other)))]
            case _ if rng.randrange(4) == 0:
                del changed[at:]
    return seal(bytes(changed)) if rng.randrange(4) else bytes(changed)


def seal(body: bytes) -> bytes:
    """Correct the checksums of a PNG, which would hide all other damage; return any other body unchanged."""
    if not body.startswith(png.SIGNATURE):
        return body
    sealed, at = bytearray(body), len(png.SIGNATURE)
    while at + 12 <= len(sealed):
        end = at + 8 + int.from_bytes(sealed[at : at + 4])
        if end + 4 <= len(sealed):
            sealed[end : end + 4] = zlib.crc32(sealed[at + 4 : end]).to_bytes(4)
        at = end + 4
    return bytes(sealed)


def judge(body: bytes) -> Judged:
    """Decode a body as every kind; fail on other exceptions than InputError, excessive time or memory.

    CPU time is measured, which a busy machine does not change.
    """
    spec = SPECS[len(body) % 2]
    _reset_peak()
    before, start = _peak_bytes(), time.process_time()
    decoded = [_decode(kind, body, spec) for kind in KINDS]
    cpu_s, peak_bytes = time.process_time() - start, _peak_bytes() - before
    most = max(expected for _, expected in decoded) + NOISE_BYTES
    assert cpu_s <= MAX_CPU_S, f"{cpu_s:.1f} s, expected at most {MAX_CPU_S}"
    assert peak_bytes <= most, f"{peak_bytes} bytes of memory, expected at most {most}"
    return Judged(tuple(outcome for outcome, _ in decoded), cpu_s, peak_bytes)


def _decode(kind: str, body: bytes, spec: ModelSpec) -> tuple[str, int]:
    """Return the outcome, and the memory that it may take."""
    expected = cost.FIXED_BYTES + BYTES_PER_BYTE * len(body)
    try:
        kind = bodies.settle_kind(kind, body)
        bodies.is_quick(kind, body)
        opened = bodies.open_body(kind, FORM_TYPE, body, spec, LIMITS)
        if isinstance(opened, requests.PictureFiles):
            expected += picture_files.estimate(opened, spec, LIMITS).peak_bytes
            opened = picture_files.read_pictures(opened, spec, LIMITS)
        images = opened.images
        assert images.dtype == np.uint8
        assert images.shape[1:] == spec.shape
    except InputError as error:
        return error.code, expected
    return "read", expected


def _peak_bytes() -> int:
    """Return the largest memory of this process since the last reset."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _reset_peak() -> None:
    if PEAK:  # elsewhere the peak never falls, and only a new highest is noticed
        os.pwrite(PEAK, b"5", 0)
