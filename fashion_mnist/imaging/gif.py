"""GIF files: a limit on what stands before the first picture."""

from typing import Final

STARTS: Final = (b"GIF87a", b"GIF89a")
MAX_BLOCKS: Final = 10_000
"""Blocks of comments and other extensions; Pillow reads each in Python."""

_EXTENSION: Final = 0x21


def check_head(data: bytes) -> None:
    """Raise ValueError if more than MAX_BLOCKS blocks stand before the first picture."""
    flags = data[10] if len(data) > 10 else 0
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    blocks = 0
    while at + 2 < len(data) and data[at] == _EXTENSION:
        at += 2
        while at < len(data) and data[at]:
            at += 1 + data[at]
            blocks += 1
            if blocks > MAX_BLOCKS:
                raise ValueError(f"more than {MAX_BLOCKS} blocks stand before its first picture")
        at += 1
