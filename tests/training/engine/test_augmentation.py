"""Augmentation: each change does what its name says, on gray and color, and a seed repeats it."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from fashion_mnist.data.dataset import Dataset
from fashion_mnist.training.config import TrainConfig
from fashion_mnist.training.engine.augmentation import augment, erase, flip, shift

ALL = TrainConfig(flip=True, shift=3, erase=0.5)
NONE = TrainConfig(flip=False, shift=0, erase=0)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(params=["gray", "color"])
def images(request: pytest.FixtureRequest, sample: Dataset) -> Tensor:
    """200 real images, (200, 28, 28) or (200, 28, 28, 3) with differing channels."""
    gray = torch.from_numpy(sample.train.images[:200].copy())
    return gray if request.param == "gray" else torch.stack([gray, 255 - gray, gray // 2], dim=3)


def changed(before: Tensor, after: Tensor) -> Tensor:
    """Return which images differ: bool (N,)."""
    return (before != after).flatten(1).any(1)


def test_shape_and_type_stay_and_the_input_is_not_modified(images: Tensor) -> None:
    before = images.clone()
    result = augment(images, ALL, seeded())
    assert (result.shape, result.dtype) == (images.shape, torch.uint8)
    assert torch.equal(images, before)
    assert changed(images, result).float().mean() > 0.9


def test_switched_off_nothing_changes(images: Tensor) -> None:
    assert torch.equal(augment(images, NONE, seeded()), images)


@pytest.mark.parametrize(
    "change",
    [flip, lambda i, g: shift(i, 2, g), lambda i, g: erase(i, 0.5, g), lambda i, g: augment(i, ALL, g)],
    ids=["flip", "shift", "erase", "augment"],
)
def test_a_seed_repeats_its_images_and_another_gives_others(
    images: Tensor, change: Callable[[Tensor, torch.Generator], Tensor]
) -> None:
    assert torch.equal(change(images, seeded(1)), change(images, seeded(1)))
    assert not torch.equal(change(images, seeded(1)), change(images, seeded(2)))


def test_flip_mirrors_about_half_left_to_right(images: Tensor) -> None:
    result = flip(images, seeded()).numpy()
    mirrored = [
        np.array_equal(after, np.fliplr(before)) for before, after in zip(images.numpy(), result, strict=True)
    ]
    kept = [np.array_equal(a, b) for a, b in zip(images.numpy(), result, strict=True)]
    assert all(m or k for m, k in zip(mirrored, kept, strict=True))
    assert 70 < sum(mirrored) < 130


@pytest.mark.parametrize("most", [1, 3])
def test_shift_is_a_window_of_the_reflected_image(images: Tensor, most: int) -> None:
    result = shift(images, most, seeded()).numpy()
    seen = set()
    for before, after in zip(images.numpy(), result, strict=True):
        border = [(most, most), (most, most)] + [(0, 0)] * (before.ndim - 2)
        padded = np.pad(before, border, mode="reflect")
        windows = {
            (dy, dx)
            for dy in range(2 * most + 1)
            for dx in range(2 * most + 1)
            if np.array_equal(padded[dy : dy + 28, dx : dx + 28], after)
        }
        assert windows
        seen |= windows
    assert len(seen) == (2 * most + 1) ** 2


@pytest.mark.parametrize("most", [7, 40])
def test_a_shift_larger_than_the_image_reflects_again(sample: Dataset, most: int) -> None:
    tiny = torch.from_numpy(sample.train.images[:10, ::4, ::4].copy())  # 7 x 7
    for before, after in zip(tiny.numpy(), shift(tiny, most, seeded()).numpy(), strict=True):
        padded = np.pad(before, most, mode="reflect")
        span = range(2 * most + 1)
        assert any(np.array_equal(padded[y : y + 7, x : x + 7], after) for y in span for x in span)


def test_erase_share_0_changes_nothing_and_1_every_image(images: Tensor) -> None:
    assert torch.equal(erase(images, 0.0, seeded()), images)
    assert changed(images, erase(images, 1.0, seeded())).all()
    assert 70 < int(changed(images, erase(images, 0.5, seeded())).sum()) < 130


def test_erase_overwrites_one_rectangle_of_noise(images: Tensor) -> None:
    blank = torch.zeros_like(images)
    marks = erase(blank, 1.0, seeded()).numpy()
    marks = marks.max(axis=3) if marks.ndim == 4 else marks
    for mark in marks:
        ys, xs = np.nonzero(mark)
        box = mark[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
        assert (box > 0).mean() > 0.7  # a filled rectangle; noise may be 0 here and there
        assert box.size <= 0.5 * 28 * 28
