"""Learning from other models: from their outputs, and from their weights."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support.paths import SAMPLE

from fashion_mnist.data.dataset import Dataset
from fashion_mnist.data.splits import split_dataset
from fashion_mnist.errors import ConfigError, ModelError
from fashion_mnist.evaluation.model_card import write_card
from fashion_mnist.inference.predictor import Predictor
from fashion_mnist.networks import classifiers
from fashion_mnist.registry import model_folder
from fashion_mnist.spec import ModelSpec
from fashion_mnist.training.config import TrainConfig
from fashion_mnist.training.engine import loop
from fashion_mnist.training.engine.distillation import Teachers
from fashion_mnist.training.pipeline import Trained, train


def teachers(trained: tuple[Trained, Path], spec: ModelSpec, count: int = 1) -> Teachers:
    return Teachers([trained[1]] * count, spec)


@pytest.mark.parametrize("count", [1, 2])
def test_the_loss_is_zero_for_a_learner_that_agrees_with_the_teachers(
    trained: tuple[Trained, Path], spec: ModelSpec, test_images: NDArray[np.uint8], count: int
) -> None:
    images = test_images[:50]
    logits = torch.from_numpy(Predictor(trained[1]).outputs(images)[0])
    ours = teachers(trained, spec, count)
    assert ours.loss(torch.tensor(images), logits + 3).item() == pytest.approx(0, abs=1e-5)
    assert ours.loss(torch.tensor(images), -logits).item() > 0.1


@pytest.mark.slow
def test_the_teachers_are_learnt_from_even_with_random_labels(
    trained: tuple[Trained, Path], spec: ModelSpec, sample: Dataset
) -> None:
    splits = split_dataset(sample, seed=0)
    labels = np.random.default_rng(0).permutation(splits.train.labels)
    splits = replace(splits, train=replace(splits.train, labels=labels))
    torch.manual_seed(0)
    network = classifiers.build(
        "compact", spec, *classifiers.pixel_statistics(torch.from_numpy(splits.train.images))
    )
    config = TrainConfig(epochs=3, distillation=1.0)
    history = loop.fit(network, splits, config.resolve(), teachers=teachers(trained, spec))
    assert history.epochs[-1].validation_accuracy > 0.4


@pytest.mark.slow
def test_a_checkpoint_is_refused_with_other_teachers(
    trained: tuple[Trained, Path], spec: ModelSpec, sample: Dataset, tmp_path: Path
) -> None:
    splits = split_dataset(sample, seed=0, limit=100)
    statistics = classifiers.pixel_statistics(torch.from_numpy(splits.train.images))
    checkpoint = tmp_path / "checkpoint.pt"
    config = TrainConfig(epochs=1, batch_size=16, checkpoint=checkpoint, resume=True)
    first, second = (classifiers.build("compact", spec, *statistics) for _ in range(2))
    loop.fit(first, splits, config.resolve(), checkpoint=checkpoint, teachers=teachers(trained, spec))
    with pytest.raises(ConfigError, match="belongs to a training with other teachers"):
        loop.fit(second, splits, config.resolve(), checkpoint=checkpoint, teachers=teachers(trained, spec, 2))


@pytest.mark.slow
def test_a_training_starts_from_a_stored_model(trained: tuple[Trained, Path], tmp_path: Path) -> None:
    settings = {"data": str(SAMPLE), "from": str(trained[1]), "teacher": (str(trained[1]),)}
    config = TrainConfig(
        **settings, epochs=1, learning_rate=1e-4, average_decay=0, output=tmp_path / "model",
        checkpoint=tmp_path / "checkpoint.pt",
    )  # fmt: skip
    further = train(config)
    assert further.metrics.accuracy > trained[0].metrics.accuracy - 0.05
    assert further.record.config["from"] == str(trained[1])
    assert further.record.config["teacher"] == [str(trained[1])]
    (teacher,) = further.record.training["teachers"]
    assert teacher["name"] == trained[1].name
    assert teacher["sha256"] == trained[0].record.checksums["network.onnx"]
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert f"| teacher | model: accuracy {trained[0].metrics.accuracy:.2%}, " in card


def test_unsuitable_models_are_refused_before_training(trained: tuple[Trained, Path], tmp_path: Path) -> None:
    other = tuple("abcdefghij")
    with pytest.raises(ConfigError, match=r"--teacher .*: its classes or image shape differ from the data's"):
        train(TrainConfig(data=str(SAMPLE), classes=other, epochs=1000, teacher=(str(trained[1]),)))
    for setting in ("from", "teacher"):
        value = {"from": str(tmp_path), "teacher": (str(tmp_path),)}[setting]
        with pytest.raises(ModelError, match="neither a model folder nor a tag"):
            train(TrainConfig(data=str(SAMPLE), epochs=1000, **{setting: value}))


def test_weights_of_another_network_are_refused(
    trained: tuple[Trained, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def build_wide(
        spec: ModelSpec, mean: torch.Tensor, std: torch.Tensor, _: int | None
    ) -> classifiers.Classifier:
        body = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(spec.height * spec.width, 20))
        return classifiers.Classifier(body, 20, len(spec.classes), mean, std)

    monkeypatch.setitem(classifiers.BUILDERS, "wide", build_wide)
    with pytest.raises(ConfigError, match="it is a 'compact' network, this training uses another"):
        train(TrainConfig(data=str(SAMPLE), network="wide", epochs=1000, **{"from": str(trained[1])}))


def test_the_card_accepts_teachers_of_unknown_origin(
    trained: tuple[Trained, Path], spec: ModelSpec, tmp_path: Path
) -> None:
    folder = tmp_path / "teacher"
    shutil.copytree(trained[1], folder)
    bare = trained[0].record.model_copy(update={"metrics": None, "training": {}, "command": None})
    model_folder.write_record(folder, bare)
    facts = Teachers([folder], spec).describe()
    record = trained[0].record
    assert (record.config["from"], record.config["teacher"], record.training["teachers"]) == (None, [], [])
    record = record.model_copy(update={"training": {**record.training, "teachers": facts}})
    assert "| teacher | teacher: unknown origin |\n| machine |" in write_card(
        record, trained[0].metrics, {"epochs": []}
    )
