"""Training: fit a network to labelled images."""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from fashion_mnist.data.sources import Splits
from fashion_mnist.errors import ConfigError, FashionMnistError
from fashion_mnist.networks.classifiers import Classifier
from fashion_mnist.training.config import TrainConfig
from fashion_mnist.training.engine.augmentation import augment
from fashion_mnist.training.engine.devices import Devices
from fashion_mnist.training.engine.distillation import Teachers
from fashion_mnist.training.engine.frozen_features import FeatureExtractor, LastLayer, folder_beside
from fashion_mnist.training.engine.state import EpochRecord, TrainingState
from fashion_mnist.training.engine.validation import ImageDataset, measure_dataset

logger = logging.getLogger(__name__)

REPORT_EVERY_STEPS: Final = 10


@dataclass(frozen=True)
class Progress:
    """Where a training is: after a step, or at the end of an epoch (then `choose_accuracy` is set).

    Epoch 0 is when the features are computed that the last layer learns from; a step is then an image.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    accuracy: float
    remaining_s: float
    choose_accuracy: float | None = None


@dataclass(frozen=True)
class History:
    """What a training did. precision: that of its forward pass. seconds: those before a resumption too.

    ended: `finished`, `early` (patience ran out) or `interrupted`; best: number of the epoch that is kept.
    """

    epochs: tuple[EpochRecord, ...]
    best: int
    ended: str
    seconds: float
    precision: str

    def asdict(self) -> dict[str, Any]:
        """The history as plain values, for JSON."""
        return asdict(self)


def fit(
    network: Classifier,
    data: Splits,
    config: TrainConfig,
    on_progress: Callable[[Progress], None] = lambda _: None,
    checkpoint: Path | None = None,
    teachers: Teachers | None = None,
    devices: Devices | None = None,
) -> History:
    """Train `network` on data.train; afterwards it holds the average of its weights at the best epoch.

    Muon for the convolutions and SGD for the rest, or SGD for all; a rate that rises and falls; an
    exponential moving average of the weights. The same configuration and data give the same weights on
    the same machine and number of threads. With `config.train` "head" only the last layer learns, from
    features that are computed once, without augmentation, and kept beside the checkpoint.
    checkpoint: a file written after each epoch; with config.resume the training goes on from it, and
    ends as if it had never been stopped. Ctrl-C after the first epoch ends the training early.
    teachers: models whose answers are learnt too, with the weight config.distillation.
    devices: where to train, by default what there is; the network is on the CPU again afterwards.
    Raises FashionMnistError when the loss is no longer a number, ConfigError when the checkpoint is of
    another training, or where teachers or several processes meet "head".
    """
    config = config.resolve()
    devices = devices or Devices(config.precision)
    devices.set_threads(config.threads)
    bf16 = devices.bf16
    devices.place(network)
    steps = devices.steps(len(data.train), config.batch_size)
    learner: nn.Module = network
    choose: ImageDataset | TensorDataset = ImageDataset(data.choose)
    x, seconds = torch.from_numpy(data.train.images), 0.0
    origin = {
        "train": data.train.fingerprint(),
        "choose": data.choose.fingerprint(),
        "precision": "bf16" if bf16 else "fp32",
        "teachers": teachers.fingerprint if teachers else "none",
        "processes": str(devices.count),
    }
    if config.train == "head":
        if teachers is not None:
            raise ConfigError("--train head keeps features instead of images; --teacher needs --train all")
        if devices.count > 1:
            raise ConfigError("--train head is quick in one process, and does not share its features")
        extractor = FeatureExtractor(network, checkpoint and folder_beside(checkpoint), bf16=bf16)
        x, choose, seconds = _compute_features(extractor, data, config, on_progress)
        learner, origin["backbone"] = LastLayer(network), extractor.key
    source = _Source(x, torch.from_numpy(data.train.labels), augmented=config.train == "all")
    state = TrainingState(learner, config, steps, origin)
    if checkpoint is not None and config.resume:
        state.load(checkpoint)
    devices.check_agreement(len(state.records))
    forward = devices.spread(learner)
    if not devices.is_main:
        checkpoint, on_progress = None, lambda _: None
    ended = "finished"
    try:
        while len(state.records) < config.epochs:
            if config.patience is not None and state.epochs_without_gain() >= config.patience:
                ended = "early"
                break
            start = time.monotonic()
            progress = _train_epoch(state, forward, source, steps, config, devices, on_progress, teachers)
            choose_loss, choose_accuracy = devices.agree(
                [*measure_dataset(state.average.module, choose, bf16=bf16)]
            )
            state.finish_epoch(
                progress.loss, progress.accuracy, choose_loss, choose_accuracy, time.monotonic() - start
            )
            if checkpoint is not None:
                state.save(checkpoint)
            on_progress(replace(progress, choose_accuracy=choose_accuracy))
    except KeyboardInterrupt:
        if not state.records or devices.count > 1:
            raise
        logger.warning("interrupted; keeping the best of %d epochs", len(state.records))
        ended = "interrupted"
    learner.load_state_dict(state.best_weights)
    network.eval().cpu()
    seconds += sum(record.seconds for record in state.records)
    return History(tuple(state.records), state.best_epoch, ended, seconds, "bf16" if bf16 else "fp32")


@dataclass(frozen=True)
class _Source:
    """What an epoch passes over: images uint8 (N, H, W[, C]), or features (N, D), which stay as they are."""

    x: Tensor
    labels: Tensor
    augmented: bool


def _compute_features(
    extractor: FeatureExtractor, data: Splits, config: TrainConfig, on_progress: Callable[[Progress], None]
) -> tuple[Tensor, TensorDataset, float]:
    """Features of the training images, those of the choosing images with their labels, and the seconds."""
    whole = len(data.train) + len(data.choose)
    start = time.monotonic()

    def told_after(count: int) -> Callable[[int], None]:
        def tell(done: int) -> None:
            done += count
            left = (time.monotonic() - start) / done * (whole - done)
            on_progress(Progress(0, config.epochs, done, whole, 0.0, 0.0, left))

        return tell

    train = extractor.compute(data.train, "train", told_after(0))
    choose = extractor.compute(data.choose, "choose", told_after(len(data.train)))
    seconds = train.seconds + choose.seconds
    logger.info("features of %s images computed in %.1f s", f"{whole:,}", seconds)
    return train.values, TensorDataset(choose.values, torch.from_numpy(data.choose.labels)), seconds


def _train_epoch(
    state: TrainingState,
    forward: Callable[[Tensor], Any],
    source: _Source,
    steps: int,
    config: TrainConfig,
    devices: Devices,
    on_progress: Callable[[Progress], None],
    teachers: Teachers | None,
) -> Progress:
    """One pass over the images, in an order and with changes that only seed and epoch decide."""
    epoch = len(state.records) + 1
    seed = config.seed * 100_003 + epoch
    torch.manual_seed(devices.seed(seed))  # of dropout
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(source.labels), generator=generator)
    if not devices.is_main:  # the same order, other changes
        generator.manual_seed(devices.seed(seed))
    state.network.train()
    sums = torch.zeros(3, dtype=torch.float64, device=devices.device)  # loss, right ones, images
    start = time.monotonic()
    for step, rows in enumerate(order.split(config.batch_size)[:steps], start=1):
        mine = devices.share(rows)
        x, y = source.x[mine], source.labels[mine].to(devices.device)
        if source.augmented:
            x = augment(x, config, generator)
        with devices.autocast():
            logits, _ = forward(x.to(devices.device))
        loss = F.cross_entropy(logits.float(), y, label_smoothing=config.label_smoothing)
        if teachers is not None:
            loss = torch.lerp(loss, teachers.loss(x, logits.float()), config.distillation)
        state.step(loss)
        right = (logits.detach().argmax(1) == y).sum()
        sums += torch.stack([loss.detach().double() * len(y), right.double(), sums.new_tensor(len(y))])
        if step % REPORT_EVERY_STEPS == 0 or step == steps:
            loss_sum, correct, seen = devices.sum(sums).tolist()
            mean_loss = loss_sum / seen
            if not math.isfinite(mean_loss):
                raise FashionMnistError(
                    f"the loss is no longer a number in epoch {epoch}, step {step}; "
                    f"lower --learning-rate (it is {config.learning_rate:g})"
                )
            left = (config.epochs - epoch + 1) * steps - step
            remaining_s = (time.monotonic() - start) / step * left
            accuracy = correct / seen
            progress = Progress(epoch, config.epochs, step, steps, mean_loss, accuracy, remaining_s)
            on_progress(progress)
    return progress
