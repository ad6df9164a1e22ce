"""Draw pictures that show none of a model's classes: material for the OOD head.

Hendrycks et al., Deep Anomaly Detection with Outlier Exposure, 2019, take them from a collection of pictures.
Drawn ones need no download, fit any classes, shape and colour, and leave every real picture for
measuring.
"""

import string
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

Pixels = NDArray[np.uint8]
Plane = NDArray[np.float64]
Kind = Callable[[Pixels, Generator], Pixels]
"""Draws one picture of the shape of the training images."""
LETTERS: Final = "".join(sorted(set(string.ascii_letters) - set("Ool"))) + "&@#?%"
"""Without those that look like digits, which a model may have learnt."""


def draw_outliers(images: Pixels, count: int, rng: Generator) -> Pixels:
    """Draw pictures of the shape of `images`, uint8 (N, H, W[, 3]), in equal shares of KINDS.

    images: training images, of which some kinds show scrambled pieces. Every other picture fills its frame,
    as what a model's preparation cuts out does.
    """
    drawn = [KINDS[number % len(KINDS)](images, rng) for number in range(count)]
    return np.stack([_fill(picture) if rng.random() < 0.5 else picture for picture in drawn])


def _fill(image: Pixels) -> Pixels:
    """Enlarge what is not black until it touches two opposite sides."""
    shown = np.asarray(image.reshape(*image.shape[:2], -1).any(axis=2))
    rows, columns = shown.nonzero()
    if len(rows) == 0:
        return image
    part = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    return np.asarray(ImageOps.pad(Image.fromarray(part), image.shape[1::-1]))


def _colour(image: Pixels, rng: Generator) -> int | tuple[int, ...]:
    return int(rng.integers(256)) if image.ndim == 2 else tuple(rng.integers(0, 256, 3).tolist())


def _canvas(image: Pixels, rng: Generator) -> Image.Image:
    """Return an empty picture of an image's shape: black, or of one colour."""
    canvas = np.zeros_like(image)
    if rng.random() < 0.4:
        canvas[:] = _colour(image, rng)
    return Image.fromarray(canvas)


def _points(image: Pixels, count: int, rng: Generator) -> list[tuple[float, float]]:
    height, width = image.shape[:2]
    return [(x * width, y * height) for x, y in rng.uniform(-0.1, 1.1, (count, 2)).tolist()]


def _noise(image: Pixels, rng: Generator, roughness: float) -> Plane:
    """Return noise (H, W) in 0..1; octaves of double frequency weigh `roughness` times as much.

    Photographs have about 0.5.
    """
    height, width = image.shape[:2]
    total = np.zeros((height, width))
    cells, weight = 2, 1.0
    while cells <= max(height, width):
        coarse = Image.fromarray(rng.random((cells, cells), np.float32))
        total += weight * np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
        cells, weight = cells * 2, weight * roughness
    low, high = np.quantile(total, (0.02, 0.98))
    scaled: Plane = ((total - low) / (high - low + 1e-9)).clip(0, 1)
    return scaled


def _between(plane: Plane, image: Pixels, rng: Generator) -> Pixels:
    """Colour a plane (H, W) in 0..1: two random colours of the image's kind at its ends."""
    low, high = (np.asarray(_colour(image, rng), np.float64) for _ in range(2))
    plane = plane if image.ndim == 2 else plane[..., None]
    return (low + (high - low) * plane).astype(np.uint8)


def draw_polygons(images: Pixels, rng: Generator) -> Pixels:
    """Draw one to three filled polygons."""
    canvas = _canvas(images[0], rng)
    for _ in range(rng.integers(1, 4)):
        corners = _points(images[0], int(rng.integers(3, 9)), rng)
        ImageDraw.Draw(canvas).polygon(corners, fill=_colour(images[0], rng))
    return np.asarray(canvas)


def draw_shapes(images: Pixels, rng: Generator) -> Pixels:
    """Draw one to five lines, ellipses, rectangles and arcs."""
    image = images[0]
    canvas = _canvas(image, rng)
    draw = ImageDraw.Draw(canvas)
    for _ in range(rng.integers(1, 6)):
        (a, b), (c, d) = _points(image, 2, rng)
        box = (min(a, c), min(b, d), max(a, c), max(b, d))
        colour, width = _colour(image, rng), int(rng.integers(1, 2 + image.shape[0] // 7))
        match rng.integers(5):
            case 0:
                draw.line(_points(image, int(rng.integers(2, 6)), rng), fill=colour, width=width)
            case 1:
                draw.ellipse(box, fill=colour)
            case 2:
                draw.rectangle(box, fill=colour)
            case 3:
                draw.ellipse(box, outline=colour, width=width)
            case _:
                start, end = rng.uniform(0, 360, 2).tolist()
                draw.arc(box, start, end, fill=colour, width=width)
    return np.asarray(canvas)


def draw_letters(images: Pixels, rng: Generator) -> Pixels:
    """Write one to three letters, no digits, slightly turned."""
    image = images[0]
    canvas = _canvas(image, rng)
    height, width = image.shape[:2]
    font = ImageFont.load_default(height * rng.uniform(0.5, 1.2))
    text = "".join(rng.choice(list(LETTERS), rng.integers(1, 4)))
    place = (width / 2 + rng.normal(0, width / 14), height / 2 + rng.normal(0, height / 14))
    stroke = int(rng.integers(0, 1 + height // 14))
    ImageDraw.Draw(canvas).text(place, text, _colour(image, rng), font, "mm", stroke_width=stroke)
    return np.asarray(canvas.rotate(rng.normal(0, 15)))


def draw_blobs(images: Pixels, rng: Generator) -> Pixels:
    """Draw soft or hard blobs with a texture of their own on black."""
    level = _noise(images[0], rng, rng.uniform(0.1, 0.5))
    edge = rng.uniform(0.3, 0.7)
    mask = (level > edge) if rng.random() < 0.7 else ((level - edge) / (1 - edge)).clip(0, 1)
    texture = _between(_noise(images[0], rng, rng.uniform(0.3, 1.0)), images[0], rng)
    return (mask.reshape(*mask.shape, *[1] * (texture.ndim - 2)) * texture).astype(np.uint8)


def draw_textures(images: Pixels, rng: Generator) -> Pixels:
    """Draw noise, stripes, a checkerboard, a gradient or one constant colour."""
    height, width = images[0].shape[:2]
    y, x = np.mgrid[:height, :width] / height
    angle = rng.uniform(0, np.pi)
    along = x * np.cos(angle) + y * np.sin(angle)
    match rng.integers(6):
        case 0:
            plane = rng.random((height, width))
        case 1:
            plane = np.sin(along * rng.uniform(2, 90)) / 2 + 0.5
        case 2:
            cells = 2 * rng.integers(1, 15)
            plane = (np.floor(y * cells) + np.floor(x * cells)) % 2
        case 3:
            plane = (along - along.min()) / np.ptp(along)
        case 4:
            plane = np.zeros((height, width))
        case _:
            plane = (rng.random((height, width)) < rng.uniform(0.02, 0.98)).astype(np.float64)
    return _between(plane, images[0], rng)


def draw_scenes(images: Pixels, rng: Generator) -> Pixels:
    """Draw what resembles a photograph: overlapping leaves of all sizes on rough noise, in uneven light.

    A third fill the picture, a third leave black bars, a third are cut out on black.
    Lee et al., Occlusion Models for Natural Images, 2001.
    """
    image = images[0]
    height, width = image.shape[:2]
    canvas = Image.fromarray(_between(_noise(image, rng, rng.uniform(0.3, 0.9)), image, rng))
    draw = ImageDraw.Draw(canvas)
    for x, y in _points(image, int(rng.integers(30)), rng):
        radius = height * min(0.6, 0.06 * rng.pareto(1.5) + 0.04)
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(4, 12))).tolist()
        corners = [(x + radius * np.cos(a), y + radius * np.sin(a)) for a in angles]
        draw.polygon(corners, fill=_colour(image, rng))
    mask = np.ones((height, width), bool)
    match rng.integers(3):
        case 0:
            bar = int(min(height, width) * rng.uniform(0.1, 0.35))
            rows = mask if rng.random() < 0.5 else mask.T
            rows[:bar] = rows[len(rows) - bar :] = False
        case 1:
            mask = _noise(image, rng, 0.3) > rng.uniform(0.2, 0.6)
    light = rng.uniform(0, 0.7)
    bright = mask * (1 - light + light * _noise(image, rng, 0.5)) * rng.uniform(0.5, 1)
    return (np.asarray(canvas) * bright.reshape(height, width, *[1] * (image.ndim - 2))).astype(np.uint8)


def cut_up(images: Pixels, rng: Generator) -> Pixels:
    """Cut a training image, or two, into up to 7 rows and columns and shuffle the pieces."""
    image = images[rng.integers(len(images))]
    other = images[rng.integers(len(images))] if rng.random() < 0.3 else image
    rows, columns = rng.integers(1, 8, 2) if rng.random() < 0.5 else [rng.integers(2, 8)] * 2
    tall, wide = -(-image.shape[0] // max(rows, 3 - columns)), -(-image.shape[1] // columns)
    corners = [(y, x) for y in _starts(image.shape[0], tall) for x in _starts(image.shape[1], wide)]
    mixed: Pixels = image.copy()
    for (y, x), number in zip(corners, rng.permutation(len(corners)), strict=True):
        source = image if rng.random() < 0.5 else other
        v, u = corners[number]
        mixed[y : y + tall, x : x + wide] = source[v : v + tall, u : u + wide]
    return mixed


def _starts(length: int, piece: int) -> list[int]:
    """Return where pieces start that cover a length; the last may overlap the one before."""
    return [min(start, length - piece) for start in range(0, length, piece)]


def invert(images: Pixels, rng: Generator) -> Pixels:
    """Invert a training image, on a ground that may be gray."""
    image = images[rng.integers(len(images))].astype(np.float64)
    return np.asarray(255 - image * (1 - rng.uniform(0, 0.4)), np.uint8)


KINDS: Final[tuple[Kind, ...]] = (
    draw_polygons, draw_shapes, draw_letters, draw_blobs, draw_textures, draw_scenes, draw_scenes, cut_up,
    cut_up, invert,
)  # fmt: skip
