"""Features for training only the last layer: computed once and kept for all epochs.

They are stored in parts of PART_IMAGES images, so that a resumed training computes no part twice.
"""

import hashlib
import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from fashion_mnist.data.dataset import LabelledImages
from fashion_mnist.networks.classifiers import Classifier
from fashion_mnist.training.engine import checkpoint_file

logger = logging.getLogger(__name__)

PART_IMAGES: Final = 512
BATCH: Final = 32
"""Images per forward pass: more are no faster at 224 x 224, and take gigabytes with VGG16."""


class LastLayer(nn.Module):
    """The head of a network, sharing its weights: features (N, D) in, (logits, features) out."""

    def __init__(self, network: Classifier) -> None:
        super().__init__()
        self.head = network.head

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return self.head(features), features


@dataclass(frozen=True)
class Features:
    """Features of images. values: bf16 or float32 (N, D). seconds: time spent, in earlier runs too."""

    values: Tensor
    seconds: float


class FeatureExtractor:
    """Computes features in evaluation mode, without augmentation, in bf16 or float32.

    folder: where parts are stored; None stores none. Parts computed from other weights or images, or in
    another precision, are replaced.
    """

    def __init__(self, network: Classifier, folder: Path | None, *, bf16: bool) -> None:
        self.network = network.eval()
        self.folder = folder
        self.bf16 = bf16
        self.key = f"{_fingerprint(network)} {network.side_px} {'bf16' if bf16 else 'fp32'}"

    def compute(
        self, images: LabelledImages, name: str, on_images: Callable[[int], None] = lambda _: None
    ) -> Features:
        """Return the features of the images, in order. name: file prefix. on_images: receives images done."""
        key = f"{self.key} {images.fingerprint()}"
        parts: list[Tensor] = []
        seconds = 0.0
        for start in range(0, len(images), PART_IMAGES):
            path = self.folder / f"{name}-{start:07}.pt" if self.folder else None
            part = _read(path, key) if path else None
            if part is None:
                began = time.monotonic()
                values = self._run(images.images[start : start + PART_IMAGES], start, on_images)
                part = {"key": key, "values": values, "seconds": time.monotonic() - began}
                if path:
                    _write(path, part)
            else:
                on_images(start + len(part["values"]))
            parts.append(part["values"])
            seconds += part["seconds"]
        return Features(torch.cat(parts), seconds)

    @torch.inference_mode()
    def _run(self, images: np.ndarray, done: int, on_images: Callable[[int], None]) -> Tensor:
        """Return the features of the images. done: images before them, counted in the reports."""
        device = next(self.network.parameters()).device
        batches = []
        for batch in torch.split(torch.tensor(images), BATCH):
            with torch.autocast(device.type, torch.bfloat16, enabled=self.bf16):
                _, values = self.network(batch.to(device))
            batches.append(values.to("cpu", torch.bfloat16 if self.bf16 else torch.float32))
            done += len(batch)
            on_images(done)
        return torch.cat(batches)


def folder_beside(checkpoint: Path) -> Path:
    """Return the folder for the features of a training, beside its checkpoint."""
    return checkpoint.with_name(f"{checkpoint.name}.features")


def remove(checkpoint: Path) -> None:
    """Delete the features stored beside a checkpoint, if any."""
    shutil.rmtree(folder_beside(checkpoint), ignore_errors=True)


def _fingerprint(network: Classifier) -> str:
    """Return the SHA-256 of all weights except the head's, which do not affect the features."""
    digest = hashlib.sha256()
    for name, weight in network.state_dict().items():
        if not name.startswith("head."):
            digest.update(name.encode())
            digest.update(weight.cpu().contiguous().numpy().data)
    return digest.hexdigest()


def _read(path: Path, key: str) -> dict[str, Any] | None:
    """Return a stored part, or None if it is missing, damaged or has another key."""
    try:
        part = checkpoint_file.read(path)
        return part if part["key"] == key else None
    except checkpoint_file.UNREADABLE:
        return None


def _write(path: Path, part: dict[str, Any]) -> None:
    """Store a part. A full disk loses the file, not the training."""
    try:
        checkpoint_file.write(path, part)
    except checkpoint_file.UNWRITABLE as error:
        logger.warning("%s: the features cannot be stored: %s", path, error)
