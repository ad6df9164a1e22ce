"""The compiled model: predictions do not depend on the batch, and agree with torch."""

import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fashion_mnist.data.dataset import Dataset
from fashion_mnist.errors import ModelError
from fashion_mnist.export.torch_predictor import torch_predictor
from fashion_mnist.inference import openvino_runtime
from fashion_mnist.inference.openvino_runtime import BATCH_SIZES
from fashion_mnist.inference.predictor import Predictor
from fashion_mnist.registry import model_folder, store
from fashion_mnist.registry.model_folder import read_record, write_record

FP32_TOLERANCE = 0.01
"""Maximum difference of a probability between fp32 and torch: the graph stores weights in half precision."""
BF16_TOLERANCE = 0.02
"""Mean difference of the top probability between the precision served and torch."""


@pytest.fixture(scope="module")
def reference() -> Predictor:
    return torch_predictor(store.BUNDLED_FOLDER)


def test_fp32_agrees_with_torch_on_1000_real_images(
    reference: Predictor, test_images: NDArray[np.uint8]
) -> None:
    compiled = Predictor(store.BUNDLED_FOLDER, precision="fp32").predict(test_images)
    expected = reference.predict(test_images)
    assert np.abs(compiled.probabilities - expected.probabilities).max() < FP32_TOLERANCE
    assert (compiled.class_ids == expected.class_ids).mean() >= 0.999
    assert compiled.ood_scores is not None
    assert expected.ood_scores is not None
    assert np.abs(compiled.ood_scores - expected.ood_scores).max() < 0.05


def test_the_served_precision_agrees_with_torch_on_1000_real_images(
    reference: Predictor, bundled: Predictor, test_images: NDArray[np.uint8]
) -> None:
    served, expected = bundled.predict(test_images), reference.predict(test_images)
    assert (served.class_ids == expected.class_ids).mean() >= 0.997
    difference = np.abs(served.probabilities.max(axis=1) - expected.probabilities.max(axis=1))
    assert difference.mean() < BF16_TOLERANCE


def test_accuracy_on_the_sample_is_close_to_the_record(bundled: Predictor, sample: Dataset) -> None:
    assert sample.test is not None
    found = (bundled.predict(sample.test.images).class_ids == sample.test.labels).mean()
    metrics = bundled.record.metrics
    assert metrics is not None
    assert found == pytest.approx(metrics["accuracy"], abs=0.02)  # 2.6 standard errors of n = 1,000


@pytest.mark.parametrize("count", [1, 2, 3, 37, 63, 64, 65, 200])
def test_a_prediction_does_not_depend_on_its_batch(
    bundled: Predictor, test_images: NDArray[np.uint8], count: int
) -> None:
    together = bundled.predict(test_images[:count]).probabilities
    alone = np.concatenate([bundled.predict(i[None]).probabilities for i in test_images[:count]])
    assert np.abs(together - alone).max() < 1e-6


def test_compiled_sizes_add_up_to_any_count() -> None:
    assert BATCH_SIZES[-1] == 1
    assert all(a == 2 * b for a, b in pairwise(BATCH_SIZES))


def test_about_one_percent_of_test_images_is_out_of_distribution(
    bundled: Predictor, test_images: NDArray[np.uint8]
) -> None:
    known = bundled.predict(test_images).in_distribution
    assert known is not None
    assert 0.97 < known.mean() < 1


def test_noise_scores_higher_than_garments(bundled: Predictor, test_images: NDArray[np.uint8]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 28, 28), np.uint8)
    strange, known = bundled.predict(noise).ood_scores, bundled.predict(test_images).ood_scores
    assert strange is not None
    assert known is not None
    assert np.median(strange) > np.median(known)


def test_a_model_without_calibration_has_no_ood_scores(
    tmp_path: Path, test_images: NDArray[np.uint8]
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(store.BUNDLED_FOLDER, folder)
    (folder / model_folder.OOD_HEAD).unlink()
    missing = ("temperature", "ood_threshold", "ood_thresholds", "prediction_sets")
    bare = read_record(store.BUNDLED_FOLDER).model_copy(update=dict.fromkeys(missing))
    write_record(folder, bare)
    found = Predictor(folder).predict(test_images[:5])
    assert found.ood_scores is None
    assert found.in_distribution is None
    assert found.probabilities.sum(axis=1) == pytest.approx(np.ones(5))


@pytest.mark.parametrize(("name", "precision"), [(model_folder.ONNX, "fp32"), (model_folder.INT8, "int8")])
def test_a_graph_that_does_not_compile_is_rejected_with_a_sentence(
    name: str, precision: str, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(store.BUNDLED_FOLDER, folder)
    record = read_record(folder)
    (folder / name).write_bytes(b"no graph")
    write_record(folder, record)
    with pytest.raises(ModelError, match=f"{name}: OpenVINO cannot compile"):
        Predictor(folder, precision=precision)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"classes": ("a", "b", "c")}, r"its logits are \[\?,10\], model.json says \[\?,3\]"),
        ({"classes": tuple("abcdefghijk")}, r"its logits are \[\?,10\], model.json says \[\?,11\]"),
        ({"height": 27}, r"its images are \[\?,28,28\], model.json says \[\?,27,28\]"),
        ({"channels": 3}, r"its images are \[\?,28,28\], model.json says \[\?,28,28,3\]"),
    ],
)
@pytest.mark.parametrize(("name", "precision"), [(model_folder.ONNX, "fp32"), (model_folder.INT8, "int8")])
def test_a_record_of_another_network_is_rejected(
    tmp_path: Path, change: dict[str, object], problem: str, name: str, precision: str
) -> None:
    folder = shutil.copytree(store.BUNDLED_FOLDER, tmp_path / "model")
    other = {**change, "prediction_sets": None, "preparation": "none"}
    write_record(folder, read_record(folder).model_copy(update=other))
    with pytest.raises(ModelError, match=f"{name}: {problem}; the model is damaged"):
        Predictor(folder, precision=precision)


def test_a_large_network_is_compiled_once_and_predicts_the_same(
    test_images: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = Predictor(store.BUNDLED_FOLDER, precision="fp32").predict(test_images[:37])
    monkeypatch.setattr(openvino_runtime, "MAX_FIXED_BYTES", 1_000)
    large = Predictor(store.BUNDLED_FOLDER, precision="fp32")
    found = large.predict(test_images[:37])
    assert np.abs(found.probabilities - expected.probabilities).max() < 1e-4
    first = large.outputs(test_images[:1])[0]
    before = first.copy()
    large.outputs(test_images[1:2])
    assert np.array_equal(first, before)  # a later call does not overwrite what an earlier one returned
