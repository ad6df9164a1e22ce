"""int8: made from the exported network, and kept only if it is as accurate."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from fashion_mnist.data.dataset import Dataset, LabelledImages
from fashion_mnist.errors import ModelError
from fashion_mnist.export import quantization
from fashion_mnist.inference.predictor import Predictor
from fashion_mnist.registry import model_folder
from fashion_mnist.registry.store import BUNDLED_FOLDER

IN_INT8 = (model_folder.INT8, model_folder.INT8_WEIGHTS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The bundled model without its int8 network."""
    copy = tmp_path / "model"
    shutil.copytree(BUNDLED_FOLDER, copy, ignore=shutil.ignore_patterns("*.int8.*"))
    record = model_folder.ModelRecord.model_validate_json((BUNDLED_FOLDER / "model.json").read_bytes())
    model_folder.write_record(copy, record)
    return copy


def test_int8_agrees_with_fp32(folder: Path, sample: Dataset) -> None:
    assert sample.test is not None
    quantization.quantize(folder, sample.train.images, sample.test)
    assert model_folder.read_record(folder).has_int8
    exact = Predictor(folder, precision="fp32").predict(sample.test.images)
    quick = Predictor(folder, precision="int8").predict(sample.test.images)
    assert (exact.class_ids == quick.class_ids).mean() >= 0.985
    difference = np.abs(exact.probabilities.max(axis=1) - quick.probabilities.max(axis=1))
    assert difference.mean() <= 0.01
    text = (folder / model_folder.INT8).read_text()
    assert str(folder) not in text  # no path of the machine that made it


@pytest.mark.slow
def test_an_int8_network_that_loses_accuracy_is_not_kept(
    folder: Path, sample: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    """And the log has the figures and the rule that decided: chance is allowed for."""
    noise = np.random.default_rng(0).integers(0, 256, (1000, 28, 28), np.uint8)
    trial = folder.with_name("trial")
    shutil.copytree(folder, trial)
    right = LabelledImages(noise, np.zeros(len(noise), np.int64), sample.train.classes)
    quantization.quantize(trial, sample.train.images, right)
    exact = Predictor(trial, precision="fp32").predict(noise).class_ids
    quick = Predictor(trial, precision="int8").predict(noise).class_ids
    differ = exact != quick
    assert differ.any()

    hard = dataclasses.replace(right, images=noise[differ], labels=exact[differ])
    caplog.clear()
    quantization.quantize(folder, sample.train.images, hard)
    n = len(hard)
    (message,) = (r.getMessage() for r in caplog.records if r.name == quantization.__name__)
    assert message == (
        f"int8 is not kept: of {n} validation images fp32 gets {n} right, int8 0; it may lose "
        f"{0.001 * n + n**0.5:.1f}, which is 0.1% of the images plus, for chance, the square root of the {n} "
        "that only one of the two gets right"
    )
    assert not any((folder / name).exists() for name in IN_INT8)
    assert not model_folder.read_record(folder).has_int8
    assert Predictor(folder).precision != "int8"


def test_the_error_for_a_model_without_int8_names_the_other_precisions(folder: Path) -> None:
    with pytest.raises(ModelError, match="has no int8 network; choose bf16 or fp32"):
        Predictor(folder, precision="int8")
