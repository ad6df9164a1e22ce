"""Figures of docs/trust.md on product pictures: `make test-full`."""

from collections.abc import Iterable

import numpy as np
import pytest
from numpy.typing import NDArray
from support.figures import record
from support.product_photos import enlarged, product_photos

from fashion_mnist.data import sources
from fashion_mnist.data.dataset import LabelledImages
from fashion_mnist.imaging import pixels
from fashion_mnist.inference.predictor import Predictor

pytestmark = pytest.mark.full

SEED, N = 0, 1000


@pytest.fixture(scope="module")
def chosen() -> LabelledImages:
    test = sources.load("fashion-mnist").test
    assert test is not None
    return test[np.random.default_rng(SEED).permutation(len(test))[:N]]


def share_right(predictor: Predictor, files: Iterable[bytes], labels: NDArray[np.int64]) -> float:
    images = np.stack([pixels.read_picture(file, predictor.spec) for file in files])
    return float((predictor.predict(images).class_ids == labels).mean())


def test_product_photos(bundled: Predictor, chosen: LabelledImages) -> None:
    right = share_right(bundled, product_photos(chosen.images, SEED), chosen.labels)
    original = float((bundled.predict(chosen.images).class_ids == chosen.labels).mean())
    record("product photos", right=right, originals=original, n=N, seed=SEED)
    assert right >= 0.92


@pytest.mark.parametrize(("ground", "least"), [("black", 0.95), ("margin", 0.945), ("white", 0.935)])
def test_test_images_enlarged_four_times(bundled: Predictor, ground: str, least: float) -> None:
    test = sources.load("fashion-mnist").test
    assert test is not None
    right = share_right(bundled, (enlarged(image, ground) for image in test.images), test.labels)
    original = float((bundled.predict(test.images).class_ids == test.labels).mean())
    record(f"enlarged four times, {ground}", right=right, originals=original, n=len(test))
    assert right >= least
