"""Sources of labelled images.

`load` turns a source (a name or a path) into a Dataset; readers/ has the file formats.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from fashion_mnist.data.dataset import Dataset, LabelledImages
from fashion_mnist.data.download import download_fashion_mnist
from fashion_mnist.data.readers import class_folders, idx
from fashion_mnist.data.readers.pixel_csv import read_csv
from fashion_mnist.errors import DataError
from fashion_mnist.spec import FASHION_MNIST_CLASSES

FASHION_MNIST: Final = "fashion-mnist"
DEBIAN_FOLDER: Final = Path("/usr/share/datasets/fashion-mnist")


def load(
    source: str,
    *,
    shape: tuple[int, ...] = (28, 28),
    classes: tuple[str, ...] | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Dataset:
    """Read a source: `fashion-mnist`, a folder of IDX files, a CSV file, or a folder of class folders.

    shape: (H, W) or (H, W, 3), to which picture files are converted. classes: names of the numeric
    labels, by default Fashion-MNIST's.
    Raises DataError, which names the file and the position.
    """
    if source == FASHION_MNIST:
        path = find_fashion_mnist(environment)
    else:
        path = Path(source).expanduser()
        if not path.exists():
            raise DataError(
                f"{source}: no such file or folder, and not the name of a data set; "
                f"give a path, or {FASHION_MNIST}"
            )
    if not path.is_file() and not path.is_dir():
        raise DataError(f"{source}: neither a file nor a folder; give a CSV file or a folder of images")
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
            LabelledImages(*class_folders.read_class_folders(train_folder, shape)),
            LabelledImages(*class_folders.read_class_folders(test_folder, shape)),
        )
    return Dataset(source, LabelledImages(*class_folders.read_class_folders(path, shape)), None)


def find_fashion_mnist(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder with Fashion-MNIST's files; download them to data/ if there is none."""
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


def _named(pair: idx.ImagesAndLabels, classes: tuple[str, ...] | None, path: Path) -> LabelledImages:
    """Add the class names; check that every numeric label has one."""
    images, labels = pair
    names = classes or FASHION_MNIST_CLASSES
    bad = np.flatnonzero(labels >= len(names))
    if len(bad):
        raise DataError(
            f"{path}: label {labels[bad[0]]} at image {bad[0]}, expected 0..{len(names) - 1}; "
            "name your classes with --classes"
        )
    return LabelledImages(images, labels, names)
