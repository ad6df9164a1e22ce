"""GIF files: the first picture, without what stands before it."""

from typing import Final

STARTS: Final = (b"GIF87a", b"GIF89a")
MAX_BLOCKS: Final = 10_000
"""Blocks of comments and other extensions, and bytes outside of them."""

_EXTENSION, _PICTURE = 0x21, 0x2C
_DISPOSAL: Final = 0x1C
_CONTROL: Final = b"\x21\xf9\4"
"""Start of the extension that holds the transparent color: eight bytes with the 0 at its end."""


def strip_metadata(data: bytes) -> bytes:
    """Return a GIF with only its transparent color between the header and the first picture.

    Pillow reads each block and each byte outside of them in Python, and two empty blocks lead it astray.
    Raises ValueError if more than MAX_BLOCKS blocks stand before the first picture.
    """
    flags = data[10] if len(data) > 10 else 0
    start = at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    control, blocks = b"", 0
    while at < len(data) and data[at] != _PICTURE:
        if data[at : at + 3] == _CONTROL and data[at + 7 : at + 8] == b"\0":
            # without its disposal method, for which Pillow would allocate another picture at once
            control = data[at : at + 3] + bytes([data[at + 3] & ~_DISPOSAL]) + data[at + 4 : at + 8]
        extension = data[at] == _EXTENSION
        at += 2 if extension else 1
        blocks += 1
        while extension and at < len(data) and data[at] and blocks <= MAX_BLOCKS:
            at += 1 + data[at]
            blocks += 1
        if blocks > MAX_BLOCKS:
            raise ValueError(f"more than {MAX_BLOCKS} blocks stand before its first picture")
        at += extension
    return data if data[start:at] == control else data[:start] + control + data[at:]
