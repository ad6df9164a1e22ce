"""Labelled images and data sets."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fashion_mnist.errors import DataError
from fashion_mnist.spec import ModelSpec, find_name_problem


@dataclass(frozen=True)
class LabelledImages:
    """Images with their labels.

    images: uint8 (N, H, W) or (N, H, W, 3). labels: int64 (N,), indices into `classes`.
    Raises DataError when there are fewer than two class names, or one is empty, unprintable or repeated.
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

    name: the source as the user gave it. test: None if the source has no test images.
    """

    name: str
    train: LabelledImages
    test: LabelledImages | None
