"""Write picture files."""

import io
from typing import Any

from PIL import Image


def encode(picture: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    """Return the bytes of a picture file."""
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()
