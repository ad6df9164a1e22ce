"""The OOD head: drawn pictures have the model's shape, and a head fitted to them tells others."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support.models import write_untrained

from fashion_mnist.export import ood_head, outliers, variations
from fashion_mnist.inference.predictor import Predictor
from fashion_mnist.spec import ModelSpec
from fashion_mnist.training.pipeline import Trained

SHAPES = [(28, 28), (12, 20), (40, 32, 3), (5, 6, 3)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", dict.fromkeys(outliers.KINDS), ids=lambda kind: kind.__name__)
def test_every_kind_draws_different_pictures_of_any_shape(
    kind: outliers.Kind, shape: tuple[int, ...]
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (9, *shape), np.uint8)
    before = images.copy()
    rng = np.random.default_rng(1)
    drawn = [kind(images, rng) for _ in range(20)]
    assert {(picture.shape, picture.dtype) for picture in drawn} == {(shape, np.dtype(np.uint8))}
    assert len({picture.tobytes() for picture in drawn}) > 10
    assert np.array_equal(images, before)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_same_seed_draws_the_same_pictures(shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (9, *shape), np.uint8)
    for draw in (
        lambda rng: outliers.draw_outliers(images, 30, rng),
        lambda rng: variations.vary_known(images, rng),
    ):
        first, second, other = (draw(np.random.default_rng(seed)) for seed in (1, 1, 2))  # type: ignore[no-untyped-call]
        assert first.shape[1:] == shape
        assert np.array_equal(first, second)
        assert not np.array_equal(first, other)


def test_varied_images_resemble_the_original(test_images: NDArray[np.uint8]) -> None:
    varied = variations.vary_known(test_images[:200], np.random.default_rng(0)).astype(float)
    original = test_images[:200].astype(float)
    nearest = np.minimum(abs(varied - original).mean((1, 2)), abs(varied - original[:, :, ::-1]).mean((1, 2)))
    unrelated = abs(varied - np.roll(original, 1, axis=0)).mean((1, 2))
    assert np.median(nearest) < np.median(unrelated) / 2


@pytest.mark.slow
def test_a_trained_models_head_tells_drawings_from_its_images(
    trained: tuple[Trained, Path], test_images: NDArray[np.uint8]
) -> None:
    predictor = Predictor(trained[1])
    known = predictor.predict(test_images).ood_scores
    rng = np.random.default_rng(9)
    drawn = predictor.predict(outliers.draw_outliers(test_images, 300, rng)).ood_scores
    noise = predictor.predict(rng.integers(0, 256, (300, 28, 28), np.uint8)).ood_scores
    assert known is not None
    assert drawn is not None
    assert noise is not None
    assert np.median(known) < -1 < 1 < np.median(drawn)
    assert np.quantile(noise, 0.05) > np.quantile(known, 0.95)


@pytest.mark.slow
def test_a_head_of_colour_pictures_is_fitted_and_repeats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ood_head, "MIN_OUTLIERS", 300)
    predictor = Predictor(write_untrained(tmp_path / "model", ModelSpec(("a", "b"), 20, 16, 3)))
    images = np.full((60, 20, 16, 3), 200, np.uint8)
    images[:, 4:16, 4:12] = np.random.default_rng(0).integers(0, 80, (60, 1, 1, 3))
    first, second = (ood_head.fit_head(predictor, images) for _ in range(2))
    assert first.to_bytes() == second.to_bytes()
    strange = np.random.default_rng(1).integers(0, 256, images.shape, np.uint8)
    assert np.median(first.score(*predictor.outputs(images))) < np.median(
        first.score(*predictor.outputs(strange))
    )
