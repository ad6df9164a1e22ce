"""Distillation: a network learns from the answers of others (Hinton et al. 2015)."""

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
"""Softens the answers, so that what a teacher holds to be similar shows."""


class Teachers:
    """Stored models whose mean answer is the target. They see the very images that the learner sees.

    Run by OpenVINO, as served. fingerprint: SHA-256 over the checksums of their files. Raises ModelError,
    and ConfigError where one has another shape of images or other classes than `spec`.
    """

    def __init__(self, folders: Sequence[Path], spec: ModelSpec, threads: int | None = None) -> None:
        self.predictors = [Predictor(folder, threads) for folder in folders]
        for predictor in self.predictors:
            if predictor.spec != spec:
                raise ConfigError(
                    f"--teacher {predictor.folder}: has other classes or another shape of images than the "
                    f"data ({predictor.spec} against {spec}); give a teacher that was trained on such data"
                )
        checksums = [sorted(predictor.record.checksums.items()) for predictor in self.predictors]
        self.fingerprint = hashlib.sha256(repr(checksums).encode()).hexdigest()

    def describe(self) -> list[dict[str, Any]]:
        """For the record: where each comes from, how good it is and what it took."""
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
        """Divergence of the learner's answers from the teachers', both softened; mean over the images.

        images: uint8 (N, H, W[, C]); logits: float (N, K), the learner's. Multiplied by the square of
        the temperature, so that its gradient weighs as much as that of the labels.
        """
        answers = [torch.from_numpy(p.outputs(images.numpy())[0]) for p in self.predictors]
        target = torch.stack([F.softmax(answer / TEMPERATURE, 1) for answer in answers]).mean(0)
        target = target.to(logits.device)
        learnt = F.log_softmax(logits / TEMPERATURE, 1)
        return F.kl_div(learnt, target, reduction="batchmean") * TEMPERATURE**2
