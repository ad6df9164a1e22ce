"""Decode picture files: the accepted formats, the size limits, the detection of damage."""

import io
import zlib
from typing import Final

from PIL import Image, UnidentifiedImageError

from fashion_mnist.errors import InputError

FORMATS: Final = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
"""Formats that are decoded. Pillow knows many more, but each one adds attack surface."""
MAX_SIDE_PX: Final = 30_000
"""No camera produces longer sides, and resizing a row of millions of pixels blocks the process."""
JPEG_START_OF_SCAN: Final = b"\xff\xda"
JPEG_END: Final = b"\xff\xd9"
JPEG_BLOCK_PIXELS: Final = 64
PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"

_SIGNATURES: Final = (
    (b"%PDF", 0, "PDF"),
    (b"ftypheic", 4, "HEIC"),
    (b"ftypheix", 4, "HEIC"),
    (b"ftypmif1", 4, "HEIC"),
    (b"ftypmsf1", 4, "HEIC"),
    (b"ftypavif", 4, "AVIF"),
    (b"II*\0", 0, "TIFF"),
    (b"MM\0*", 0, "TIFF"),
    (b"\0\0\1\0", 0, "ICO"),
    (b"8BPS", 0, "Photoshop"),
    (b"\xff\x0a", 0, "JPEG XL"),
    (b"\0\0\0\x0cJXL ", 0, "JPEG XL"),
    (b"\0\0\0\x0cjP  ", 0, "JPEG 2000"),
)


def decode(data: bytes, max_pixels: int, enough: tuple[int, int]) -> Image.Image:
    """Return the first frame of a picture file, of any size and mode.

    enough: width and height; a larger JPEG may come back scaled down, but not below this.
    Raises InputError: broken_picture, too_many_pixels, unsupported_picture_format.
    """
    try:
        picture = _open(data, max_pixels)
        if picture.format == "JPEG":
            picture.draft(None, enough)
        picture.load()
    except InputError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        # Pillow's own limit, checked before it allocates memory
        raise InputError(
            "too_many_pixels",
            f"the picture has far too many pixels, at most {max_pixels} are accepted; send a smaller one",
        ) from error
    except UnidentifiedImageError as error:
        raise _unidentified(data) from error
    except Exception as error:
        # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, … on damaged files
        raise _broken(str(error)) from error
    return picture


def count_pixels(data: bytes) -> int:
    """Return width times height, read from the header alone; 0 if it cannot be read."""
    # without Pillow: ten times as fast
    if data[:8] == PNG_SIGNATURE and data[12:16] == b"IHDR" and data.count(b"IHDR") == 1:
        return int.from_bytes(data[16:20]) * int.from_bytes(data[20:24])
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            return picture.width * picture.height
    except Exception:  # noqa: BLE001 - `decode` reports what is wrong
        return 0


def _open(data: bytes, max_pixels: int) -> Image.Image:
    """Open a picture of an accepted size, and reject damage that Pillow would ignore."""
    if data[:2] == b"BM" and data[14:15] != b"\x0c" and data[21:22] >= b"\x80":
        raise _broken("its width is negative")  # Pillow reads it as billions of pixels
    file = io.BytesIO(data)
    picture = Image.open(file, formats=FORMATS)
    _check_size(picture.size, max_pixels)
    if picture.format == "PNG":
        _check_png(data)
    elif picture.format == "JPEG":
        if picture.width * picture.height > len(data) * 8 * JPEG_BLOCK_PIXELS:  # a block takes at least a bit
            raise _broken(f"{len(data)} bytes cannot hold {picture.width} x {picture.height} pixels")
        start = file.tell()
        end = data.find(JPEG_END, start)
        one_scan = "progressive" not in picture.info and data.find(JPEG_START_OF_SCAN, start, end) < 0
        if end >= 0 and one_scan:
            # If a scan ends early, libjpeg silently paints the rest gray; without the end marker, Pillow
            # reports the file as truncated. If the scan is whole, the zeros complete its last byte.
            picture.fp = io.BytesIO(data[:end] + bytes(16))
    return picture


def _check_png(data: bytes) -> None:
    """Verify the checksum of each chunk; decoding ignores those of the pixels."""
    view, at = memoryview(data), len(PNG_SIGNATURE)
    while at < len(data):
        name, end = at + 4, at + 8 + int.from_bytes(view[at : at + 4])
        if zlib.crc32(view[name:end]) != int.from_bytes(view[end : end + 4]):
            raise _broken(f"wrong checksum at byte {end}")
        if data[name : name + 4] == b"IEND":
            return
        at = end + 4
    raise _broken("its end is missing")


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise InputError("broken_picture", f"the picture is empty: {width} x {height} pixels")
    if max(size) > MAX_SIDE_PX:
        raise InputError(
            "too_many_pixels",
            f"the picture has {width} x {height} pixels, at most {MAX_SIDE_PX} per side "
            "are accepted; send a smaller one",
        )
    if width * height > max_pixels:
        raise InputError(
            "too_many_pixels",
            f"the picture has {width} x {height} = {width * height} pixels, at most {max_pixels} "
            "are accepted; send a smaller one",
        )


def _broken(why: str) -> InputError:
    return InputError("broken_picture", f"the picture is truncated or damaged ({why}); send the whole file")


def _unidentified(data: bytes) -> InputError:
    """Return the error for bytes in no accepted format: another picture format, or not a picture."""
    if not data:
        return InputError("broken_picture", "the body is empty; send the bytes of a picture")
    accepted = "PNG, JPEG, WebP, BMP or GIF"
    name = next((n for magic, at, n in _SIGNATURES if data[at : at + len(magic)] == magic), None)
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith(b"<svg") or (head.startswith(b"<?xml") and b"<svg" in head):
        name = "SVG"
    if name:
        return InputError(
            "unsupported_picture_format",
            f"{name} pictures are not supported; convert this one to {accepted}",
        )
    return InputError("broken_picture", f"the body is not a picture; send a {accepted} file")
