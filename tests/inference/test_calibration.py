"""Probabilities sum to 1, and a temperature calibrates them."""

import numpy as np
import pytest
from numpy.typing import NDArray

from fashion_mnist.data.dataset import Dataset
from fashion_mnist.inference.calibration import fit_temperature, negative_log_likelihood, softmax
from fashion_mnist.inference.predictor import Predictor


@pytest.fixture(scope="module")
def calibrated() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """20,000 rows of logits, and labels drawn with exactly their probabilities."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (20_000, 5))
    ranks = softmax(logits).cumsum(axis=1) < rng.random((20_000, 1))
    return logits, ranks.sum(axis=1).clip(max=4)


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4, 1e30])
@pytest.mark.parametrize("temperature", [0.05, 1.0, 20.0])
def test_rows_sum_to_1_and_survive_large_logits(scale: float, temperature: float) -> None:
    logits = np.random.default_rng(1).normal(0, 1, (50, 10)).astype(np.float32) * np.float32(scale)
    probabilities = softmax(logits, temperature)
    assert probabilities.dtype == np.float64
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(50), abs=1e-12)
    assert np.array_equal(probabilities.argmax(axis=1), logits.argmax(axis=1))


def test_softmax_of_a_case_computed_by_hand() -> None:
    logits = np.log([[1.0, 2.0, 5.0]])
    assert softmax(logits)[0] == pytest.approx([0.125, 0.25, 0.625])
    assert softmax(logits, 0.5)[0] == pytest.approx([1 / 30, 4 / 30, 25 / 30])


def test_negative_log_likelihood_of_a_case_computed_by_hand() -> None:
    probabilities = np.array([[0.5, 0.5], [0.25, 0.75], [1.0, 0.0]])
    labels = np.array([0, 1, 0])
    expected = -(np.log(0.5) + np.log(0.75) + 0) / 3
    assert negative_log_likelihood(probabilities, labels) == pytest.approx(expected)
    assert negative_log_likelihood(probabilities[2:], np.array([1])) == pytest.approx(12 * np.log(10))


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0, 10.0])
def test_a_known_temperature_is_found(
    calibrated: tuple[NDArray[np.float64], NDArray[np.int64]], temperature: float
) -> None:
    logits, labels = calibrated
    assert fit_temperature(logits * temperature, labels) == pytest.approx(temperature, rel=0.05)


def test_no_other_temperature_has_a_lower_loss(
    calibrated: tuple[NDArray[np.float64], NDArray[np.int64]],
) -> None:
    logits, labels = calibrated
    fitted = fit_temperature(logits * 3, labels)
    best = negative_log_likelihood(softmax(logits * 3, fitted), labels)
    for factor in (0.5, 0.9, 0.99, 1.01, 1.1, 2.0):
        assert negative_log_likelihood(softmax(logits * 3, fitted * factor), labels) > best


def test_a_few_images_all_classified_correctly_do_not_give_certainty() -> None:
    logits, labels = np.eye(4) * 5, np.arange(4)
    confidence = softmax(logits, fit_temperature(logits, labels)).max(axis=1)
    assert confidence == pytest.approx(np.full(4, 1 - 1 / 5 * 3 / 4))  # one imaginary image of any class


def test_predictions_that_are_always_wrong_get_the_highest_temperature() -> None:
    logits, labels = np.eye(4) * 5, np.arange(4)
    assert fit_temperature(logits, (labels + 1) % 4) == pytest.approx(20.0)


def test_constant_logits_get_temperature_1() -> None:
    assert fit_temperature(np.zeros((5, 3)), np.zeros(5, np.int64)) == 1.0


def test_a_temperature_lowers_the_loss_of_the_bundled_network(bundled: Predictor, sample: Dataset) -> None:
    assert sample.test is not None
    logits, labels = bundled.outputs(sample.test.images)[0] * 2, sample.test.labels  # overconfident
    fitted = fit_temperature(logits, labels)
    before = negative_log_likelihood(softmax(logits), labels)
    assert negative_log_likelihood(softmax(logits, fitted), labels) < before
