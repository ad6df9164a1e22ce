"""The energy score, and the threshold above which pictures count as out-of-distribution."""

import numpy as np
import pytest

from fashion_mnist.inference.ood import energy_score, fit_threshold


@pytest.mark.parametrize(
    ("logits", "energy"),
    [([0.0] * 10, -np.log(10)), (np.log([1.0, 2.0, 5.0]).tolist(), -np.log(8)), ([7.0], -7.0)],
)
def test_energy_of_cases_computed_by_hand(logits: list[float], energy: float) -> None:
    assert energy_score(np.array([logits]))[0] == pytest.approx(energy)


def test_large_logits_do_not_overflow() -> None:
    scores = energy_score(np.array([[1e4, 0.0], [-1e4, -1e4]], np.float32))
    assert scores == pytest.approx([-1e4, 1e4 - np.log(2)])
    assert scores.dtype == np.float64


def test_flat_logits_score_higher_than_peaked_ones() -> None:
    rng = np.random.default_rng(0)
    flat = rng.normal(0, 0.5, (100, 10))
    peaked = flat + 12 * np.eye(10)[rng.integers(0, 10, 100)]
    assert energy_score(flat).min() > energy_score(peaked).max()


@pytest.mark.parametrize("refuse", [0.01, 0.05])
@pytest.mark.parametrize("count", [200, 3000])
def test_the_threshold_rejects_the_given_share_of_known_images(count: int, refuse: float) -> None:
    scores = np.random.default_rng(0).normal(-10, 3, count)
    threshold = fit_threshold(scores, refuse)
    refused = (scores > threshold).mean()
    assert refuse - 2 / count <= refused <= refuse
    assert threshold in scores


def test_the_default_share_is_one_percent() -> None:
    scores = np.arange(1000.0)
    assert (scores > fit_threshold(scores)).sum() in (9, 10)
