"""Predictions for a batch of images, and their form in responses."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

PROBABILITY_DIGITS: Final = 8
"""Enough for a row to sum to 1 within 1e-7; a third shorter than full precision."""


@dataclass(frozen=True)
class Predictions:
    """Predictions for N images. probabilities: float64 (N, K), rows sum to 1.

    ood_scores: float64 (N,), higher means less like the training images. in_distribution: bool (N,),
    score <= threshold. Both are None for a model without calibration.
    """

    probabilities: NDArray[np.float64]
    ood_scores: NDArray[np.float64] | None
    in_distribution: NDArray[np.bool_] | None

    @property
    def class_ids(self) -> NDArray[np.int64]:
        """Index of the most probable class: int64 (N,)."""
        ids: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return ids

    @classmethod
    def join(cls, parts: Sequence["Predictions"]) -> "Predictions":
        """Concatenate predictions of one model."""
        if len(parts) == 1:
            return parts[0]
        scores = [p.ood_scores for p in parts if p.ood_scores is not None]
        known = [p.in_distribution for p in parts if p.in_distribution is not None]
        return cls(
            np.concatenate([p.probabilities for p in parts]),
            np.concatenate(scores) if scores else None,
            np.concatenate(known) if known else None,
        )

    def __len__(self) -> int:
        return len(self.probabilities)

    def __getitem__(self, rows: slice) -> "Predictions":
        return Predictions(
            self.probabilities[rows],
            None if self.ood_scores is None else self.ood_scores[rows],
            None if self.in_distribution is None else self.in_distribution[rows],
        )


def to_objects(
    predictions: Predictions, classes: tuple[str, ...], top: int | None = None
) -> list[dict[str, Any]]:
    """Return one object per image, as in responses; `probabilities` keeps the order of the classes."""
    rounded = predictions.probabilities.round(PROBABILITY_DIGITS)
    ids = predictions.class_ids.tolist()
    scores = [None] * len(ids) if predictions.ood_scores is None else predictions.ood_scores.round(6).tolist()
    known = [None] * len(ids) if predictions.in_distribution is None else predictions.in_distribution.tolist()
    objects = []
    for class_id, row, score, within in zip(ids, rounded.tolist(), scores, known, strict=True):
        named = dict(zip(classes, row, strict=True))
        if top is not None:
            kept = set(sorted(classes, key=named.__getitem__, reverse=True)[:top])
            named = {name: value for name, value in named.items() if name in kept}
        objects.append(
            {
                "prediction": classes[class_id],
                "class_id": class_id,
                "confidence": row[class_id],
                "probabilities": named,
                "in_distribution": within,
                "ood_score": score,
            }
        )
    return objects
