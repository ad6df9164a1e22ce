"""TIFF files: the first page, without metadata."""

import contextlib
import ctypes
import functools
import io
import math
import struct
from collections.abc import Callable
from typing import Final, NamedTuple

from PIL import _imaging
from PIL.TiffImagePlugin import TiffImageFile

from fashion_mnist.errors import InputError

ORDERS: Final = {b"II*\0": "<", b"MM\0*": ">"}
"""How a file starts -> its byte order, as in the module struct."""
COMPRESSIONS: Final = {1, 2, 3, 4, 5, 7, 8, 32773, 32946}
"""None, CCITT, LZW, JPEG, deflate, PackBits. Pillow knows more, but each one adds attack surface."""
DEPTHS: Final = {1, 2, 4, 8, 16}
"""Bits per sample. Pillow would clip 32-bit and floating-point values to 0..255."""
MAX_SAMPLES: Final = 6
MAX_PIECES: Final = 40_000
"""Strips or tiles of a page. Pillow takes 16 microseconds for each, however small it is."""

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, SAMPLES, SAMPLE_FORMAT = 256, 257, 258, 259, 262, 277, 339
STRIPS, STRIP_HEIGHT, PLANES, TILE_WIDTH, TILE_HEIGHT, TILES = 273, 278, 284, 322, 323, 324
LAB: Final = 8
OTHERS: Final = {266, 274, 279, 292, 293, 317, 320, 325, 338, 347, 529, 530, 531, 532}
"""Orientation, palette, kind of alpha, and how the pixels are coded."""
_NEEDED: Final = OTHERS | {
    *(WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, SAMPLES, SAMPLE_FORMAT),
    *(STRIPS, STRIP_HEIGHT, PLANES, TILE_WIDTH, TILE_HEIGHT, TILES),
}
_TYPES: Final = {1: "B", 3: "H", 4: "L", 5: "Q", 7: "B"}
"""Type of an entry -> format of one value, as in the module struct."""


class Entry(NamedTuple):
    """An entry of the directory: its twelve bytes, how many values it has, the first of them."""

    raw: bytes
    length: int
    first: int


def open_page(data: bytes, check_size: Callable[[tuple[int, int]], None]) -> TiffImageFile:
    """Open the first page, with only those entries of its directory that decide pixels.

    Pillow would read all metadata, and paint black what missing strips leave out. check_size: is given the
    width and height of the page, and of its tiles. Raises ValueError if the directory is damaged, InputError
    unsupported_picture_format if the page is of a kind that is not decoded.
    """
    order = ORDERS[data[:4]]
    (start,) = _unpack(f"{order}L", data, 4)
    entries = _read_entries(data, order, start)
    first = {tag: entry.first for tag, entry in entries.items()}
    size = first.get(WIDTH, 0), first.get(HEIGHT, 0)
    tile = size[0], min(size[1], first.get(STRIP_HEIGHT, size[1]))
    if TILE_WIDTH in first:
        tile = first[TILE_WIDTH], first.get(TILE_HEIGHT, 0)
    check_size(size)
    check_size(tile)
    planes = first.get(SAMPLES, 1) if first.get(PLANES) == 2 else 1
    expected = math.ceil(size[0] / tile[0]) * math.ceil(size[1] / tile[1]) * planes
    found = entries[TILES].length if TILES in entries else entries[STRIPS].length if STRIPS in entries else 0
    if found != expected or found > MAX_PIECES:
        raise ValueError(f"it has {found} strips or tiles, expected {expected}, at most {MAX_PIECES}")
    _check_kind(first)
    _silence_libtiff()
    directory = struct.pack(f"{order}H", len(entries)) + b"".join(e.raw for e in entries.values()) + bytes(4)
    try:
        return TiffImageFile(io.BytesIO(data[:start] + directory + data[start + len(directory) :]))
    except SyntaxError as error:
        raise _unsupported(first) from error


def _read_entries(data: bytes, order: str, start: int) -> dict[int, Entry]:
    """Return the entries that decide pixels, by tag. Raises ValueError if one is cut off."""
    end = start + 2 + 12 * _unpack(f"{order}H", data, start)[0]
    if end > len(data):
        raise ValueError("its directory is cut off")
    entries: dict[int, Entry] = {}
    for at in range(start + 2, end, 12):
        tag, kind, count = _unpack(f"{order}HHL", data, at)
        if tag not in _NEEDED or tag in entries:
            continue
        form = order + _TYPES.get(kind, "")
        size = struct.calcsize(form) * count
        place = at + 8 if size <= 4 else _unpack(f"{order}L", data, at + 8)[0]
        if not size or place + size > len(data):
            raise ValueError(f"entry {tag} of its directory is damaged")
        entries[tag] = Entry(data[at : at + 12], count, _unpack(form, data, place)[0])
    entries.pop(STRIPS if TILE_WIDTH in entries else TILES, None)  # Pillow prefers strips, libtiff tiles
    return entries


def _check_kind(first: dict[int, int]) -> None:
    """Reject what Pillow would decode to wrong values, or not at all. first: tag -> first value."""
    bits, photometric = first.get(BITS, 1), first.get(PHOTOMETRIC)
    plain = bits in DEPTHS and first.get(SAMPLE_FORMAT, 1) == 1 and first.get(SAMPLES, 1) <= MAX_SAMPLES
    inverted = bits == 16 and photometric == 0
    if not plain or inverted or photometric == LAB or first.get(COMPRESSION, 1) not in COMPRESSIONS:
        raise _unsupported(first)


def _unsupported(first: dict[int, int]) -> InputError:
    kind = (
        f"{first.get(SAMPLES, 1)} x {first.get(BITS, 1)} bits, compression {first.get(COMPRESSION, 1)}, "
        f"photometric interpretation {first.get(PHOTOMETRIC)}, sample format {first.get(SAMPLE_FORMAT, 1)}"
    )
    return InputError(
        "unsupported_picture_format",
        f"TIFF pictures of this kind are not supported ({kind}); convert this one to 8 bits, or to PNG",
    )


@functools.cache
def _silence_libtiff() -> None:
    """Keep libtiff from printing a line to stderr for every damaged row."""
    with contextlib.suppress(AttributeError, OSError):  # where Pillow is linked in another way, it prints
        ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)


def _unpack(form: str, data: bytes, at: int) -> tuple[int, ...]:
    try:
        return struct.unpack_from(form, data, at)
    except struct.error as error:
        raise ValueError("its directory is cut off") from error
