"""PNG files: their checksums, and the chunks that decide pixels."""

import zlib
from typing import Final

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
MAX_CHUNKS: Final = 20_000
"""Encoders write the pixels in chunks of 8 KB or more; Pillow reads each chunk in Python."""
MAX_EXIF_BYTES: Final = 65_536
"""EXIF blocks up to this size are read, for the orientation; a JPEG segment cannot hold more."""


def strip_metadata(data: bytes) -> bytes:
    """Return a PNG with only the chunks that decide the pixels of its first picture, and small EXIF blocks.

    Pillow would inflate and keep the others (text, color profiles, later frames), and reject the file if one
    is large or its checksum is wrong. The checksums of the chunks that are needed are verified here, because
    Pillow ignores those of the pixels. Raises ValueError if one is wrong.
    """
    view, at, kept_until = memoryview(data), len(SIGNATURE), 0
    kept: list[memoryview] = []
    for _ in range(MAX_CHUNKS):
        if at >= len(data):
            break
        name, end = at + 4, at + 8 + int.from_bytes(view[at : at + 4])
        kind = data[name : name + 4]
        required = kind < b"a" or kind == b"tRNS"  # the names of optional chunks begin in lower case
        used = required or (kind == b"eXIf" and end - name <= MAX_EXIF_BYTES)
        intact = used and zlib.crc32(view[name:end]) == int.from_bytes(view[end : end + 4])
        if required and not intact:
            raise ValueError(f"wrong checksum at byte {end}")
        if not intact:
            kept.append(view[kept_until:at])
            kept_until = end + 4
        if kind == b"IEND":
            return b"".join((*kept, view[kept_until:])) if kept else data
        at = end + 4
    raise ValueError(f"its end is missing, or it has more than {MAX_CHUNKS} chunks")
