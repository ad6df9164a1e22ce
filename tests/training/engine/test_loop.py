"""Training on a few real images: it is repeatable, it learns, and it reports failures."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from fashion_mnist.data.dataset import Dataset, LabelledImages
from fashion_mnist.data.splits import Splits, split_dataset
from fashion_mnist.errors import ConfigError, FashionMnistError
from fashion_mnist.networks.classifiers import Classifier, build, pixel_statistics
from fashion_mnist.training.config import TrainConfig
from fashion_mnist.training.engine.devices import Devices
from fashion_mnist.training.engine.history import History, Progress
from fashion_mnist.training.engine.loop import fit
from fashion_mnist.training.engine.validation import ImageDataset, validate

QUICK = TrainConfig(epochs=2, batch_size=16, precision="fp32")


pytestmark = pytest.mark.usefixtures("one_thread")


def shrunk(sample: Dataset, limit: int) -> Splits:
    """Return splits with `limit` training images of 7 x 7 pixels, which the network halves down to one."""

    def shrink(part: LabelledImages) -> LabelledImages:
        return dataclasses.replace(part, images=np.ascontiguousarray(part.images[:, ::4, ::4]))

    splits = split_dataset(sample, seed=0, limit=limit)
    return Splits(*(shrink(getattr(splits, field.name)) for field in dataclasses.fields(Splits)))


@pytest.fixture(scope="module")
def tiny(sample: Dataset) -> Splits:
    return shrunk(sample, 100)


def new_network(splits: Splits, seed: int = 0) -> Classifier:
    torch.manual_seed(seed)
    return build("compact", splits.train.spec, *pixel_statistics(torch.from_numpy(splits.train.images)))


def trained(splits: Splits, config: TrainConfig = QUICK) -> tuple[Classifier, History]:
    network = new_network(splits)
    return network, fit(network, splits, config.resolve())


def same(a: Classifier, b: Classifier) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_seed_repeats_its_weights_and_another_gives_others(tiny: Splits) -> None:
    first, _ = trained(tiny)
    assert same(first, trained(tiny)[0])
    assert not same(first, trained(tiny, QUICK.model_copy(update={"seed": 1}))[0])


def test_the_loss_falls_over_the_epochs(sample: Dataset) -> None:
    splits = shrunk(sample, 400)
    config = QUICK.model_copy(update={"epochs": 3, "learning_rate": 0.05, "erase": 0, "shift": 0})
    network, history = trained(splits, config)
    losses = [epoch.train_loss for epoch in history.epochs]
    assert losses[0] > losses[1] > losses[2]
    best = history.epochs[history.best - 1]
    assert best.validation_accuracy == max(epoch.validation_accuracy for epoch in history.epochs) > 0.5
    assert validate(network, ImageDataset(splits.validation), bf16=False) == (
        best.validation_loss,
        best.validation_accuracy,
    )


def test_the_history_records_each_epoch(tiny: Splits) -> None:
    _, history = trained(tiny)
    assert [epoch.epoch for epoch in history.epochs] == [1, 2]
    assert history.precision == "fp32"
    for epoch in history.epochs:
        assert all(math.isfinite(value) for value in dataclasses.astuple(epoch))
        assert 0 <= epoch.train_accuracy <= 1
        assert 0 <= epoch.validation_accuracy <= 1
        assert epoch.seconds > 0
    assert history.seconds >= sum(epoch.seconds for epoch in history.epochs) - 1e-6
    assert history.best in (1, 2)
    assert history.epochs[1].learning_rate < history.epochs[0].learning_rate <= QUICK.learning_rate
    assert history.asdict()["epochs"][1]["epoch"] == 2


def test_progress_is_reported_within_and_after_each_epoch(tiny: Splits) -> None:
    told: list[Progress] = []
    fit(new_network(tiny), tiny, QUICK.resolve(), told.append)
    each_step = [(step, True) for step in range(1, 8)]
    assert [(p.epoch, p.step, p.validation_accuracy is None) for p in told] == [
        (epoch, *report) for epoch in (1, 2) for report in [*each_step, (7, False)]
    ]
    assert told[-1].remaining_s == 0


def test_a_loss_that_is_not_a_number_names_the_flag(tiny: Splits) -> None:
    with pytest.raises(FashionMnistError, match=r"epoch \d, step \d; lower --learning-rate \(it is 1e\+30\)"):
        trained(tiny, QUICK.model_copy(update={"learning_rate": 1e30}))


@pytest.mark.parametrize("count", [95, 96, 97, 98])
def test_a_last_batch_of_any_size_works(tiny: Splits, count: int) -> None:
    splits = dataclasses.replace(tiny, train=tiny.train[np.arange(count)])
    network, history = trained(splits)
    assert all(torch.isfinite(weight).all() for weight in network.parameters())
    seen = count - (count % 16 == 1)  # a single remaining image is left out
    right = history.epochs[-1].train_accuracy * seen
    assert right == pytest.approx(round(right), abs=1e-9)


@pytest.mark.parametrize("count", [2, 16, 32, 64, 80])
def test_a_training_of_few_steps_works(tiny: Splits, count: int) -> None:
    splits = dataclasses.replace(tiny, train=tiny.train[np.arange(count)])
    _, history = trained(splits, QUICK.model_copy(update={"epochs": 1}))
    assert math.isfinite(history.epochs[0].train_loss)


def test_bf16_trains_too(tiny: Splits) -> None:
    network, history = trained(tiny, QUICK.model_copy(update={"precision": "bf16"}))
    assert history.precision == "bf16"
    assert all(weight.dtype == torch.float32 for weight in network.parameters())
    assert [Devices("bf16").bf16, Devices("fp32").bf16] == [True, False]


def test_color_images_are_trained_on(tiny: Splits) -> None:
    def color(part: LabelledImages) -> LabelledImages:
        return dataclasses.replace(part, images=np.stack([part.images] * 3, axis=3))

    splits = Splits(*(color(getattr(tiny, field.name)) for field in dataclasses.fields(Splits)))
    network, _ = trained(splits)
    assert network.mean.numel() == 3


def test_the_network_ends_in_evaluation_mode_and_scores_each_image_independently(tiny: Splits) -> None:
    network, _ = trained(tiny)
    assert not any(module.training for module in network.modules())
    images = torch.from_numpy(tiny.test.images[:20])
    with torch.inference_mode():
        together, alone = network(images)[0], torch.cat([network(image[None])[0] for image in images])
    assert torch.allclose(together, alone, atol=1e-4)


def test_validation_counts_every_image(tiny: Splits) -> None:
    network = new_network(tiny).eval()
    with torch.inference_mode():
        logits, _ = network(torch.from_numpy(tiny.test.images))
    loss, accuracy = validate(network, ImageDataset(tiny.test), bf16=False)
    labels = torch.from_numpy(tiny.test.labels)
    assert accuracy == pytest.approx((logits.argmax(1) == labels).double().mean().item())
    assert loss == pytest.approx(torch.nn.functional.cross_entropy(logits, labels).item(), rel=1e-4)


def test_an_unknown_network_is_refused_with_the_known_ones(tiny: Splits) -> None:
    with pytest.raises(ConfigError, match="unknown network 'vast'; choose one of compact"):
        build("vast", tiny.train.spec, torch.zeros(1), torch.ones(1))


def test_an_unresolved_configuration_is_refused(tiny: Splits) -> None:
    with pytest.raises(ValueError, match="resolve"):
        fit(new_network(tiny), tiny, QUICK)
