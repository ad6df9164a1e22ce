"""Predictions for a batch of images, and their form in responses."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fashion_mnist.inference.conformal import DIGITS, choose

PROBABILITY_DIGITS: Final = DIGITS
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
    predictions: Predictions,
    classes: tuple[str, ...],
    top: int | None = None,
    least: Sequence[float] | None = None,
) -> list[dict[str, Any]]:
    """Return one object per image, as in responses; `probabilities` keeps the order of the classes.

    least: bounds of the prediction sets, see conformal.py; without them, the sets are None.
    """
    rounded = predictions.probabilities.round(PROBABILITY_DIGITS)
    ids = predictions.class_ids.tolist()
    scores = [None] * len(ids) if predictions.ood_scores is None else predictions.ood_scores.round(6).tolist()
    known = [None] * len(ids) if predictions.in_distribution is None else predictions.in_distribution.tolist()
    objects = []
    for class_id, row, score, within in zip(ids, rounded.tolist(), scores, known, strict=True):
        members = None if least is None else [classes[k] for k in choose(row, least, class_id)]
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
                "prediction_set": members,
                "in_distribution": within,
                "ood_score": score,
            }
        )
    return objects
