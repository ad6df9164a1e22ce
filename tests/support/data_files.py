"""Write data sets in the formats that users have."""

import gzip
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fashion_mnist.data.dataset import LabelledImages
from support.paths import SAMPLE

LABELS = "train-labels-idx1-ubyte"


def unpacked(name: str) -> bytes:
    return gzip.decompress((SAMPLE / f"{name}.gz").read_bytes())


def write_lines(path: Path, *lines: str) -> Path:
    content = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(content, 1) if path.suffix == ".gz" else content)
    return path


def csv_rows(images: LabelledImages) -> list[str]:
    values = np.column_stack([images.labels, images.images.reshape(len(images), -1)])
    return [",".join(map(str, row)) for row in values.tolist()]


def write_class_folder(folder: Path, pictures: Iterable[NDArray[np.uint8]], suffix: str = ".png") -> Path:
    folder.mkdir(parents=True)
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{number:04}{suffix}")
    return folder
