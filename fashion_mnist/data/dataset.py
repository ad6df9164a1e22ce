"""Labelled images and data sets."""

import hashlib
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fashion_mnist.data.readers.picture_files import Skipped, describe_skipped
from fashion_mnist.errors import DataError
from fashion_mnist.spec import FASHION_MNIST, MAX_SIDE_PX, ModelSpec, find_name_problem

BY_NUMBER: Final = "classes named by number"


@dataclass(frozen=True)
class LabelledImages:
    """Images with their labels.

    images: uint8 (N, H, W) or (N, H, W, 3). labels: int64 (N,), indices into `classes`.
    files: str (N,), the names of their files, or None where a file holds many images.
    Raises DataError when there are fewer than two class names, or one is empty, unprintable, too long or
    repeated, and when the images are larger than a model's may be.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    files: NDArray[np.object_] | None = None

    def __post_init__(self) -> None:
        if problem := find_name_problem(self.classes):
            raise DataError(problem)
        height, width = self.images.shape[1:3]
        if max(height, width) > MAX_SIDE_PX:
            raise DataError(
                f"images of {height} x {width} pixels; a model takes {MAX_SIDE_PX} a side, shrink them"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: NDArray[np.int64]) -> "LabelledImages":
        files = None if self.files is None else self.files[rows]
        return LabelledImages(self.images[rows], self.labels[rows], self.classes, files)

    @property
    def spec(self) -> ModelSpec:
        """Return the image shape and classes of a model trained on these images."""
        height, width, *channels = self.images.shape[1:]
        return ModelSpec(self.classes, height, width, channels[0] if channels else 1)

    def fingerprint(self) -> str:
        """Return the SHA-256 of shape, classes, labels and pixels; equal data have equal fingerprints."""
        digest = hashlib.sha256(repr((self.images.shape, self.classes)).encode())
        digest.update(np.ascontiguousarray(self.labels, dtype="<i8").data)
        digest.update(np.ascontiguousarray(self.images).data)
        return digest.hexdigest()


@dataclass(frozen=True)
class Dataset:
    """Images of one source.

    name: the source as the user gave it. test, validation: None if the source has no such images.
    path, test_path: the file or folder that was read, and that of `test` if it is another.
    naming: where the class names come from, as a clause. numbers: the label of each class in the files, or
    None if the classes are folders. skipped: files that were passed over.
    """

    name: str
    train: LabelledImages
    test: LabelledImages | None
    validation: LabelledImages | None = None
    path: str = ""
    test_path: str | None = None
    naming: str = ""
    numbers: tuple[int, ...] | None = None
    skipped: Skipped = field(default_factory=dict)

    def describe(self) -> list[str]:
        """Return lines for the user: what was read, whose class names are used, what was passed over."""
        hint = f"; --classes names them, --classes {FASHION_MNIST} as garments"
        hint = hint if self.naming == BY_NUMBER else ""
        skipped = [f"passed over: {describe_skipped(self.skipped)}"] if self.skipped else []
        return [f"reading {self.path} ({self.naming}{hint})", *skipped]

    def origin(self) -> dict[str, Any]:
        """Return the facts about the source for the model's record."""
        return {
            "name": self.name,
            "source": self.path,
            "test_source": self.test_path,
            "naming": self.naming,
            "numbers": self.numbers,
            "skipped": {reason: len(names) for reason, names in self.skipped.items()},
        }
