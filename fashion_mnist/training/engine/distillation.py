"""Distillation: a network learns from the outputs of others (Hinton et al. 2015)."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor

from fashion_mnist.errors import ConfigError
from fashion_mnist.inference.predictor import Predictor
from fashion_mnist.registry import model_folder
from fashion_mnist.spec import ModelSpec

TEMPERATURE: Final = 2.0
"""Softens the outputs, so that they show which classes a teacher finds similar."""


class Teachers:
    """Stored models whose mean output is the target; they see the same augmented images as the learner.

    OpenVINO runs them, as in serving. fingerprint: SHA-256 over the checksums of their files.
    Raises ModelError, and ConfigError when the image shape or classes of one differ from `spec`.
    """

    def __init__(self, folders: Sequence[Path], spec: ModelSpec, threads: int | None = None) -> None:
        self.predictors = [Predictor(folder, threads) for folder in folders]
        for predictor in self.predictors:
            if predictor.spec != spec:
                raise ConfigError(
                    f"--teacher {predictor.folder}: its classes or image shape differ from the data's "
                    f"({predictor.spec}, expected {spec}); give a teacher trained on such data"
                )
        checksums = [sorted(predictor.record.checksums.items()) for predictor in self.predictors]
        self.fingerprint = hashlib.sha256(repr(checksums).encode()).hexdigest()

    def describe(self) -> list[dict[str, Any]]:
        """Return origin, accuracy and training time of each teacher, for the model's record."""
        records = [(predictor.folder.name, predictor.record) for predictor in self.predictors]
        return [
            {
                "name": name,
                "command": record.command,
                "accuracy": (record.metrics or {}).get("accuracy"),
                "seconds": record.training.get("seconds"),
                "sha256": record.checksums.get(model_folder.ONNX),
            }
            for name, record in records
        ]

    def loss(self, images: Tensor, logits: Tensor) -> Tensor:
        """Return the divergence of the learner's softened outputs from the teachers', averaged over images.

        images: uint8 (N, H, W[, C]); logits: float (N, K), the learner's. The square of the temperature
        scales it, so that its gradient weighs as much as that of the labels.
        """
        outputs = [torch.from_numpy(p.outputs(images.numpy())[0]) for p in self.predictors]
        target = torch.stack([F.softmax(output / TEMPERATURE, 1) for output in outputs]).mean(0)
        target = target.to(logits.device)
        learnt = F.log_softmax(logits / TEMPERATURE, 1)
        return F.kl_div(learnt, target, reduction="batchmean") * TEMPERATURE**2
