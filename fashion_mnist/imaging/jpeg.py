"""JPEG files: scans that end early or are missing, which libjpeg silently paints gray."""

import io
import re
from typing import Final

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

START: Final = b"\xff\xd8\xff"
START_OF_SCAN: Final = b"\xff\xda"
END: Final = b"\xff\xd9"
BLOCK_PIXELS: Final = 64
MAX_SCANS: Final = 30
"""Encoders write about ten. Each scan takes a pass over all pixels, however few bytes it has."""
MAX_MARKERS: Final = 1000
MAX_BETWEEN_BYTES: Final = 65_536

_SEGMENT: Final = re.compile(rb"\xff[\xc0-\xc7\xc9-\xcf\xda-\xef\xfe]")
"""The markers that Pillow takes for the start of a segment; it skips the others."""

_MARKER: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""Among pixels, FF is followed by 00 or a restart marker; any other marker ends the scan."""
_FILL: Final = b"\xff" * 4096
"""Part of a run that libjpeg, given a file in parts, would read again with each part: 32 MB took 6 s."""
_FILLER: Final = b"\xff\0" * 8
"""libjpeg reads up to eight bytes ahead. These are all ones, which stand for no code in any picture."""


def check_head(data: bytes) -> None:
    """Raise ValueError if more stands before the first scan than Pillow can read in milliseconds.

    Pillow reads each segment in Python and keeps it: 32 MB of tiny ones took 14 s and 740 MB. Bytes outside
    of segments it reads one by one: 32 MB of them took 13 s.
    """
    at, left = 2, MAX_BETWEEN_BYTES
    for _ in range(MAX_MARKERS):
        marker = _SEGMENT.search(data, at, at + left + 2)
        left -= (marker.start() if marker else len(data)) - at
        if left < 0:
            raise ValueError(f"it has more than {MAX_BETWEEN_BYTES} bytes outside of its segments")
        if not marker or marker[0] == START_OF_SCAN:
            return
        at = marker.start() + 2 + max(2, int.from_bytes(data[marker.end() : marker.end() + 2]))
    raise ValueError(f"it has more than {MAX_MARKERS} markers")


def prepare(picture: JpegImageFile, data: bytes, enough: tuple[int, int]) -> None:
    """Let a picture just opened be loaded at a size not below `enough`, or fail to load if a scan is cut off.

    At its end marker libjpeg paints the rest of a scan gray; without the marker it waits for the rest.
    Raises ValueError.
    """
    if picture.width * picture.height > len(data) * 8 * BLOCK_PIXELS:  # a block takes at least a bit
        raise ValueError(f"{len(data)} bytes cannot hold {picture.width} x {picture.height} pixels")
    if _FILL in data:
        raise ValueError("a marker is preceded by thousands of fill bytes")
    assert picture.fp is not None
    scans, end = _find_scans(data, picture.fp.tell())
    picture.draft(None, enough)
    if "progressive" in picture.info or len(scans) > 1:
        if end < 0:
            raise ValueError("its end is missing")
        _check_scans(picture, data, scans)
        _load_scans(picture, data[:end], scans[-1])
    elif end >= 0:
        picture.fp = io.BytesIO(data[:end] + _FILLER)


def _find_scans(data: bytes, start: int) -> tuple[list[int], int]:
    """Return where each scan starts, and the end marker, -1 if there is none. start: of the first pixels."""
    scans, at = [data.rfind(START_OF_SCAN, 0, start)], start
    for _ in range(MAX_MARKERS):
        marker = _MARKER.search(data, at)
        if not marker:
            return scans, -1
        at = marker.start()
        if marker[0] == END:
            return scans, at
        if marker[0] == START_OF_SCAN:
            scans.append(at)
        if len(scans) > MAX_SCANS:
            break
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    raise ValueError(f"it has more than {MAX_SCANS} scans or {MAX_MARKERS} markers")


def _check_scans(picture: JpegImageFile, data: bytes, scans: list[int]) -> None:
    """Check that the scans bring every coefficient of every component to its last bit."""
    missing = {(component[0], k) for component in picture.layer for k in range(BLOCK_PIXELS)}
    for at in scans:
        spectrum = at + 5 + 2 * data[at + 4]
        components = data[at + 5 : spectrum : 2]
        first, last, bits = data[spectrum : spectrum + 3]
        if bits & 15 == 0:
            missing -= {(component, k) for component in components for k in range(first, last + 1)}
    if missing:
        raise ValueError("scans are missing")


def _load_scans(picture: JpegImageFile, data: bytes, last_scan: int) -> None:
    """Decode a picture of several scans. data: all before the end marker.

    Behind a scan libjpeg takes whatever it is given, in search of a marker. Within one it leaves bytes that
    do not complete a block, or come before the next restart marker. If it leaves any, the scan is cut off.
    """
    restarts = sum(data.count(b"\xff%c" % code, last_scan) for code in range(0xD0, 0xD8))
    picture.load_prepare()
    codec, extents, _, args = picture.tile[0]
    decoder = Image._getdecoder(picture.mode, codec, args, picture.decoderconfig)
    try:
        decoder.setimage(picture.im, extents)
        for part in (data + _FILLER, _FILLER[:2], b"\xff%c\xff\0" % (0xD0 + restarts % 8)):
            if decoder.decode(part)[0] < len(part):
                raise ValueError("its last scan is cut off")
        if decoder.decode(END)[0] >= 0:
            raise ValueError("its scans cannot be decoded")
    finally:
        decoder.cleanup()
    picture.tile = []
