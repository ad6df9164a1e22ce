"""Pictures in one folder per class, with or without folders for training, validation and test."""

import os
import re
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from fashion_mnist.data.dataset import LabelledImages
from fashion_mnist.data.readers import idx
from fashion_mnist.data.readers.picture_files import (
    EMPTY,
    HIDDEN,
    NO_PICTURE,
    Skipped,
    describe_skipped,
    find_reason,
    list_folder,
    skip,
    walk,
)
from fashion_mnist.errors import DataError, InputError, describe
from fashion_mnist.imaging import pixels
from fashion_mnist.spec import ModelSpec, Preparation, normal_names

OUTSIDE: Final = "outside of the class folders"
TRAIN, VALIDATION, TEST = "train", "validation", "test"
SPLIT_NAMES: Final = {
    "train": TRAIN,
    "training": TRAIN,
    "validation": VALIDATION,
    "valid": VALIDATION,
    "val": VALIDATION,
    "dev": VALIDATION,
    "eval": VALIDATION,
    "test": TEST,
    "testing": TEST,
}
"""Words that name a split in a folder's name, as in `Train`, `valid`, `training_set` or `seg_test`."""


def find_splits(folder: Path) -> dict[str, Path]:
    """Return the folders of `train`, `validation` and `test`; the folder itself if it is not split.

    Raises DataError when folders look like splits but are not exactly one for each.
    """
    folder = _enter(folder)
    names = {path: _split_name(path) for path in _folders(folder)}
    found = [name for name in names.values() if name]
    if len(set(found)) < 2:  # a class may be called `train`
        return {TRAIN: folder}
    if None in names.values() or len(set(found)) < len(found) or TRAIN not in found:
        raise DataError(
            f"{folder}: {', '.join(path.name for path in names)} look like splits, expected train, test and "
            "validation (or val, valid) and nothing else; rename or remove the others, or give --data and "
            "--test-data one folder each"
        )
    return {name: path for path, name in names.items() if name}


def read_class_folders(
    folder: Path,
    shape: tuple[int, ...],
    skipped: Skipped,
    strict: bool = False,
    preparation: Preparation = "none",
) -> LabelledImages:
    """Read pictures from one folder per class and its sub-folders; the sorted folder names are the classes.

    shape: (H, W) or (H, W, 3). skipped: receives what is passed over. strict: raise DataError for a file
    that cannot be read as a picture, instead of passing it over. preparation: see `ModelSpec`.
    Raises DataError, which names the file or folder.
    """
    folder = _enter(folder)
    for path in list_folder(folder, skipped):
        if not path.is_dir():
            skip(skipped, OUTSIDE, path)
    tops = _folders(folder)
    _check_count(folder, tops)  # before the long work, not after it
    _check_classes(tops)
    spec = ModelSpec((), shape[0], shape[1], 1 if len(shape) == 2 else 3, preparation)
    files = [(top, path) for top in tops for path in walk(top, skipped)]
    images = np.empty((len(files), *spec.shape), np.uint8)
    read: list[tuple[Path, Path]] = []
    for top, path in track(files, description="Reading pictures", transient=True):
        image = _read(path, spec, skipped, strict)
        if image is not None:
            images[len(read)] = image
            read.append((top, path))
    filled = {top for top, _ in read}
    for top in tops:
        if top not in filled:
            _skip_class(top, skipped, strict)
    tops = [top for top in tops if top in filled]
    _check_count(folder, tops)
    labels = {top: label for label, top in enumerate(tops)}
    return LabelledImages(
        images[: len(read)],
        np.array([labels[top] for top, _ in read], np.int64),
        normal_names(tuple(top.name for top in tops)),
        np.array([_display_name(path.relative_to(folder)) for _, path in read], object),
    )


def _display_name(path: Path) -> str:
    """Return a path as text that can be written: a file name need not be UTF-8."""
    return os.fsencode(path).decode(errors="replace")


def _enter(folder: Path) -> Path:
    """Follow levels that hold a single folder, as in `dataset/images/CLASS`."""
    folders = _folders(folder)
    while len(folders) == 1 and (inner := _folders(folders[0])):
        folder, folders = folders[0], inner
    return folder


def _folders(folder: Path) -> list[Path]:
    """Return the folders in a folder, in the order of their normal names."""
    found = [path for path in list_folder(folder, {}) if path.is_dir()]
    return sorted(found, key=lambda path: normal_names((path.name,)))


def _split_name(folder: Path) -> str | None:
    words = re.findall("[a-z]+", folder.name.lower())
    return next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), None)


def _check_count(folder: Path, classes: list[Path]) -> None:
    if len(classes) < 2:
        raise DataError(
            f"{folder}: {len(classes)} class folders, expected at least 2; give a folder of "
            f"IDX files ({idx.TRAIN_IMAGES}, plain or .gz), a CSV file, or a folder of class folders"
        )


def _check_classes(classes: list[Path]) -> None:
    """Raise DataError for class folders that hold splits: their test images must not train."""
    for top in classes:
        splits = {_split_name(path): path.name for path in _folders(top)}
        splits.pop(None, None)
        if len(splits) > 1:
            raise DataError(
                f"{top}: holds {' and '.join(splits.values())}, which look like splits inside of a class; "
                "expected the classes inside of the splits, as in train/CLASS; move or rename them"
            )


def _read(path: Path, spec: ModelSpec, skipped: Skipped, strict: bool) -> NDArray[np.uint8] | None:
    """Return the picture in the model's shape, or None if the file is passed over."""
    data = b""
    try:
        data = path.read_bytes()
        return pixels.read_picture(data, spec)
    except OSError as error:
        reason, problem = "not readable", describe(error)
    except InputError as error:
        reason, problem = find_reason(path, data, error), f"{path}: {error}"
    if strict:
        raise DataError(problem)
    skip(skipped, reason, path)
    return None


def _skip_class(folder: Path, skipped: Skipped, strict: bool) -> None:
    """Pass over a class folder without pictures. Raises DataError if it has some that cannot be read."""
    unread = {
        reason: inside
        for reason, paths in skipped.items()
        if reason not in (HIDDEN, NO_PICTURE)
        and (inside := [path for path in paths if Path(path).is_relative_to(folder)])
    }
    if unread or strict:
        problem = describe_skipped(unread) or "it has none"
        raise DataError(f"{folder}: no picture in this class folder can be read: {problem}")
    skip(skipped, EMPTY, folder)
