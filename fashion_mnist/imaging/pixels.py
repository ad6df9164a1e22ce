"""The only path from a picture file to the pixels of a model's input.

Training, service and benchmarks share it, so that a picture gives the same pixels everywhere.
"""

import contextlib
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from fashion_mnist.imaging import decoder, preparation
from fashion_mnist.imaging.decoder import Check
from fashion_mnist.spec import ModelSpec

MAX_PIXELS: Final = 40_000_000
ORIENTATION: Final = 0x0112
"""Tag of EXIF."""
TRANSPOSITIONS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
BACKGROUND: Final = 0
"""Pixel value of letterbox borders and transparent areas: black, as in Fashion-MNIST."""


class Prepared(NamedTuple):
    """An image of the model's shape, uint8 (H, W[, 3]). note: what the preparation did, if anything."""

    image: NDArray[np.uint8]
    note: str | None


def enough_for(spec: ModelSpec) -> tuple[int, int]:
    """Return width and height to which a large JPEG may be scaled down while it is decoded."""
    if spec.preparation == "garment":
        side = max(preparation.SIDE_PX, spec.width, spec.height)
        return side * 2, side * 2
    return spec.width * 2, spec.height * 2


def read_picture(
    data: bytes, spec: ModelSpec, max_pixels: int = MAX_PIXELS, check: Check | None = None
) -> NDArray[np.uint8]:
    """Decode a picture to one image of the model's shape: uint8 (H, W) or (H, W, 3); see `read_prepared`."""
    return read_prepared(data, spec, max_pixels, check).image


def read_prepared(
    data: bytes, spec: ModelSpec, max_pixels: int = MAX_PIXELS, check: Check | None = None
) -> Prepared:
    """Decode a picture of any size and mode to one image of the model's shape.

    A picture of the model's own shape comes back pixel for pixel. Of any other, a model with
    `preparation: garment` gets the garment, cut out and light on black; for the others the picture is
    converted to gray if the model is gray, resized and letterboxed. An animation gives its first frame;
    EXIF orientation is applied.
    check: called now and then; what it raises abandons the picture.
    Raises InputError: broken_picture, too_many_pixels, unsupported_picture_format.
    """
    picture = decoder.decode(data, max_pixels, enough_for(spec), check)
    if check is not None:
        check()
    target = (spec.width, spec.height)
    if spec.preparation == "garment" and picture.size not in (target, target[::-1]):
        return Prepared(*preparation.prepare_garment(*_reduce(picture), target))
    return Prepared(_to_spec(picture, spec), None)


def _reduce(picture: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Reduce a picture to what its preparation needs: RGB, upright, transparency white; and its alpha."""
    turn, size, alpha = _find_turn(picture), preparation.reduced_size(*picture.size), None
    if picture.has_transparency_data:
        picture, alpha = _flatten(picture, "RGB", "white")
    elif picture.mode in ("1", "P") or picture.mode.startswith("I"):
        picture = _to_mode(picture, "L" if picture.mode != "P" else "RGB")
    layers = [picture] if alpha is None else [picture, alpha]
    if size != picture.size:
        layers = [layer.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0) for layer in layers]
    if turn is not None:
        layers = [layer.transpose(turn) for layer in layers]
    return _to_mode(layers[0], "RGB"), layers[1] if alpha is not None else None


def _find_turn(picture: Image.Image) -> Image.Transpose | None:
    """Return what makes a picture upright, None if it is, or if nothing tells."""
    if picture.format == "PNG" and "exif" not in picture.info:  # png.py keeps nothing else that could tell
        return None
    with contextlib.suppress(Exception):  # a damaged EXIF block is no reason to reject the picture
        return TRANSPOSITIONS.get(picture.getexif().get(ORIENTATION, 1))
    return None


def _to_spec(picture: Image.Image, spec: ModelSpec) -> NDArray[np.uint8]:
    turn = _find_turn(picture)
    picture = picture if turn is None else picture.transpose(turn)
    picture = _to_mode(picture, "L" if spec.channels == 1 else "RGB")
    target = (spec.width, spec.height)
    if picture.size != target:
        inner = preparation.fitting_size(picture.size, target)
        picture = picture.resize(inner, Image.Resampling.LANCZOS)
        picture = ImageOps.pad(picture, target, color=BACKGROUND) if inner != target else picture
    return np.asarray(picture, np.uint8)


def _to_mode(picture: Image.Image, mode: str) -> Image.Image:
    """Convert any mode to L or RGB: transparent areas become background, 16 bits become 8."""
    if picture.mode.startswith("I"):  # 16 bits: 65535 -> 255; in integers, to save memory at 40 megapixels
        deep = np.asarray(picture).astype(np.uint16)
        picture = Image.fromarray((deep >> 8).astype(np.uint8))
    if picture.has_transparency_data:
        return _flatten(picture, mode, "black")[0]
    return picture if picture.mode == mode else picture.convert(mode)


def _flatten(picture: Image.Image, mode: str, ground: str) -> tuple[Image.Image, Image.Image]:
    """Put a picture with transparent areas on a ground; return it, L or RGB, and its alpha."""
    straight = "LA" if picture.mode == "La" else "RGBA"
    layer = picture if picture.mode in ("LA", "RGBA") else picture.convert(straight)
    alpha = layer.getchannel("A")
    # pasted, not composited: at 40 megapixels, each copy with an alpha channel takes 160 MB
    flat = Image.new(mode, layer.size, ground)
    flat.paste(layer.convert(mode), mask=alpha)
    return flat, alpha
