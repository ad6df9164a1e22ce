"""HEIC and AVIF files: which of the two a file is, and the libraries that decode them, loaded when needed."""

import functools
import importlib

from PIL import AvifImagePlugin, features


def find_kind(data: bytes) -> str | None:
    """Return Pillow's name for the format, AVIF or HEIF, of a file that starts with its brands, or None."""
    end = min(int.from_bytes(data[:4]), 256)
    brands = {data[8:12], *(data[at : at + 4] for at in range(16, end, 4))}
    if brands & {b"avif", b"avis"}:
        return "AVIF"
    return "HEIF" if brands & {b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1"} else None


@functools.cache
def register(kind: str) -> bool:
    """Make Pillow open files of this kind; return False if the library for it is not installed.

    Only the picture itself is decoded, in one thread: the budgets of the service count CPU time.
    """
    if kind == "AVIF":
        if not features.check("avif"):
            return False
        AvifImagePlugin.DEFAULT_MAX_THREADS = 1
        return True
    try:
        library = importlib.import_module("pillow_heif")
    except ImportError:  # the extra `heic`
        return False
    library.register_heif_opener(decode_threads=1, thumbnails=False, depth_images=False, aux_images=False)
    return True
