"""Sources of labelled images.

`load` turns a source (a name or a path) into a Dataset; readers/ has the file formats.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from fashion_mnist.data.dataset import BY_NUMBER, Dataset, LabelledImages
from fashion_mnist.data.download import CONTENT_SHA256, download_fashion_mnist
from fashion_mnist.data.readers import class_folders, idx
from fashion_mnist.data.readers.picture_files import Skipped
from fashion_mnist.data.readers.pixel_csv import read_csv
from fashion_mnist.errors import DataError
from fashion_mnist.spec import FASHION_MNIST, FASHION_MNIST_CLASSES, Preparation

DEBIAN_FOLDER: Final = Path("/usr/share/datasets/fashion-mnist")
SAMPLE_SHA256: Final = {
    "a724cd72799a6b1c3a81c4263865a75a73bb6473673b3394e34adf222930f19e",
    "4738fd437c0f8d6498ae7f6f5c86f1cc3c878d4116ff169fc5635bd6847899cc",
    "7cee33c3c6414b1b86c25e665a6c4f41584269de3b7cc9768b1d351922845eef",
    "3128d790775889812b73c4f13923559c8b9e281d112c6ea7862acf60a206a909",
}
"""SHA-256 of the unpacked files of the sample in tests/samples."""


def load(
    source: str,
    *,
    shape: tuple[int, ...] = (28, 28),
    classes: tuple[str, ...] | None = None,
    numbers: tuple[int, ...] | None = None,
    strict: bool = False,
    preparation: Preparation = "none",
    environment: Mapping[str, str] = os.environ,
) -> Dataset:
    """Read a source: `fashion-mnist`, a folder of IDX files, a CSV file, or a folder of class folders.

    shape: (H, W) or (H, W, 3), to which picture files are converted. classes: names of the numeric
    labels, by default the garments for Fashion-MNIST's own files, else the numbers. numbers: the label of
    each class, by default 0..K-1, or 1..K if the file has exactly these. strict: refuse files that cannot be
    read as pictures, instead of passing them over. preparation: of picture files, see `ModelSpec`.
    Raises DataError, which names the file and the position.
    """
    path = find_fashion_mnist(environment) if source == FASHION_MNIST else Path(source).expanduser()
    if not path.exists():
        raise DataError(
            f"{source}: no such file or folder, and not the name of a data set; "
            f"give a path, or {FASHION_MNIST}"
        )
    if path.is_file():
        return _load_numbered(source, path, (read_csv(path), None), classes, numbers)
    if not path.is_dir():
        raise DataError(f"{source}: neither a file nor a folder; give a CSV file or a folder of images")
    if not idx.is_idx_folder(path):
        return _load_folders(source, path, shape, strict, preparation)
    known = idx.checksums(path) <= {*CONTENT_SHA256.values(), *SAMPLE_SHA256}
    if source == FASHION_MNIST and not known:
        raise DataError(
            f"{path}: the IDX files there are not Fashion-MNIST's, by their checksums; to use them, give "
            f"--data {path}; for Fashion-MNIST, move them away, or set FASHION_MNIST_DATA to its folder"
        )
    return _load_numbered(source, path, idx.read_idx_folder(path), classes, numbers, known)


def find_fashion_mnist(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of Fashion-MNIST, the first with IDX files; download it to data/ if there is none."""
    chosen = environment.get("FASHION_MNIST_DATA", "").strip()  # an .env from Windows ends lines with a CR
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


def _load_folders(
    source: str, path: Path, shape: tuple[int, ...], strict: bool, preparation: Preparation
) -> Dataset:
    """Read class folders, and those of validation and test images if there are any."""
    skipped: Skipped = {}
    parts = {
        split: class_folders.read_class_folders(folder, shape, skipped, strict, preparation)
        for split, folder in class_folders.find_splits(path).items()
    }
    return Dataset(
        source,
        parts[class_folders.TRAIN],
        parts.get(class_folders.TEST),
        parts.get(class_folders.VALIDATION),
        path=str(path),
        naming="classes named after its folders",
        skipped=skipped,
    )


def _load_numbered(
    source: str,
    path: Path,
    pairs: tuple[idx.ImagesAndLabels, idx.ImagesAndLabels | None],
    classes: tuple[str, ...] | None,
    numbers: tuple[int, ...] | None,
    known: bool = False,
) -> Dataset:
    """Name the numeric labels of training and test images. known: they are Fashion-MNIST's."""
    train, test = pairs
    found = np.unique(train[1])
    if known and classes in (None, FASHION_MNIST_CLASSES):
        classes, numbers = FASHION_MNIST_CLASSES, tuple(range(10))
        naming = "Fashion-MNIST by its checksums"
    elif classes is None:
        numbers = tuple(found.tolist())
        classes = tuple(map(str, numbers))
        naming = BY_NUMBER
    else:
        first = int(found[0] >= 1 and found[-1] == len(classes))  # EMNIST counts from 1
        numbers = numbers or tuple(range(first, first + len(classes)))
        naming = f"label {numbers[0]} is {classes[0]}, label {numbers[-1]} is {classes[-1]}"
    return Dataset(
        source,
        _named(train, classes, numbers, path),
        None if test is None else _named(test, classes, numbers, path),
        path=str(path),
        naming=naming,
        numbers=numbers,
    )


def _named(
    pair: idx.ImagesAndLabels, classes: tuple[str, ...], numbers: tuple[int, ...], path: Path
) -> LabelledImages:
    """Add the class names; numbers: the label of each class, ascending. Every label must have a class."""
    images, labels = pair
    positions = np.searchsorted(numbers, labels)
    bad = np.flatnonzero(np.append(numbers, -1)[positions] != labels)
    if len(bad):
        raise DataError(
            f"{path}: label {labels[bad[0]]} at image {bad[0]}, expected one of {len(classes)} from "
            f"{numbers[0]} to {numbers[-1]}; the labels run from {labels.min()} to {labels.max()}; a "
            "training takes a name for each of them with --classes"
        )
    return LabelledImages(images, positions, classes)
