"""Picture files in one folder per class."""

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from fashion_mnist.data.readers import idx
from fashion_mnist.errors import DataError, InputError
from fashion_mnist.imaging import pixels
from fashion_mnist.spec import ModelSpec

PICTURE_SUFFIXES: Final = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif"}


def read_class_folders(
    folder: Path, shape: tuple[int, ...]
) -> tuple[NDArray[np.uint8], NDArray[np.int64], tuple[str, ...]]:
    """Read pictures from one folder per class; the sorted folder names are the classes.

    shape: (H, W) or (H, W, 3). Returns images (N, *shape), labels and classes. Hidden files and files
    without a picture suffix are skipped. Raises DataError, which names the file or folder.
    """
    folders = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if len(folders) < 2:
        raise DataError(
            f"{folder}: {len(folders)} class folders, expected at least 2; give a folder of "
            f"IDX files ({idx.TRAIN_IMAGES}, plain or .gz), a CSV file, or a folder of class folders"
        )
    files: list[tuple[Path, int]] = []
    for label, class_folder in enumerate(folders):
        found = sorted(
            p
            for p in class_folder.iterdir()
            if p.suffix.lower() in PICTURE_SUFFIXES and not p.name.startswith(".")
        )
        if not found:
            raise DataError(f"{class_folder}: no pictures in this class folder; add some or remove it")
        files += [(path, label) for path in found]
    classes = tuple(p.name for p in folders)
    spec = ModelSpec(classes, shape[0], shape[1], 1 if len(shape) == 2 else 3)
    images = np.empty((len(files), *spec.shape), np.uint8)
    for row, (path, _) in enumerate(track(files, description="Reading pictures", transient=True)):
        try:
            images[row] = pixels.read_picture(path.read_bytes(), spec)
        except InputError as error:
            raise DataError(f"{path}: {error}") from error
    return images, np.array([label for _, label in files], np.int64), classes
