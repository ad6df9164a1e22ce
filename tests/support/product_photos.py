"""Draw product photographs from images of Fashion-MNIST, to measure the preparation of pictures with."""

import io
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from support.pictures import encode

ROTATED, TRANSPARENT = 0.2, 0.1
"""Shares of photographs with an EXIF orientation, and of PNGs with alpha in place of a ground."""
DISTANCE: Final = 25
"""Least difference between the ground and the garment's mean colour, in the channel where it is largest."""
ORIENTATIONS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    6: Image.Transpose.ROTATE_90,
    8: Image.Transpose.ROTATE_270,
}
"""EXIF orientation -> how a picture is stored so that the orientation puts it upright."""


def product_photos(images: NDArray[np.uint8], seed: int = 0) -> Iterator[bytes]:
    """Yield a picture file for each image, uint8 (N, 28, 28)."""
    for index, image in enumerate(images):
        random = np.random.default_rng([seed, index])
        yield _photo(image, index / len(images), random)


def _photo(image: NDArray[np.uint8], share: float, random: np.random.Generator) -> bytes:
    """Draw one photograph. share: position among all, which decides on alpha and rotation."""
    canvas, left, top, side = _layout(random)
    gray = Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)
    value = np.asarray(gray, np.float32) / 255  # (side, side)
    mask = np.clip(value * 255 / 16, 0, 1)[..., None]
    color = random.uniform(40, 230, 3)
    garment = color * (1 - value[..., None])  # negated and tinted
    mean = (garment * mask).sum((0, 1)) / max(mask.sum(), 1)
    ground = _ground(mean, random)
    box = (left, top)
    if share < TRANSPARENT:
        layer = np.concatenate([garment, 255 * mask], axis=2).round().astype(np.uint8)
        cut_out = Image.new("RGBA", canvas)
        cut_out.paste(Image.fromarray(layer), box)
        return encode(cut_out, "PNG", compress_level=1)
    picture = Image.new("RGB", canvas, tuple(ground.round().astype(int).tolist()))
    mixed = garment * mask + ground.round() * (1 - mask)
    picture.paste(Image.fromarray(mixed.round().astype(np.uint8)), box)
    exif = Image.Exif()
    if share < TRANSPARENT + ROTATED:
        orientation = list(ORIENTATIONS)[int(random.integers(len(ORIENTATIONS)))]
        picture = picture.transpose(ORIENTATIONS[orientation])
        exif[0x0112] = orientation
    return encode(picture, "JPEG", quality=int(random.integers(60, 91)), exif=exif)


def _layout(random: np.random.Generator) -> tuple[tuple[int, int], int, int, int]:
    """Return the canvas, the garment's left and top edge and its side in pixels.

    The margins are 0 to 60 % of the garment's side, each its own; the canvas is 300 to 1,200 px long.
    """
    left, right, top, bottom = random.uniform(0, 0.6, 4)
    width, height = 1 + left + right, 1 + top + bottom
    side = random.uniform(300, 1200) / max(width, height)
    canvas = round(side * width), round(side * height)
    return canvas, round(side * left), round(side * top), min(round(side), *canvas)


def _ground(garment: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.float64]:
    """Return a colour at least DISTANCE from the garment's: near-white, light coloured, mid gray or dark."""
    while True:
        kind = random.random()
        if kind < 0.6:
            ground = np.full(3, random.uniform(240, 255)) - random.uniform(0, 4, 3)
        elif kind < 0.8:
            ground = random.uniform(170, 250, 3)
        else:
            ground = np.full(3, random.uniform(10, 150)) + random.uniform(-5, 5, 3)
        if np.abs(ground - garment).max() >= DISTANCE:
            return ground


def enlarged(image: NDArray[np.uint8], ground: str) -> bytes:
    """Return an image enlarged four times as a PNG. ground: black, margin (black and wide) or white."""
    picture = Image.fromarray(image).resize((112, 112), Image.Resampling.BICUBIC)
    if ground == "margin":
        canvas = Image.new("L", (200, 160))
        canvas.paste(picture, (30, 20))
        picture = canvas
    elif ground == "white":
        picture = Image.fromarray(255 - np.asarray(picture))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()
