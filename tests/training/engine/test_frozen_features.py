"""Training the last layer: features are computed once, stored, and equal to the network's own."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fashion_mnist.data.dataset import Dataset
from fashion_mnist.data.splits import Splits, split_dataset
from fashion_mnist.errors import ConfigError
from fashion_mnist.networks import classifiers
from fashion_mnist.networks.classifiers import Classifier
from fashion_mnist.training.config import TrainConfig
from fashion_mnist.training.engine import frozen_features, loop
from fashion_mnist.training.engine.frozen_features import BATCH, FeatureExtractor, folder_beside
from fashion_mnist.training.engine.history import Progress
from fashion_mnist.training.engine.validation import ImageDataset, validate

CONFIG = TrainConfig(
    network="resnet18", pretrained=False, train="head", input_size=32, epochs=3, batch_size=32,
    precision="fp32",
).resolve()  # fmt: skip


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def splits(sample: Dataset) -> Splits:
    return split_dataset(sample, seed=0, limit=1100)  # more than two parts


def new_network(splits: Splits, name: str = "resnet18") -> Classifier:
    torch.manual_seed(0)
    return classifiers.build(name, splits.train.spec, torch.zeros(1), torch.ones(1), 32)


def test_features_equal_those_of_the_network(splits: Splits) -> None:
    few = splits.train[np.arange(70)]
    network = new_network(splits)
    found = FeatureExtractor(network, None, bf16=False).compute(few, "train")
    with torch.inference_mode():
        _, expected = network.eval()(torch.tensor(few.images))
    assert torch.allclose(found.values, expected, atol=1e-5)
    assert found.values.dtype == torch.float32
    assert FeatureExtractor(network, None, bf16=True).compute(few, "train").values.dtype == torch.bfloat16


def test_stored_parts_are_not_computed_again(splits: Splits, tmp_path: Path) -> None:
    network = new_network(splits)

    def compute(folder: Path | None, *, bf16: bool = False) -> list[torch.Tensor]:
        extractor = FeatureExtractor(network, folder, bf16=bf16)
        return [extractor.compute(splits.train, "train").values]

    (expected,) = compute(None)
    folder = tmp_path / "features"
    assert torch.equal(compute(folder)[0], expected)
    names = sorted(p.name for p in folder.iterdir())
    assert names == ["train-0000000.pt", "train-0000512.pt", "train-0001024.pt"]
    times = {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
    (folder / names[1]).write_bytes(b"half a part")
    (folder / names[2]).unlink()
    assert torch.equal(compute(folder)[0], expected)
    written = {p.name for p in folder.iterdir() if p.stat().st_mtime_ns != times[p.name]}
    assert written == set(names[1:])
    assert compute(folder, bf16=True)[0].dtype == torch.bfloat16  # the stored ones have another precision
    with torch.no_grad():
        next(network.body.parameters()).mul_(1.5)
    assert not torch.equal(compute(folder)[0], expected)  # the stored ones come from other weights


def test_only_the_head_learns_and_the_network_predicts_with_it(splits: Splits, tmp_path: Path) -> None:
    network = new_network(splits)
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    told: list[Progress] = []
    checkpoint = tmp_path / "c.pt"
    history = loop.fit(network, splits, CONFIG, told.append, checkpoint)
    changed = {n for n, w in network.state_dict().items() if not torch.equal(w, before[n])}
    assert changed == {"head.weight", "head.bias"}
    batches = math.ceil(512 / BATCH) * 2 + math.ceil(76 / BATCH) + math.ceil(100 / BATCH)
    features = [p.step for p in told if p.epoch == 0]  # a report for each batch, not only for each part
    assert (features[0], features[-1], len(features)) == (BATCH, 1200, batches)
    assert features == sorted(features)
    assert [p.epoch for p in told if p.validation_accuracy is not None] == [1, 2, 3]
    best = history.epochs[history.best - 1]
    assert validate(network, ImageDataset(splits.validation), bf16=False)[1] == pytest.approx(
        best.validation_accuracy
    )
    assert history.seconds > sum(epoch.seconds for epoch in history.epochs)  # includes the features
    assert folder_beside(checkpoint).is_dir()
    whole = CONFIG.model_copy(update={"train": "all", "resume": True})
    with pytest.raises(ConfigError, match=r"with other frozen layers \(--train head\); give"):
        loop.fit(new_network(splits), splits, whole, checkpoint=checkpoint)
    frozen_features.remove(checkpoint)
    assert not folder_beside(checkpoint).exists()


def test_a_resumed_training_ends_with_the_same_weights(splits: Splits, tmp_path: Path) -> None:
    expected = new_network(splits)
    loop.fit(expected, splits, CONFIG)

    def stop(progress: Progress) -> None:
        if (progress.epoch, progress.validation_accuracy) == (2, None):
            raise InterruptedError

    checkpoint = tmp_path / "c.pt"
    with pytest.raises(InterruptedError):
        loop.fit(new_network(splits), splits, CONFIG, stop, checkpoint)
    network = new_network(splits)
    loop.fit(network, splits, CONFIG.model_copy(update={"resume": True}), checkpoint=checkpoint)
    assert torch.equal(network.head.weight, expected.head.weight)


def test_dropout_is_repeated_after_resuming(splits: Splits, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"network": "mobilenet_v3_small", "train": "all", "epochs": 2})
    few = replace(splits, train=splits.train[np.arange(96)])
    expected = new_network(splits, "mobilenet_v3_small")
    loop.fit(expected, few, config)

    def stop(progress: Progress) -> None:
        if progress.epoch == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        loop.fit(new_network(splits, "mobilenet_v3_small"), few, config, stop, tmp_path / "c.pt")
    torch.manual_seed(99)
    network = new_network(splits, "mobilenet_v3_small")
    loop.fit(network, few, config.model_copy(update={"resume": True}), checkpoint=tmp_path / "c.pt")
    assert torch.equal(network.head.weight, expected.head.weight)
