"""Metrics of predicted probabilities against labels."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fashion_mnist.data.dataset import LabelledImages
from fashion_mnist.errors import DataError, DependencyError
from fashion_mnist.inference.calibration import negative_log_likelihood
from fashion_mnist.inference.conformal import set_members
from fashion_mnist.inference.predictor import Predictor

BINS: Final = 15
"""Of the confidence, for calibration error and reliability, as in Guo et al.: the error depends on them. The
bundled model has 0.0046 with 10 and 0.0039 with 15."""
RESAMPLES: Final = 1_000


@dataclass(frozen=True)
class ClassMetrics:
    """Metrics of one class: precision, recall, f1 in 0..1; support: its number of images."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class ReliabilityBin:
    """Images whose confidence lies in one of BINS equal parts of 0..1: mean confidence, accuracy, count.

    low, high: 95 % interval of the accuracy, by bootstrap.
    """

    confidence: float
    accuracy: float
    count: int
    low: float
    high: float


@dataclass(frozen=True)
class SetMetrics:
    """How often the prediction sets hold the right class, and how many classes they hold on average.

    by_class: the share for each class that has images.
    """

    coverage: float
    mean_size: float
    by_class: dict[str, float]

    def describe(self) -> str:
        """Return the figures as a clause."""
        return (
            f"{self.coverage:.2%} hold the right class, {min(self.by_class.values()):.1%} in the worst "
            f"class; {self.mean_size:.2f} classes on average"
        )


@dataclass(frozen=True)
class Metrics:
    """Metrics of one model on n images.

    nll: mean negative log likelihood in nats. ece: expected calibration error in BINS bins, 0..1.
    confusion: counts by [label][prediction]. reliability: the non-empty bins, in order of confidence.
    sets: by coverage; empty for a model without prediction sets.
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
    sets: dict[str, SetMetrics]

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
    probabilities: NDArray[np.float64],
    labels: NDArray[np.int64],
    classes: tuple[str, ...],
    sets: Mapping[Any, Sequence[float]] | None = None,
) -> Metrics:
    """Compare probabilities (N, K) with labels (N,).

    sets: of the model's record. A class that is never predicted has precision 0. Averages are over the
    classes, unweighted (macro).
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
        ece=calibration_error(reliability),
        per_class={c: ClassMetrics(float(p), float(r), float(f), int(n)) for c, p, r, f, n in rows},
        confusion=confusion_matrix(labels, predicted, labels=indices).tolist(),
        reliability=reliability,
        sets={
            coverage: _measure_sets(set_members(probabilities, least), labels, classes)
            for coverage, least in (sets or {}).items()
        },
    )


def _measure_sets(
    members: NDArray[np.bool_], labels: NDArray[np.int64], classes: tuple[str, ...]
) -> SetMetrics:
    held = members[np.arange(len(labels)), labels]
    by_class = {
        name: float(held[rows].mean())
        for index, name in enumerate(classes)
        if (rows := labels == index).any()
    }
    return SetMetrics(float(held.mean()), float(members.sum(axis=1).mean()), by_class)


def calibration_error(reliability: Sequence[ReliabilityBin]) -> float:
    """Return the expected calibration error, 0..1: accuracy minus confidence, averaged over all images."""
    n = sum(b.count for b in reliability)
    return sum(abs(b.accuracy - b.confidence) * b.count for b in reliability) / n


def reliability_bins(
    probabilities: NDArray[np.floating], labels: NDArray[np.int64], bins: int = BINS
) -> list[ReliabilityBin]:
    """Compare confidence with accuracy in bins of equal width.

    Resampling the images of a bin draws its number of right ones from a binomial distribution, seeded.
    Source: Guo et al., On Calibration of Modern Neural Networks, 2017.
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    numbers = np.minimum((confidence * bins).astype(int), bins - 1)
    rng = np.random.default_rng(0)
    result = []
    for number in np.unique(numbers):
        rows = numbers == number
        count, accuracy = int(rows.sum()), float(correct[rows].mean())
        low, high = np.quantile(rng.binomial(count, accuracy, RESAMPLES) / count, (0.025, 0.975)).tolist()
        result.append(ReliabilityBin(float(confidence[rows].mean()), accuracy, count, low, high))
    return result
