"""HEIC and AVIF files: which of the two a file is, and the libraries that decode them, loaded when needed."""

import functools
import importlib
from typing import Final

from PIL import AvifImagePlugin, features

BRANDS: Final = {
    "AVIF": (b"avif", b"avis"),
    "HEIC": (b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1"),
}
"""Brands at the start of a file, by format; AVIF files may also have those of HEIC."""


def find_kind(data: bytes) -> str | None:
    """Return the format of a file that starts with its brands, a key of BRANDS, or None."""
    end = min(int.from_bytes(data[:4]), 256)
    found = {data[8:12], *(data[at : at + 4] for at in range(16, end, 4))}
    return next((kind for kind, brands in BRANDS.items() if found.intersection(brands)), None)


@functools.cache
def register(kind: str) -> str | None:
    """Make Pillow open files of this kind; return its name for them, None if their library is not installed.

    Only the picture itself is decoded, in one thread: the budgets of the service count CPU time.
    """
    if kind == "AVIF":
        if not features.check("avif"):
            return None
        AvifImagePlugin.DEFAULT_MAX_THREADS = 1
        return "AVIF"
    try:
        library = importlib.import_module("pillow_heif")
    except ImportError:  # the extra `heic`
        return None
    library.register_heif_opener(decode_threads=1, thumbnails=False, depth_images=False, aux_images=False)
    return "HEIF"
