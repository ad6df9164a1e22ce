"""Turn product pictures into what a model of Fashion-MNIST knows: one garment, light on black, edge to edge.

The steps follow those that made the data set (https://arxiv.org/abs/1708.07747, section 2) for any ground.
The constants were chosen on drawn product photographs of test images; docs/trust.md has the figures.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

SIDE_PX: Final = 128
"""Pictures are reduced to about this side, by area; a very long one to four times this length."""
FRAME: Final = 0.04
"""Width of the border that shows the ground, as a share of the shorter side."""
MIN_TRANSPARENT: Final = 0.02
"""Share of transparent pixels from which on the alpha channel outlines the garment."""
BLACK, BLACK_SPREAD = 16, 4
"""A ground below both is black already, as in the data set."""
FULL: Final = 0.9
"""A garment on black that fills more of the longer side than this is not trimmed."""
MIN_DIFFERENCE, SPREADS = 13, 2
"""A pixel is part of the garment if it differs from the ground by more, in any channel."""
LIGHT, WHITE_GARMENT = 160, 200
"""Gray levels from which on a ground counts as light, and a garment on a dark ground as white."""
UNEVEN: Final = 12
"""A typical deviation of the border from which on the picture is taken for a photograph of a scene."""
MIN_PART: Final = 0.1
"""Parts smaller than this, relative to the largest, are specks; shoes come in pairs."""
OUTLINE: Final = 0.5
"""If the visible part is less of the garment than this, the garment is drawn in outline or white on white."""
OUTLINE_LEVEL: Final = 170
TARGET, MAX_GAIN, LEAST, GAMMA = 200, 1.5, 60, 1.4
"""The brightest pixels are lifted towards TARGET. The median reaches LEAST at any gain: a garment on a ground
of nearly its own colour is faint. GAMMA: garments of the data set have more contrast than photographs."""
RADIUS_PX, SHARPENING, MIDDLE_SHARPENING = 0.6, 1.0, 0.1

NEIGHBOURS: Final = (
    *((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])),
    *((np.s_[:-1, :-1], np.s_[1:, 1:]), (np.s_[:-1, 1:], np.s_[1:, :-1])),
)
Pixels = NDArray[np.float32]
Mask = NDArray[np.bool_]


def prepare_garment(
    picture: Image.Image, alpha: Image.Image | None, size: tuple[int, int]
) -> tuple[NDArray[np.uint8], str]:
    """Cut a garment out of a reduced picture, and return it light on black, with what was done as a phrase.

    picture: RGB. alpha: its opacity, mode L, or None; the picture is on white then. size: width and height
    of the result, uint8 (H, W). The garment is centred, and its longer side fills the result.
    """
    rgb = np.asarray(picture, np.float32)  # (h, w, 3)
    gray = np.asarray(picture.convert("L"), np.float32)  # (h, w)
    opaque = None if alpha is None else np.asarray(alpha)
    if opaque is not None and (opaque < 128).mean() > MIN_TRANSPARENT:
        return _cut_out(gray, opaque > 25, 255.0, size), "transparent background removed"
    ground, spread = _find_ground(rgb)
    if ground.max() < BLACK and spread < BLACK_SPREAD:
        trimmed = gray[_find_box(gray > 10)]
        if max(trimmed.shape) < FULL * max(gray.shape):
            gray = trimmed
        factor = gray.shape[0] // size[1]
        enlarged = gray.shape == (factor * size[1], factor * size[0])
        return _take_middles(gray, factor) if enlarged else _fit(gray, size), "black background kept"
    difference = np.abs(rgb - ground).max(axis=2)
    mask = _keep_large_parts(difference > MIN_DIFFERENCE + SPREADS * spread)
    level = float(ground @ (0.299, 0.587, 0.114))
    if not mask.any():
        return _fit(gray, size), "no garment found: one colour"
    if spread > UNEVEN:
        kind = "uneven"
    elif ground.max() - ground.min() > 30:
        kind = "coloured"
    else:
        kind = "light" if level > LIGHT else "dark"
    return _cut_out(gray, mask, level, size), f"{kind} background removed"


def fitting_size(size: tuple[int, int], target: tuple[int, int]) -> tuple[int, int]:
    """Return width and height of a picture that is resized to touch `target` from within."""
    scale = min(target[0] / size[0], target[1] / size[1])
    # at least one pixel, or a sliver would vanish
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def reduced_size(width: int, height: int) -> tuple[int, int]:
    """Return the size to which a picture is reduced before it is prepared; never larger than it is."""
    scale = min(1.0, SIDE_PX / (width * height) ** 0.5, 4 * SIDE_PX / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _find_ground(rgb: Pixels) -> tuple[Pixels, float]:
    """Return the median colour of the border, (3,), and the median deviation from it."""
    edge = max(1, round(FRAME * min(rgb.shape[:2])))
    parts = (rgb[:edge], rgb[-edge:], rgb[:, :edge], rgb[:, -edge:])
    frame = np.concatenate([part.reshape(-1, 3) for part in parts])
    ground = np.median(frame, axis=0)
    return ground, float(np.median(np.abs(frame - ground).max(axis=1)))


def _cut_out(gray: Pixels, mask: Mask, level: float, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Make everything outside of the mask black and the garment as bright as it is dark. level: the ground's.

    On a light ground the ground's level is 0, as in the data set. On a dark one this would turn the garment's
    own pattern inside out, so its darkness counts, unless the garment is white.
    """
    box = _find_box(mask)
    gray, mask = gray[box], mask[box]
    filled = _fill(mask)
    if level > LIGHT:
        value = level - gray
    elif np.median(gray[mask]) < WHITE_GARMENT:
        value = 255 - gray
    else:
        value = gray - level
    value = value.clip(0, 255)
    middle, brightest = (max(float(level), 1.0) for level in np.percentile(value[mask], (50, 98)))
    value *= max(1.0, min(TARGET / brightest, MAX_GAIN), LEAST / middle)
    if mask.sum() < OUTLINE * filled.sum():
        value = np.where(filled, np.maximum(value, OUTLINE_LEVEL), value)
        mask = filled
    value = 255 * (value.clip(0, 255) / 255) ** GAMMA
    # edges of the mask are softened, or JPEG noise and steps would show in the result
    soft = Image.fromarray(mask.astype(np.uint8) * 255).filter(ImageFilter.BoxBlur(1))
    return _fit(value * ((np.asarray(soft, np.float32) / 255 - 0.3) * 2.5).clip(0, 1), size)


def _take_middles(gray: Pixels, factor: int) -> NDArray[np.uint8]:
    """Undo an enlargement by a whole factor: the middle of each square is close to the original pixel."""
    height, width = gray.shape[0] // factor, gray.shape[1] // factor
    middle = slice((factor - 1) // 2, factor // 2 + 1)
    squares = gray.reshape(height, factor, width, factor)[:, middle, :, middle]
    return _sharpen(squares.mean(axis=(1, 3)), MIDDLE_SHARPENING)


def _fit(gray: Pixels, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize gray levels (h, w) to fit `size`, sharpen what resizing has blurred, and centre it on black."""
    width, height = fitting_size((gray.shape[1], gray.shape[0]), size)
    small = np.asarray(Image.fromarray(gray).resize((width, height), Image.Resampling.LANCZOS))
    result = np.zeros((size[1], size[0]), np.float32)
    top, left = (size[1] - height) // 2, (size[0] - width) // 2
    result[top : top + height, left : left + width] = small
    shrunk = gray.shape[1] > size[0] or gray.shape[0] > size[1]
    return _sharpen(result, SHARPENING if shrunk else 0.0)


def _sharpen(values: Pixels, amount: float) -> NDArray[np.uint8]:
    sharp: Pixels = values + amount * (values - _blur(_blur(values).T).T)
    return sharp.clip(0, 255).round().astype(np.uint8)


def _blur(values: Pixels) -> Pixels:
    """Blur rows (h, w) by a Gaussian of RADIUS_PX, in two pixels each way; the surroundings are black."""
    weights = np.exp(-(np.arange(-2, 3) ** 2) / (2 * RADIUS_PX**2)).astype(np.float32)
    padded = np.pad(values, ((0, 0), (2, 2)))
    width = values.shape[1]
    parts = [w * padded[:, i : i + width] for i, w in enumerate(weights / weights.sum())]
    blurred: Pixels = np.sum(parts, axis=0)
    return blurred


def _find_box(mask: Mask) -> tuple[slice, slice]:
    """Return the rows and columns of the smallest box around a mask; everything if it is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return slice(None), slice(None)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _keep_large_parts(mask: Mask) -> Mask:
    """Return a mask without its connected parts that are much smaller than the largest."""
    labels = _label(mask)
    sizes = np.bincount(labels[mask], minlength=1)
    return np.asarray(mask & (sizes >= MIN_PART * sizes.max())[np.where(mask, labels, 0)])


def _fill(mask: Mask) -> Mask:
    """Return a mask with its holes filled, gaps of two pixels in its outline closed."""
    closed = Image.fromarray(np.pad(mask, 2).astype(np.uint8)).filter(ImageFilter.MaxFilter(3))
    outside = np.asarray(closed) == 0
    return np.asarray(~outside | (_label(outside) != 0))[2:-2, 2:-2]


def _label(mask: Mask) -> NDArray[np.intp]:
    """Return for each pixel of a mask a number that its connected part shares, (h, w); diagonals connect.

    Neighbours take the smaller number of two, and numbers point to smaller ones, until nothing changes.
    """
    numbers = np.arange(mask.size).reshape(mask.shape)
    pairs = []
    for one, other in NEIGHBOURS:
        both = mask[one] & mask[other]
        pairs.append((numbers[one][both], numbers[other][both]))
    first, second = (np.concatenate(side) for side in zip(*pairs, strict=True))
    labels = numbers.ravel()
    while True:
        low, high = np.minimum(labels[first], labels[second]), np.maximum(labels[first], labels[second])
        open_pairs = low != high
        if not open_pairs.any():
            return labels.reshape(mask.shape)
        np.minimum.at(labels, high[open_pairs], low[open_pairs])
        while ((shorter := labels[labels]) != labels).any():
            labels = shorter
