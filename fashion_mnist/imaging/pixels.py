"""The only path from a picture file to the pixels of a model's input.

Training, service and benchmarks share it, so that a picture gives the same pixels everywhere.
"""

import contextlib
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from fashion_mnist.imaging import decoder
from fashion_mnist.imaging.decoder import Check
from fashion_mnist.spec import ModelSpec

MAX_PIXELS: Final = 40_000_000
BACKGROUND: Final = 0
"""Pixel value of letterbox borders and transparent areas: black, as in Fashion-MNIST."""


def enough_for(spec: ModelSpec) -> tuple[int, int]:
    """Return width and height to which a large JPEG may be scaled down while it is decoded."""
    return spec.width * 2, spec.height * 2


def read_picture(
    data: bytes, spec: ModelSpec, max_pixels: int = MAX_PIXELS, check: Check | None = None
) -> NDArray[np.uint8]:
    """Decode a picture of any size and mode to one image of the model's shape.

    A picture of the model's own shape comes back pixel for pixel. Any other is converted to gray if the
    model is gray, resized and letterboxed. An animation gives its first frame; EXIF orientation is applied.
    check: called now and then; what it raises abandons the picture.
    Returns uint8 (H, W) or (H, W, 3). Raises InputError: broken_picture, too_many_pixels,
    unsupported_picture_format.
    """
    picture = decoder.decode(data, max_pixels, enough_for(spec), check)
    if check is not None:
        check()
    return _to_spec(picture, spec)


def _to_spec(picture: Image.Image, spec: ModelSpec) -> NDArray[np.uint8]:
    with contextlib.suppress(Exception):  # a damaged EXIF block is no reason to reject the picture
        ImageOps.exif_transpose(picture, in_place=True)
    picture = _to_mode(picture, "L" if spec.channels == 1 else "RGB")
    target = (spec.width, spec.height)
    if picture.size != target:
        scale = min(target[0] / picture.width, target[1] / picture.height)
        # at least one pixel, or a sliver would vanish
        inner = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        picture = picture.resize(inner, Image.Resampling.LANCZOS)
        picture = ImageOps.pad(picture, target, color=BACKGROUND) if inner != target else picture
    return np.asarray(picture, np.uint8)


def _to_mode(picture: Image.Image, mode: str) -> Image.Image:
    """Convert any mode to L or RGB: transparent areas become background, 16 bits become 8."""
    if picture.mode.startswith("I"):  # 16 bits: 65535 -> 255; in integers, to save memory at 40 megapixels
        deep = np.asarray(picture).astype(np.uint16)
        picture = Image.fromarray((deep >> 8).astype(np.uint8))
    if picture.has_transparency_data:
        straight = "LA" if picture.mode == "La" else "RGBA"
        layer = picture if picture.mode in ("LA", "RGBA") else picture.convert(straight)
        # pasted, not composited: at 40 megapixels, each copy with an alpha channel takes 160 MB
        picture = Image.new(mode, layer.size, "black")
        picture.paste(layer.convert(mode), mask=layer.getchannel("A"))
    return picture if picture.mode == mode else picture.convert(mode)
