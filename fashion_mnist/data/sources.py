"""Labelled images: where they come from, and how they are divided.

`load` turns a source (a name or a path) into a Dataset; the file formats are in readers.py.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fashion_mnist.data.download import download_fashion_mnist
from fashion_mnist.data.readers import idx
from fashion_mnist.data.readers.pixel_csv import read_csv
from fashion_mnist.errors import DataError
from fashion_mnist.spec import FASHION_MNIST_CLASSES, ModelSpec, find_name_problem

FASHION_MNIST: Final = "fashion-mnist"
DEBIAN_FOLDER: Final = Path("/usr/share/datasets/fashion-mnist")
CHOOSE_SHARE: Final = 0.05
"""Share of the training images that chooses (early stopping, network); as many calibrate."""
TEST_SHARE: Final = 0.1
"""Share held out as test images where the source has none of its own."""


@dataclass(frozen=True)
class LabelledImages:
    """images: uint8 (N, H, W) or (N, H, W, 3). labels: int64 (N,), an index into `classes`.

    Raises DataError when the names of the classes are too few, not printable or not distinct.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        if problem := find_name_problem(self.classes):
            raise DataError(problem)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: NDArray[np.int64]) -> "LabelledImages":
        return LabelledImages(self.images[rows], self.labels[rows], self.classes)

    @property
    def spec(self) -> ModelSpec:
        """Shape and classes, as a model that is trained on these images will have them."""
        height, width, *channels = self.images.shape[1:]
        return ModelSpec(self.classes, height, width, channels[0] if channels else 1)

    def fingerprint(self) -> str:
        """SHA-256 over shape, classes, labels and pixels: equal if and only if the data are."""
        digest = hashlib.sha256(repr((self.images.shape, self.classes)).encode())
        digest.update(np.ascontiguousarray(self.labels, dtype="<i8").data)
        digest.update(np.ascontiguousarray(self.images).data)
        return digest.hexdigest()


@dataclass(frozen=True)
class Dataset:
    """What a source holds. name: as the user gave it. test: None where the source has none."""

    name: str
    train: LabelledImages
    test: LabelledImages | None


@dataclass(frozen=True)
class Splits:
    """train fits weights; choose picks among trainings; calibrate picks nothing; test is looked at once."""

    train: LabelledImages
    choose: LabelledImages
    calibrate: LabelledImages
    test: LabelledImages

    def summary(self) -> dict[str, object]:
        """Sizes and fingerprints, for the model's record."""
        parts = {name: getattr(self, name) for name in ("train", "choose", "calibrate", "test")}
        return {
            "images": {name: len(part) for name, part in parts.items()},
            "fingerprints": {name: part.fingerprint() for name, part in parts.items()},
        }


def load(
    source: str,
    *,
    shape: tuple[int, ...] = (28, 28),
    classes: tuple[str, ...] | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Dataset:
    """Read a source: `fashion-mnist`, a folder of IDX files, a CSV, or a folder of class folders.

    shape: (H, W) or (H, W, 3), to which folders of pictures are brought. classes: names for numeric
    labels.
    Raises DataError with file and place.
    """
    if source == FASHION_MNIST:
        path = find_fashion_mnist(environment)
    else:
        path = Path(source).expanduser()
        if not path.exists():
            raise DataError(
                f"{source}: no such file or folder, and no data set of this name "
                f"(the only name is {FASHION_MNIST})"
            )
    if not path.is_file() and not path.is_dir():
        raise DataError(f"{source}: neither a file nor a folder; give a CSV or a folder of images")
    if path.is_file():
        return Dataset(source, _named(read_csv(path), classes, path), None)
    if idx.is_idx_folder(path):
        train, test = idx.read_idx_folder(path)
        return Dataset(
            source,
            _named(train, classes, path),
            None if test is None else _named(test, classes, path),
        )
    train_folder, test_folder = path / "train", path / "test"
    if train_folder.is_dir() and test_folder.is_dir():
        return Dataset(
            source,
            LabelledImages(*idx.read_class_folders(train_folder, shape)),
            LabelledImages(*idx.read_class_folders(test_folder, shape)),
        )
    return Dataset(source, LabelledImages(*idx.read_class_folders(path, shape)), None)


def find_fashion_mnist(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder with Fashion-MNIST's files; downloads them to data/ where there is none."""
    chosen = environment.get("FASHION_MNIST_DATA")
    if chosen:
        if not idx.is_idx_folder(Path(chosen)):
            raise DataError(
                f"FASHION_MNIST_DATA={chosen}: no IDX files there; expected {idx.TRAIN_IMAGES}, plain or .gz"
            )
        return Path(chosen)
    local = Path("data")
    for folder in (local, DEBIAN_FOLDER):
        if idx.is_idx_folder(folder):
            return folder
    download_fashion_mnist(local)
    return local


def split(dataset: Dataset, seed: int, limit: int | None = None) -> Splits:
    """Divide into train, choose, calibrate and test; stratified by class, the same for a seed.

    Of Fashion-MNIST's 60,000: 54,000, 3,000 and 3,000. limit: keep only so many training images.
    Raises DataError when a class is too small to have one image in every part.
    """
    rng = np.random.default_rng(seed)
    rest, test = dataset.train, dataset.test
    if test is None:
        rest, test = _cut(rest, TEST_SHARE, rng)
    elif test.classes != rest.classes:
        raise DataError(
            f"{dataset.name}: the test images have other classes ({', '.join(test.classes)}) "
            f"than the training images ({', '.join(rest.classes)})"
        )
    if test.spec.shape != rest.spec.shape:
        raise DataError(
            f"{dataset.name}: the test images have the shape {test.spec.shape}, "
            f"the training images {rest.spec.shape}"
        )
    if limit is not None and limit < len(rest.classes):
        raise DataError(f"the limit is {limit} training images, for {len(rest.classes)} classes")
    whole = len(rest)
    rest, choose = _cut(rest, CHOOSE_SHARE, rng)
    train, calibrate = _cut(rest, CHOOSE_SHARE * whole / len(rest), rng)
    if limit is not None and limit < len(train):
        _, train = _cut(train, limit / len(train), rng, leave=0)
    return Splits(train, choose, calibrate, test)


def _cut(
    data: LabelledImages, share: float, rng: np.random.Generator, leave: int = 1
) -> tuple[LabelledImages, LabelledImages]:
    """Split off `share` of every class, at least one image; returns (rest, part), both in data order.

    leave: so many images of each class stay in the rest at least.
    """
    counts = np.bincount(data.labels, minlength=len(data.classes))
    small = np.flatnonzero(counts < 1 + leave)
    if len(small):
        raise DataError(
            f"class {data.classes[small[0]]!r}: too few images to train, choose, calibrate and test with; "
            "at least 4 are needed"
        )
    quotas = share * counts
    take = np.floor(quotas).astype(np.int64)
    # the largest remainders make up for what rounding down has lost
    missing = round(share * len(data)) - int(take.sum())
    take[np.argsort(take - quotas, kind="stable")[:missing]] += 1
    take = np.clip(take, 1, counts - leave)
    part = np.zeros(len(data), dtype=bool)
    for index, count in enumerate(take):
        part[rng.permutation(np.flatnonzero(data.labels == index))[:count]] = True
    return data[np.flatnonzero(~part)], data[np.flatnonzero(part)]


def _named(pair: idx.ImagesAndLabels, classes: tuple[str, ...] | None, path: Path) -> LabelledImages:
    """Give names to numeric labels, and check that every label has one."""
    images, labels = pair
    names = classes or FASHION_MNIST_CLASSES
    bad = np.flatnonzero(labels >= len(names))
    if len(bad):
        raise DataError(
            f"{path}: label {labels[bad[0]]} at image {bad[0]}, expected 0..{len(names) - 1}; "
            "give the names of your own classes with --classes"
        )
    return LabelledImages(images, labels, names)
