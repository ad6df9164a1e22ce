"""Metrics checked against cases computed by hand, and data that does not fit the model."""

import dataclasses
import json

import numpy as np
import pytest
from numpy.typing import NDArray

from fashion_mnist.data.dataset import Dataset, LabelledImages
from fashion_mnist.errors import DataError
from fashion_mnist.evaluation.metrics import Metrics, evaluate, predict_all
from fashion_mnist.evaluation.tables import metrics_table
from fashion_mnist.inference.predictor import Predictor

CLASSES = ("shirt", "bag", "boot")
LABELS = np.array([0, 0, 1, 1, 2])


def probabilities(predicted: list[int]) -> NDArray[np.float64]:
    """Give 0.6 to the predicted class and 0.2 to the two others."""
    return 0.2 + 0.4 * np.eye(3)[predicted]


@pytest.fixture
def metrics() -> Metrics:
    """Metrics with one shirt classified as a bag and the boot as a shirt; nothing is classified as a boot."""
    return evaluate(probabilities([0, 1, 1, 1, 0]), LABELS, CLASSES)


def test_the_confusion_matrix_has_labels_in_rows(metrics: Metrics) -> None:
    assert metrics.confusion == [[1, 1, 0], [0, 2, 0], [1, 0, 0]]


def test_accuracy_and_loss(metrics: Metrics) -> None:
    assert metrics.n == 5
    assert metrics.accuracy == pytest.approx(3 / 5)
    assert metrics.nll == pytest.approx(-(3 * np.log(0.6) + 2 * np.log(0.2)) / 5)


@pytest.mark.parametrize(
    ("name", "precision", "recall", "f1", "support"),
    [
        ("shirt", 1 / 2, 1 / 2, 1 / 2, 2),
        ("bag", 2 / 3, 1, 4 / 5, 2),
        ("boot", 0, 0, 0, 1),  # never predicted
    ],
)
def test_metrics_of_each_class(
    metrics: Metrics, name: str, precision: float, recall: float, f1: float, support: int
) -> None:
    row = metrics.per_class[name]
    assert dataclasses.astuple(row) == pytest.approx((precision, recall, f1, support))


def test_averages_are_unweighted_over_the_classes(metrics: Metrics) -> None:
    assert metrics.precision == pytest.approx((1 / 2 + 2 / 3) / 3)
    assert metrics.recall == pytest.approx(1.5 / 3)
    assert metrics.f1 == pytest.approx(1.3 / 3)


def test_calibration_compares_confidence_with_accuracy(metrics: Metrics) -> None:
    assert metrics.ece == pytest.approx(0)  # confidence 0.6, and right in 3 of 5
    assert len(metrics.reliability) == 1
    assert dataclasses.astuple(metrics.reliability[0]) == pytest.approx((0.6, 0.6, 5, 0.2, 1.0))
    unsure = evaluate(probabilities(LABELS.tolist()), LABELS, CLASSES)
    assert unsure.ece == pytest.approx(0.4)


def test_perfect_predictions() -> None:
    metrics = evaluate(probabilities(LABELS.tolist()), LABELS, CLASSES)
    assert (metrics.accuracy, metrics.precision, metrics.recall, metrics.f1) == (1, 1, 1, 1)


def test_a_class_without_images_keeps_its_row() -> None:
    metrics = evaluate(probabilities([0, 1]), np.array([0, 1]), CLASSES)
    assert metrics.per_class["boot"].support == 0
    assert np.shape(metrics.confusion) == (3, 3)


def test_the_report_is_json_and_a_table(metrics: Metrics) -> None:
    assert json.loads(json.dumps(metrics.asdict()))["per_class"]["bag"]["recall"] == 1
    table = metrics_table(metrics, "Test images")
    assert table.title == "Test images: 5 images"
    assert table.row_count == len(CLASSES) + 1
    assert str(table.caption).startswith("accuracy 60.00%")


def test_other_classes_are_refused(bundled: Predictor, sample: Dataset) -> None:
    with pytest.raises(DataError, match=r"the data has the classes a, b, the model T-shirt/top"):
        predict_all(bundled, dataclasses.replace(sample.train, classes=("a", "b")))


def test_another_shape_is_refused(bundled: Predictor, sample: Dataset) -> None:
    images = sample.train.images
    for other in (images[:, :27], np.stack([images] * 3, axis=3)):
        with pytest.raises(DataError, match=r"the images have the shape .*, the model takes \(28, 28\)"):
            predict_all(bundled, dataclasses.replace(sample.train, images=other))


def test_the_bundled_model_is_measured_on_real_images(bundled: Predictor, sample: Dataset) -> None:
    assert sample.test is not None
    few: LabelledImages = sample.test[np.arange(100)]
    metrics = evaluate(predict_all(bundled, few), few.labels, few.classes)
    assert metrics.n == 100
    assert metrics.accuracy > 0.8
    assert np.sum(metrics.confusion) == 100
