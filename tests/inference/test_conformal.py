"""Prediction sets hold the right class as often as promised, in every class."""

import numpy as np
import pytest
from numpy.typing import NDArray

from fashion_mnist.data.dataset import Dataset
from fashion_mnist.inference.calibration import softmax
from fashion_mnist.inference.conformal import COVERAGES, choose, fit_sets, set_members
from fashion_mnist.inference.predictor import Predictor


def draw(count: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Draw probabilities of four classes, the last of which is harder to tell, and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, count)
    strength = np.where(labels == 3, 1.0, 3.0)
    logits = rng.normal(0, 1, (count, 4)) + strength[:, None] * np.eye(4)[labels]
    return softmax(logits), labels


@pytest.mark.parametrize("coverage", COVERAGES)
def test_new_images_are_covered_in_every_class(coverage: str) -> None:
    least = fit_sets(*draw(8_000, seed=0))[coverage]
    probabilities, labels = draw(20_000, seed=1)
    held = set_members(probabilities, least)[np.arange(len(labels)), labels]
    for index in range(4):
        found, share = held[labels == index].mean(), float(coverage)
        assert found == pytest.approx(share, abs=4 * (share * (1 - share) / 2_000) ** 0.5) or found > share


def test_a_bound_of_a_case_computed_by_hand() -> None:
    own = np.linspace(0.01, 0.99, 99)  # of 99 images and a new one, 5 may be below at 95 %, 1 at 99 %
    probabilities = np.stack([own, 1 - own], axis=1)
    sets = fit_sets(np.concatenate([probabilities, probabilities[:, ::-1]]), np.repeat([0, 1], 99))
    assert sets["0.95"] == pytest.approx((0.05, 0.05))
    assert sets["0.99"] == pytest.approx((0.01, 0.01))
    assert choose([0.05, 0.95], sets["0.95"], 1) == [1, 0]  # at the bound: in


def test_a_class_with_few_images_takes_the_bound_of_all_and_too_few_exclude_nothing() -> None:
    probabilities, labels = draw(400, seed=2)
    few = np.concatenate([np.flatnonzero(labels != 3), np.flatnonzero(labels == 3)[:5]])
    least = fit_sets(probabilities[few], labels[few])["0.95"]
    own = np.sort(probabilities[few, labels[few]])
    below = int((len(own) + 1) * 0.05 + 1e-9)
    assert least[3] == pytest.approx(own[below - 1], abs=1e-8)
    assert set(fit_sets(probabilities[:10], labels[:10])["0.99"]) == {0.0}


def test_the_most_probable_class_is_always_in_and_first() -> None:
    assert choose([0.5, 0.4, 0.1], [0.9, 0.9, 0.9], 0) == [0]
    assert choose([0.3, 0.45, 0.25], [0.2, 0.9, 0.2], 1) == [1, 0, 2]
    probabilities, _ = draw(500, seed=3)
    least = (0.9, 0.01, 0.3, 0.5)
    members = set_members(probabilities, least)
    for row, member in zip(probabilities.round(8).tolist(), members, strict=True):
        assert set(choose(row, least, int(np.argmax(row)))) == set(np.flatnonzero(member))


def test_the_bundled_models_sets_cover_the_sample(bundled: Predictor, sample: Dataset) -> None:
    assert sample.test is not None
    probabilities, labels = bundled.predict(sample.test.images).probabilities, sample.test.labels
    sets = bundled.record.prediction_sets
    assert sets is not None
    for coverage, least_covered, largest in (("0.95", 0.95, 1.10), ("0.99", 0.98, 1.45)):
        members = set_members(probabilities, sets[coverage])
        assert members[np.arange(len(labels)), labels].mean() >= least_covered
        assert members.sum(axis=1).mean() <= largest
