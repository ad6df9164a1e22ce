"""Out-of-distribution scores: the head, energies, and the threshold above which pictures count as strange."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fashion_mnist.errors import ModelError
from fashion_mnist.inference.ood import (
    MAX_HEAD_BYTES,
    SHARES,
    OodHead,
    energy_score,
    find_threshold,
    fit_thresholds,
    hidden_units,
    read_head,
)
from fashion_mnist.inference.predictor import Predictor
from fashion_mnist.registry import model_folder, store


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


@pytest.mark.parametrize("count", [200, 3000])
def test_a_threshold_refuses_at_most_its_share_of_known_images(count: int) -> None:
    scores = np.random.default_rng(0).normal(-10, 3, count)
    for share, threshold in zip(SHARES, fit_thresholds(scores), strict=True):
        refused = (scores > threshold).mean()
        assert share - 2 / count <= refused <= share + 1e-12


def test_thresholds_lie_between_those_of_the_record(bundled: Predictor) -> None:
    record = bundled.record
    assert record.ood_thresholds is not None
    assert find_threshold(record, 0.01) == record.ood_threshold == pytest.approx(record.ood_thresholds[9])
    assert find_threshold(record, 0.001) == record.ood_thresholds[0]
    between = find_threshold(record, 0.0105)
    assert between is not None
    assert record.ood_thresholds[10] <= between <= record.ood_thresholds[9]
    earlier = record.model_copy(update={"ood_thresholds": None, "ood_threshold": -5.0})
    assert find_threshold(earlier, 0.05) == -5.0


def head(inputs: int = 12) -> OodHead:
    rng = np.random.default_rng(0)
    units = hidden_units(inputs)
    sizes = (inputs, inputs, inputs * units, units, units)
    low, high, weights, bias, output = (rng.normal(0, 1, n).astype(np.float32) for n in sizes)
    return OodHead(low - 8, high + 8, weights.reshape(inputs, units), bias, output)


def test_a_head_computes_a_network_of_clipped_inputs() -> None:
    rng = np.random.default_rng(1)
    logits, features = rng.normal(0, 9, (5, 4)), rng.normal(0, 9, (5, 8))
    known = head()
    x = np.hstack([logits, features]).clip(known.low, known.high)
    expected = np.maximum(x @ known.weights + known.bias, 0) @ known.output
    found = known.score(logits.astype(np.float32), features.astype(np.float32))
    assert found == pytest.approx(expected, abs=1e-3)
    assert np.isfinite(known.score(np.full((1, 4), 1e38, np.float32), np.full((1, 8), -1e38, np.float32)))


@pytest.mark.parametrize("inputs", [3, 266, 1290, 4106])
def test_a_head_reads_back_and_is_small(inputs: int, tmp_path: Path) -> None:
    written = head(inputs)
    (tmp_path / model_folder.OOD_HEAD).write_bytes(written.to_bytes())
    assert len(written.to_bytes()) <= MAX_HEAD_BYTES
    read = read_head(tmp_path, inputs)
    assert np.array_equal(read.weights, written.weights)
    assert read.output.tolist() == written.output.tolist()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda data: data[:-4], "36428 bytes, expected 36432"),
        (lambda data: data + bytes(1_000_000), "expected 36432 for 266 outputs"),
        (lambda data: b"\0\0\xc0\x7f" + data[4:], "not finite"),
    ],
    ids=["short", "long", "NaN"],
)
def test_a_damaged_head_is_refused(tmp_path: Path, change: object, problem: str) -> None:
    folder = shutil.copytree(store.BUNDLED_FOLDER, tmp_path / "model")
    path = folder / model_folder.OOD_HEAD
    path.write_bytes(change(path.read_bytes()))  # type: ignore[operator]
    model_folder.write_record(folder, Predictor(store.BUNDLED_FOLDER).record)
    with pytest.raises(ModelError, match=problem):
        Predictor(folder)


def test_the_bundled_head_tells_strange_pictures(bundled: Predictor, test_images: NDArray[np.uint8]) -> None:
    rng = np.random.default_rng(0)
    side = np.arange(28)
    upper, lower = test_images[:200, :14], test_images[:200, 14:]
    strange = {
        "noise": rng.integers(0, 256, (200, 28, 28), np.uint8),
        "constant": np.repeat(np.arange(0, 256, 8, dtype=np.uint8), 784).reshape(-1, 28, 28),
        "checkerboard": 255 * ((side[:, None] // 4 + side // 4) % 2).astype(np.uint8)[None],
        "inverted": 255 - test_images[:200],
        "halves swapped": np.concatenate([lower, upper], axis=1),
    }
    for name, images in strange.items():
        known = bundled.predict(images).in_distribution
        assert known is not None
        assert known.mean() <= (0.35 if name == "halves swapped" else 0.01), name  # a bag stays one


def test_a_larger_share_refuses_more(test_images: NDArray[np.uint8]) -> None:
    refused = []
    for share in (0.001, 0.01, 0.05):
        known = Predictor(store.BUNDLED_FOLDER, refuse=share).predict(test_images).in_distribution
        assert known is not None
        refused.append(1 - known.mean())
    assert refused[0] <= 0.005 < 0.02 < refused[2] < 0.08
    assert refused[0] <= refused[1] <= refused[2]


def test_a_model_of_an_earlier_release_is_scored_by_energy(
    tmp_path: Path, bundled: Predictor, test_images: NDArray[np.uint8]
) -> None:
    folder = shutil.copytree(store.BUNDLED_FOLDER, tmp_path / "model")
    (folder / model_folder.OOD_HEAD).unlink()
    earlier = {"format": 1, "ood_threshold": -5.86, "ood_thresholds": None, "prediction_sets": None}
    model_folder.write_record(folder, bundled.record.model_copy(update=earlier))
    old = Predictor(folder, refuse=0.05)
    found = old.predict(test_images[:50])
    assert found.ood_scores == pytest.approx(energy_score(old.outputs(test_images[:50])[0]))
    assert old.ood_threshold == -5.86
