"""Decode picture files: the accepted formats, the size limits, the detection of damage."""

import io
from collections.abc import Callable
from typing import Final

from PIL import Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from fashion_mnist.errors import InputError
from fashion_mnist.imaging import gif, heif, jpeg, png, tiff

FORMATS: Final[tuple[str, ...]] = ("WEBP", "BMP", "GIF")
"""Formats that are decoded besides JPEG, PNG, TIFF, AVIF and HEIC; each one adds attack surface."""
ACCEPTED: Final = "PNG, JPEG, WebP, AVIF, BMP, GIF or TIFF"
MAX_SIDE_PX: Final = 30_000
"""No camera produces longer sides, and resizing a row of millions of pixels blocks the process."""

_SIGNATURES: Final = (
    (b"%PDF", 0, "PDF"),
    *((b"ftyp" + brand, 4, kind) for kind, brands in heif.BRANDS.items() for brand in brands),
    (b"II+\0", 0, "BigTIFF"),
    (b"MM\0+", 0, "BigTIFF"),
    (b"\0\0\1\0", 0, "ICO"),
    (b"8BPS", 0, "Photoshop"),
    (b"\xff\x0a", 0, "JPEG XL"),
    (b"\0\0\0\x0cJXL ", 0, "JPEG XL"),
    (b"\0\0\0\x0cjP  ", 0, "JPEG 2000"),
)

_STARTS: Final = (png.SIGNATURE, jpeg.START, b"RIFF", b"BM", b"GIF8", *tiff.ORDERS)


Check = Callable[[], None]
"""Called now and then during decoding; what it raises abandons the picture."""


def decode(data: bytes, max_pixels: int, enough: tuple[int, int], check: Check | None = None) -> Image.Image:
    """Return the first frame of a picture file, of any size and mode.

    enough: width and height; a larger JPEG may come back scaled down, but not below this.
    check: called whenever Pillow reads another part of the file.
    Raises InputError: broken_picture, too_many_pixels, unsupported_picture_format.
    """
    try:
        picture = open_picture(data, max_pixels, check)
        if isinstance(picture, JpegImageFile):
            jpeg.prepare(picture, data, enough)
        picture.load()
        if picture.format == "BMP" and picture.mode == "RGBA" and not picture.getchannel("A").getbbox():
            picture = picture.convert("RGB")  # written by a program that leaves the fourth byte at 0
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
        if check is not None:
            check()  # raises again what has abandoned the picture
        # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, … on damaged files
        raise _broken(str(error)) from error
    return picture


def count_pixels(data: bytes) -> int:
    """Return width times height, read from the header alone; 0 if it cannot be read."""
    # without Pillow: ten times as fast
    if data[:8] == png.SIGNATURE and data[12:16] == b"IHDR" and data.count(b"IHDR") == 1:
        return int.from_bytes(data[16:20]) * int.from_bytes(data[20:24])
    try:
        picture = open_picture(data, MAX_SIDE_PX**2)
        return picture.width * picture.height
    except Exception:  # noqa: BLE001 - `decode` reports what is wrong
        return 0


def is_picture(data: bytes) -> bool:
    """Return whether bytes begin like a picture file, of an accepted format or another; text never does."""
    head = data[:16]
    if b"\0" not in head:  # text may begin with BM
        return False
    return head.startswith(_STARTS) or any(head[at:].startswith(magic) for magic, at, _ in _SIGNATURES)


def open_picture(data: bytes, max_pixels: int, check: Check | None = None) -> Image.Image:
    """Open a picture of an accepted size, without what is not needed to decode it.

    check: see `decode`. Raises InputError, and whatever Pillow raises on damaged files.
    """
    if data[:2] == b"BM" and data[14:15] != b"\x0c":  # the header of OS/2, of twelve bytes, has neither field
        if data[21:22] >= b"\x80":
            raise _broken("its width is negative")  # Pillow reads it as billions of pixels
        if data[28:29] <= b"\x08" and int.from_bytes(data[46:50], "little") > 256:
            raise _broken("its palette has more than 256 colors")  # 13 ms for 65,536, in a file of 200 bytes
    if data[:4] in tiff.ORDERS:
        return tiff.open_page(data, lambda size: _check_size(size, max_pixels))
    if data.startswith(jpeg.START):
        # not by Image.open, which looks for the other pictures of an MPO file
        jpeg.check_head(data)
        picture: Image.Image = JpegImageFile(_file(data, check))
    elif data.startswith(png.SIGNATURE):
        picture = PngImageFile(_file(png.strip_metadata(data), check))  # faster than Image.open
    else:
        if data.startswith(gif.STARTS):
            data = gif.strip_metadata(data)
        formats = FORMATS
        if data[4:8] == b"ftyp" and (kind := heif.find_kind(data)) is not None:
            if (name := heif.register(kind)) is None:
                raise _unidentified(data)
            formats = (name,)
        try:
            picture = Image.open(_file(data, check), formats=formats)
        except UnidentifiedImageError as error:
            raise (error if formats is FORMATS else _broken("its header cannot be read")) from None
    if picture.mode == "P" and picture.palette is None:  # which Pillow only asserts
        raise _broken("its palette is missing")
    _check_size(picture.size, max_pixels)
    return picture


class _CheckedFile(io.BytesIO):
    """A file in memory; calls `check` before each read."""

    def __init__(self, data: bytes, check: Check) -> None:
        super().__init__(data)
        self.check = check

    def read(self, size: int | None = -1, /) -> bytes:
        self.check()
        return super().read(size)


def _file(data: bytes, check: Check | None) -> io.BytesIO:
    return io.BytesIO(data) if check is None else _CheckedFile(data, check)


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
    name = next((n for magic, at, n in _SIGNATURES if data[at : at + len(magic)] == magic), None)
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith(b"<svg") or (head.startswith(b"<?xml") and b"<svg" in head):
        name = "SVG"
    if name:
        return InputError(
            "unsupported_picture_format",
            f"{name} pictures are not supported; convert this one to {ACCEPTED}",
        )
    return InputError("broken_picture", f"the body is not a picture; send a {ACCEPTED} file")
