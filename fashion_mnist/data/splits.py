"""Split a data set into training, validation, calibration and test images."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from fashion_mnist.data.dataset import Dataset, LabelledImages
from fashion_mnist.errors import DataError

VALIDATION_SHARE: Final = 0.05
"""Share of the training images held out for validation; the calibration split is as large."""
TEST_SHARE: Final = 0.1
"""Share held out as test images if the source has none."""


@dataclass(frozen=True)
class Splits:
    """Four disjoint sets of images.

    train: fits the weights. validation: decides early stopping, the epoch to keep, and whether int8 is used.
    calibration: fits the temperature and the threshold, and decides nothing. test: evaluated once.
    """

    train: LabelledImages
    validation: LabelledImages
    calibration: LabelledImages
    test: LabelledImages

    def summary(self) -> dict[str, object]:
        """Return sizes and fingerprints for the model's record."""
        parts = {name: getattr(self, name) for name in ("train", "validation", "calibration", "test")}
        return {
            "images": {name: len(part) for name, part in parts.items()},
            "fingerprints": {name: part.fingerprint() for name, part in parts.items()},
        }


def split_dataset(dataset: Dataset, seed: int, limit: int | None = None) -> Splits:
    """Split a data set, stratified by class; the same seed gives the same splits.

    Fashion-MNIST's 60,000 training images become 54,000, 3,000 and 3,000. A source's own validation and
    test images are kept as they are.
    limit: keep only this many training images.
    Raises DataError when a class has too few images to put one into every split.
    """
    rng = np.random.default_rng(seed)
    rest, test, validation = dataset.train, dataset.test, dataset.validation
    for name, part in (("test", test), ("validation", validation)):
        if part is not None:
            _check_same(dataset.name, name, part, rest)
    if test is None:
        rest, test = _cut(rest, TEST_SHARE, rng)
    if limit is not None and limit < len(rest.classes):
        raise DataError(
            f"--limit {limit}: too few training images for {len(rest.classes)} classes, "
            "give at least one for each"
        )
    whole = len(rest)
    if validation is None:
        rest, validation = _cut(rest, VALIDATION_SHARE, rng)
    train, calibration = _cut(rest, VALIDATION_SHARE * whole / len(rest), rng)
    if limit is not None and limit < len(train):
        _, train = _cut(train, limit / len(train), rng, leave=0)
    return Splits(train, validation, calibration, test)


def _check_same(source: str, name: str, part: LabelledImages, train: LabelledImages) -> None:
    """Raise DataError if a split of the source differs from the training images in classes or shape."""
    if part.classes != train.classes:
        raise DataError(
            f"{source}: the {name} images have the classes {', '.join(part.classes)}, "
            f"the training images {', '.join(train.classes)}; expected the same"
        )
    if part.spec.shape != train.spec.shape:
        raise DataError(
            f"{source}: the {name} images have the shape {part.spec.shape}, "
            f"the training images {train.spec.shape}; expected the same"
        )


def _cut(
    data: LabelledImages, share: float, rng: np.random.Generator, leave: int = 1
) -> tuple[LabelledImages, LabelledImages]:
    """Split off `share` of every class, at least one image; return (rest, part), both in data order.

    leave: minimum number of images of each class that stay in the rest.
    """
    counts = np.bincount(data.labels, minlength=len(data.classes))
    small = np.flatnonzero(counts < 1 + leave)
    if len(small):
        raise DataError(
            f"class {data.classes[small[0]]!r}: too few images ({counts[small[0]]}); at least 4 are needed, "
            "one each for training, validation, calibration and test; give --classes only the names of "
            "classes that have images"
        )
    quotas = share * counts
    take = np.floor(quotas).astype(np.int64)
    # rounding down loses images: give them back to the classes with the largest remainders
    missing = round(share * len(data)) - int(take.sum())
    take[np.argsort(take - quotas, kind="stable")[:missing]] += 1
    take = np.clip(take, 1, counts - leave)
    part = np.zeros(len(data), dtype=bool)
    for index, count in enumerate(take):
        part[rng.permutation(np.flatnonzero(data.labels == index))[:count]] = True
    return data[np.flatnonzero(~part)], data[np.flatnonzero(part)]
