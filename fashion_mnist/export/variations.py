"""Vary pictures of a model's classes: unusual ones that its OOD head must accept."""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Pixels = NDArray[np.uint8]


def vary_known(images: Pixels, rng: Generator) -> Pixels:
    """Return each image mirrored and shifted at random, and half of them as if drawn or badly printed.

    Unusual, but still of its class: without them a head refuses a third of the right drawings of garments.
    """
    return np.stack([_vary(image, rng) for image in images])


def _vary(image: Pixels, rng: Generator) -> Pixels:
    if rng.random() < 0.5:
        image = image[:, ::-1]
    reach = max(1, image.shape[0] // 14)
    image = _shift(image, *rng.integers(-reach, reach + 1, 2).tolist())
    if rng.random() < 0.5:
        return image
    picture = Image.fromarray(np.ascontiguousarray(image))
    scale = image.shape[0] / 28
    if rng.random() < 0.4:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.0) * scale))
    if rng.random() < 0.3:
        picture = picture.filter(ImageFilter.UnsharpMask(scale, int(rng.integers(50, 200)), 0))
    tones = np.linspace(0, 1, 256) ** rng.uniform(0.6, 1.6)
    if rng.random() < 0.5:  # few tones, as in a drawing
        levels = int(rng.integers(2, 6))
        tones = np.round(tones * levels) / levels
    table: Pixels = (255 * tones * rng.uniform(0.55, 1.15)).clip(0, 255).astype(np.uint8)
    varied: Pixels = table[np.asarray(picture)]
    return varied


def _shift(image: Pixels, down: int, right: int) -> Pixels:
    """Move an image and repeat its border, which need not be black."""
    reach = max(abs(down), abs(right))
    padded = np.pad(image, ((reach, reach), (reach, reach), *[(0, 0)] * (image.ndim - 2)), mode="edge")
    return padded[reach - down :, reach - right :][: image.shape[0], : image.shape[1]]
