"""Metrics of predicted probabilities against labels."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fashion_mnist.data.dataset import LabelledImages
from fashion_mnist.errors import DataError, DependencyError
from fashion_mnist.inference.calibration import negative_log_likelihood
from fashion_mnist.inference.predictor import Predictor


@dataclass(frozen=True)
class ClassMetrics:
    """Metrics of one class: precision, recall, f1 in 0..1; support: its number of images."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class ReliabilityBin:
    """Images whose confidence lies in one of ten equal parts of 0..1: mean confidence, accuracy, count."""

    confidence: float
    accuracy: float
    count: int


@dataclass(frozen=True)
class Metrics:
    """Metrics of one model on n images.

    nll: mean negative log likelihood in nats. ece: expected calibration error, 0..1.
    confusion: counts by [label][prediction]. reliability: the non-empty bins, in order of confidence.
    """

    n: int
    accuracy: float
    precision: float
    recall: float
    f1: float
    nll: float
    ece: float
    per_class: dict[str, ClassMetrics]
    confusion: list[list[int]]
    reliability: list[ReliabilityBin]

    def asdict(self) -> dict[str, Any]:
        """Return the metrics as plain values, for JSON."""
        return asdict(self)


def predict_all(predictor: Predictor, data: LabelledImages) -> NDArray[np.float64]:
    """Return a predictor's probabilities (N, K) for labelled images.

    Raises DataError when the shape or the classes of the images differ from the model's.
    """
    spec = predictor.spec
    if data.classes != spec.classes:
        raise DataError(
            f"the data has the classes {', '.join(data.classes)}, the model {', '.join(spec.classes)}"
        )
    if data.spec.shape != spec.shape:
        raise DataError(f"the images have the shape {data.spec.shape}, the model takes {spec.shape}")
    return predictor.predict(data.images).probabilities


def evaluate(
    probabilities: NDArray[np.floating], labels: NDArray[np.int64], classes: tuple[str, ...]
) -> Metrics:
    """Compare probabilities (N, K) with labels (N,).

    A class that is never predicted has precision 0. Averages are over the classes, unweighted (macro).
    """
    try:
        from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
    except ImportError as error:
        raise DependencyError.for_training("an evaluation", "scikit-learn") from error
    predicted = probabilities.argmax(axis=1)
    indices = np.arange(len(classes))
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=indices, zero_division=0.0
    )
    rows = zip(classes, precision, recall, f1, support, strict=True)
    reliability = reliability_bins(probabilities, labels)
    return Metrics(
        n=len(labels),
        accuracy=float((predicted == labels).mean()),
        precision=float(precision.mean()),
        recall=float(recall.mean()),
        f1=float(f1.mean()),
        nll=negative_log_likelihood(probabilities, labels),
        ece=sum(abs(b.accuracy - b.confidence) * b.count for b in reliability) / len(labels),
        per_class={c: ClassMetrics(float(p), float(r), float(f), int(n)) for c, p, r, f, n in rows},
        confusion=confusion_matrix(labels, predicted, labels=indices).tolist(),
        reliability=reliability,
    )


def reliability_bins(
    probabilities: NDArray[np.floating], labels: NDArray[np.int64], bins: int = 10
) -> list[ReliabilityBin]:
    """Compare confidence with accuracy in bins of equal width.

    Source: Guo et al., On Calibration of Modern Neural Networks, 2017.
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    numbers = np.minimum((confidence * bins).astype(int), bins - 1)
    return [
        ReliabilityBin(float(confidence[rows].mean()), float(correct[rows].mean()), int(rows.sum()))
        for number in range(bins)
        if (rows := numbers == number).any()
    ]
