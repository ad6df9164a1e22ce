"""Bad inputs that are files: NumPy arrays and pictures, each with the answer that is expected."""

import io
import struct
import zipfile
import zlib
from typing import Any, Final

import numpy as np
from bad_inputs import TEXT, typed
from PIL import Image
from support.pictures import encode
from support.requests import PNG, npy, npz


def _flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


def _header(text: str, values: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    """Return a .npy file with any header."""
    size = struct.pack("<H" if version[0] == 1 else "<I", len(text) + 1)
    return b"\x93NUMPY" + bytes(version) + size + text.encode() + b"\n" + values


def _described(descr: str, shape: str, values: bytes = b"") -> bytes:
    return _header(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}", values)


def _zip(name: str, content: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr(name, content)
    return file.getvalue()


def _object_array() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return file.getvalue()


BOOTS: Final = np.full((2, 28, 28), 9, np.uint8)
SHORT_ZIP: Final = npz(BOOTS)

NPY: Final = typed(
    "application/x-npy",
    [
        (b"", "400 broken_npy", "not a .npy file"),
        (b"\x93NUMPY", "400 broken_npy", "not a .npy file"),
        (PNG, "400 broken_npy", "not a .npy file"),
        (b"\x93NUMPY\x09\x00" + npy(BOOTS)[8:], "400 broken_npy", "not a .npy file"),
        (_header("{'descr': '|u1'}"), "400 broken_npy", "not a .npy file"),
        (_header("__import__('os').system('true')"), "400 broken_npy", "not a .npy file"),
        (_header("[" * 200), "400 broken_npy", "not a .npy file"),
        (_header("{" + " " * 9_000 + "}", version=(2, 0)), "400 broken_npy", "not a .npy file"),
        (_described("'|u1'", "(-1, 784)"), "400 broken_npy", "invalid shape"),
        (_described("'|u1'", "(True, 784)", bytes(784)), "400 broken_npy", "invalid shape"),
        (_described("'|u1'", "(10**9,)"), "400 broken_npy", "not a .npy file"),
        (_described("'|u1'", "(1000000000, 28, 28)"), "400 broken_npy", "header says 784000000000"),
        (_described("'|u1'", f"({2**63}, {2**63})"), "400 broken_npy", "its header says"),
        (_described("'|u1'", f"(0, {10**23})"), "400 broken_npy", "invalid shape"),
        (_described("'|u1'", "(1,1,1,1,1,1,1,28,28)", bytes(784)), "400 broken_npy", "invalid shape"),
        (npy(BOOTS)[:-1], "400 broken_npy", "send the whole file"),
        (npy(BOOTS) + b"\0", "400 broken_npy", "1569 bytes of values"),
        (_object_array(), "422 wrong_dtype", "the array is object"),
        (npy(np.full((28, 28), "9")), "422 wrong_dtype", "<U1"),
        (npy(np.zeros((28, 28), bool)), "422 wrong_dtype", "bool"),
        (npy(np.zeros((28, 28), np.complex64)), "422 wrong_dtype", "complex64"),
        (npy(np.zeros((28, 28), "M8[s]")), "422 wrong_dtype", "datetime64"),
        (npy(np.zeros(28, [("a", "u1")])), "422 wrong_dtype", "'a'"),
        (_described("'V0'", "(28, 28)"), "422 wrong_dtype", "the array is"),
        (npy(np.array(9, np.uint8)), "422 wrong_shape", "a single number"),
        (npy(np.asfortranarray(np.ones((27, 28), np.uint8))), "422 wrong_shape", "27 x 28"),
        (npy(np.zeros((2, 28, 29), np.uint8)), "422 wrong_shape", "2 x 28 x 29"),
        (npy(np.zeros((2, 3, 28, 28), np.uint8)), "422 wrong_shape", "2 x 3 x 28 x 28"),
        (npy(np.zeros(783, np.uint8)), "422 wrong_pixel_count", "783 pixels"),
        (npy(np.zeros((2, 785), np.uint8)), "422 wrong_pixel_count", "still hold its label"),
        (npy(np.zeros((0, 28, 28), np.uint8)), "422 empty_batch", "empty"),
        (npy(np.zeros((21, 784), np.uint8)), "413 too_many_images", "21 images"),
        (npy(np.full((28, 28), np.nan)), "422 pixel_out_of_range", "pixel 0 is nan"),
        (npy(np.full((28, 28), -np.inf)), "422 pixel_out_of_range", "pixel 0 is -inf"),
        (npy(np.full((28, 28), 300, np.int32)), "422 pixel_out_of_range", "pixel 0 is 300"),
        (npy(np.full((28, 28), -1, ">i8")), "422 pixel_out_of_range", "pixel 0 is -1"),
        (npy(np.full((28, 28), 9.5, np.float16)), "422 pixel_not_integer", "9.5"),
        (npy(np.full((28, 28), 0.5)), "422 pixels_scaled", "multiply by 255"),
        (b"PK", "400 broken_npy", "not a .npz file"),
        (SHORT_ZIP[:-30], "400 broken_npy", "not a .npz file"),
        (_flip(SHORT_ZIP, 90), "400 broken_npy", "not a .npz file"),
        (_zip("a.npy", bytes(100_000_000)), "413 body_too_large", "unpacks to 100000000 bytes"),
        (_zip("a.npy", npy(BOOTS), zipfile.ZIP_LZMA), "400 broken_npy", "neither stored nor deflated"),
        (_zip("a.npy", _object_array()), "422 wrong_dtype", "the array is object"),
        (_zip("a.npy", _zip("a.npy", npy(BOOTS))), "400 broken_npy", "not a .npy file"),
        (_zip("../../etc/a.npy", b"no array"), "400 broken_npy", "not a .npy file"),
        (npz(BOOTS, BOOTS), "422 wrong_shape", "holds 2 arrays"),
        (npz(*[BOOTS] * 9), "422 wrong_shape", "holds many arrays"),
        (npz(), "422 wrong_shape", "holds 0 arrays"),
    ],
)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width: int, height: int, rows: bytes = b"", *more: bytes, depth: int = 8, color: int = 0) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    chunks = (_chunk(b"IHDR", head), *more, _chunk(b"IDAT", zlib.compress(rows)), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _gray(form: str, **options: Any) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    return encode(Image.fromarray(noise), form, **options)


_JPEG, _WEBP, _GIF, _BMP = _gray("JPEG"), _gray("WEBP", lossless=True), _gray("GIF"), _gray("BMP")
_TIFF = _gray("TIFF", compression="tiff_deflate")
_BOMB = _png(50_000, 50_000, bytes(1_000_000))
HEIC: Final = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"

PICTURES: Final = [
    *typed(
        "image/png",
        [
            (b"", "400 broken_picture", "the body is empty"),
            (b"\0", "400 broken_picture", "not a picture"),
            (b"hello", "400 broken_picture", "not a picture"),
            (b"<html><body>404</body></html>", "400 broken_picture", "not a picture"),
            (TEXT.encode(), "400 broken_picture", "not a picture"),
            (PNG[:8], "400 broken_picture", "picture"),
            (PNG[:40], "400 broken_picture", "truncated or damaged"),
            (PNG[: len(PNG) // 2], "400 broken_picture", "truncated or damaged"),
            (_flip(PNG, len(PNG) // 2), "400 broken_picture", "truncated or damaged"),
            (b"\n" + PNG, "400 broken_picture", "not a picture"),
            (PNG.replace(b"\r\n", b"\n"), "400 broken_picture", "not a picture"),
            (_png(0, 0), "400 broken_picture", "picture"),
            (_png(0, 28), "400 broken_picture", "picture"),
            (_png(28, 28), "400 broken_picture", "truncated or damaged"),
            (_png(28, 28, bytes(29 * 28), depth=3), "400 broken_picture", "picture"),
            (_png(28, 28, bytes(29 * 28), color=5), "400 broken_picture", "picture"),
            (_png(1001, 1000), "413 too_many_pixels", "1001 x 1000 = 1001000 pixels"),
            (_png(30_001, 1), "413 too_many_pixels", "30000 per side"),
            (_png(2**31 - 1, 2**31 - 1), "413 too_many_pixels", "pixels"),
            (_BOMB, "413 too_many_pixels", "pixels"),
        ],
    ),
    *typed(
        "application/octet-stream",
        [
            (_JPEG[:2], "400 broken_picture", "picture"),
            (_JPEG[:200], "400 broken_picture", "truncated or damaged"),
            (_JPEG[:-200], "400 broken_picture", "truncated or damaged"),
            (_WEBP[:100], "400 broken_picture", "picture"),
            (_WEBP[:20] + b"\xff" * 60 + _WEBP[80:], "400 broken_picture", "picture"),
            (_GIF[:900], "400 broken_picture", "truncated or damaged"),
            (_GIF[:6] + b"\xff" * 4 + _GIF[10:], "413 too_many_pixels", "far too many pixels"),
            (_BMP[:60], "400 broken_picture", "truncated or damaged"),
            (_BMP[:18] + b"\xff\xff\xff\x7f" * 2 + _BMP[26:], "413 too_many_pixels", "pixels"),
            (_TIFF[:8], "400 broken_picture", "picture"),
            (_TIFF[:100], "400 broken_picture", "picture"),
            (_TIFF[:4] + b"\xff" * 4 + _TIFF[8:], "400 broken_picture", "picture"),
            (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "415 unsupported_picture_format", "SVG"),
            (b"<?xml version='1.0'?><svg/>", "415 unsupported_picture_format", "SVG"),
            (b"%PDF-1.7\n", "415 unsupported_picture_format", "PDF"),
            (HEIC, "415 unsupported_picture_format", "HEIC"),
            (HEIC.replace(b"heic", b"avif"), "400 broken_picture", "its header cannot be read"),
            (b"\0\0\1\0\1\0\x10\x10", "415 unsupported_picture_format", "ICO"),
            (b"8BPS\0\1", "415 unsupported_picture_format", "Photoshop"),
            (b"\xff\x0a\0\0", "415 unsupported_picture_format", "JPEG XL"),
            (b"II+\0\x08\0\0\0", "415 unsupported_picture_format", "BigTIFF"),
            (b"MZ\x90\0" + bytes(60), "400 broken_picture", "not a picture"),
        ],
    ),
]
