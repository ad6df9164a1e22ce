"""The training loop: fit a network to labelled images."""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from fashion_mnist.data.splits import Splits
from fashion_mnist.errors import ConfigError, FashionMnistError
from fashion_mnist.networks.classifiers import Classifier
from fashion_mnist.training.config import TrainConfig
from fashion_mnist.training.engine.augmentation import augment
from fashion_mnist.training.engine.devices import Devices
from fashion_mnist.training.engine.distillation import Teachers
from fashion_mnist.training.engine.frozen_features import FeatureExtractor, LastLayer, folder_beside
from fashion_mnist.training.engine.history import History, OnProgress, Progress
from fashion_mnist.training.engine.state import TrainingState
from fashion_mnist.training.engine.validation import ImageDataset, validate

logger = logging.getLogger(__name__)

REPORT_EVERY_STEPS: Final = 10
"""On a GPU, where reading the loss waits for the step to end; CPUs report each step."""


def fit(
    network: Classifier,
    splits: Splits,
    config: TrainConfig,
    on_progress: OnProgress = lambda _: None,
    checkpoint: Path | None = None,
    teachers: Teachers | None = None,
    devices: Devices | None = None,
) -> History:
    """Train `network` in place; afterwards it holds the averaged weights of the best epoch, on the CPU.

    The same configuration, data, machine and thread count give the same weights.
    config: resolved. With `train: head` only the last layer trains, on features computed once and kept
    beside the checkpoint. checkpoint: file written after each epoch; with `resume` the training continues
    from it and ends as if it had never stopped. Ctrl-C after the first epoch ends the training early.
    teachers: models to distil, with the weight `distillation`. devices: by default the machine's.
    Raises FashionMnistError when the loss is no longer a number, and ConfigError when the checkpoint
    belongs to another training, or `train: head` is combined with teachers or several processes.
    """
    if "auto" in (config.network, config.optimizer):
        raise ValueError("fit() takes a resolved configuration; pass config.resolve()")
    devices = devices or Devices(config.precision)
    devices.set_threads(config.threads)
    devices.place(network)
    if config.train == "head":
        task = _head_task(network, splits, config, devices, teachers, on_progress, checkpoint)
    else:
        task = _Task(network, torch.from_numpy(splits.train.images), ImageDataset(splits.validation))
    origin = {
        "train": splits.train.fingerprint(),
        "validation": splits.validation.fingerprint(),
        "precision": "bf16" if devices.bf16 else "fp32",
        "teachers": teachers.fingerprint if teachers else "none",
        "processes": str(devices.count),
        **task.origin,
    }
    steps = devices.steps(len(splits.train), config.batch_size)
    state = TrainingState(task.learner, config, steps, origin)
    if checkpoint is not None and config.resume:
        state.load(checkpoint)
    devices.check_agreement(len(state.records))
    if not devices.is_main:
        checkpoint, on_progress = None, lambda _: None
    labels = torch.from_numpy(splits.train.labels)
    ended = _Trainer(task, labels, state, steps, config, devices, teachers, on_progress).run(checkpoint)
    task.learner.load_state_dict(state.best_weights)
    network.eval().cpu()
    seconds = task.seconds + sum(record.seconds for record in state.records)
    return History(tuple(state.records), state.best_epoch, ended, seconds, origin["precision"])


@dataclass(frozen=True)
class _Task:
    """A module to train and its data.

    learner: the whole network, or its last layer. x: images uint8 (N, H, W[, C]), or features (N, D).
    validation: the same kind of input, with labels. augmented: whether x is augmented.
    origin: adds to what a checkpoint must match. seconds: spent on the features.
    """

    learner: nn.Module
    x: Tensor
    validation: ImageDataset | TensorDataset
    augmented: bool = True
    origin: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


def _head_task(
    network: Classifier,
    splits: Splits,
    config: TrainConfig,
    devices: Devices,
    teachers: Teachers | None,
    on_progress: OnProgress,
    checkpoint: Path | None,
) -> _Task:
    """Run the backbone once over all images; the last layer then trains on its features."""
    if teachers is not None:
        raise ConfigError("--train head keeps features instead of images; --teacher needs --train all")
    if devices.count > 1:
        raise ConfigError("--train head runs in one process: its features are not shared; start only one")
    extractor = FeatureExtractor(network, checkpoint and folder_beside(checkpoint), bf16=devices.bf16)
    total = len(splits.train) + len(splits.validation)
    start = time.monotonic()

    def report_after(count: int) -> Callable[[int], None]:
        def report(done: int) -> None:
            done += count
            left = (time.monotonic() - start) / done * (total - done)
            on_progress(Progress(0, config.epochs, done, total, 0.0, 0.0, left))

        return report

    train = extractor.compute(splits.train, "train", report_after(0))
    validation = extractor.compute(splits.validation, "validation", report_after(len(splits.train)))
    seconds = train.seconds + validation.seconds
    logger.info("features of %s images computed in %.1f s", f"{total:,}", seconds)
    labels = torch.from_numpy(splits.validation.labels)
    return _Task(
        LastLayer(network),
        train.values,
        TensorDataset(validation.values, labels),
        augmented=False,
        origin={"backbone": extractor.key},
        seconds=seconds,
    )


@dataclass
class _Trainer:
    """Runs the epochs. steps: batches per epoch."""

    task: _Task
    labels: Tensor
    state: TrainingState
    steps: int
    config: TrainConfig
    devices: Devices
    teachers: Teachers | None
    on_progress: OnProgress

    def __post_init__(self) -> None:
        self.forward = self.devices.spread(self.task.learner)

    def run(self, checkpoint: Path | None) -> str:
        """Train until the last epoch, or until patience runs out; return how it ended, see History."""
        state, devices = self.state, self.devices
        try:
            while len(state.records) < self.config.epochs:
                patience = self.config.patience
                if patience is not None and state.epochs_without_gain() >= patience:
                    return "early"
                start = time.monotonic()
                progress = self._train_epoch()
                averaged = state.average.module
                loss, accuracy = devices.agree([*validate(averaged, self.task.validation, bf16=devices.bf16)])
                seconds = time.monotonic() - start
                state.finish_epoch(progress.loss, progress.accuracy, loss, accuracy, seconds)
                if checkpoint is not None:
                    state.save(checkpoint)
                self.on_progress(replace(progress, validation_accuracy=accuracy))
        except KeyboardInterrupt:
            if not state.records or devices.count > 1:
                raise
            logger.warning("interrupted; keeping the best of %d epochs", len(state.records))
            return "interrupted"
        return "finished"

    def _train_epoch(self) -> Progress:
        """Pass once over the images; seed and epoch alone decide their order and augmentation."""
        config, devices, state = self.config, self.devices, self.state
        epoch = len(state.records) + 1
        seed = config.seed * 100_003 + epoch
        torch.manual_seed(devices.seed(seed))  # for dropout
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(self.labels), generator=generator)
        if not devices.is_main:  # the same order in every process, but different augmentation
            generator.manual_seed(devices.seed(seed))
        state.network.train()
        sums = torch.zeros(3, dtype=torch.float64, device=devices.device)  # loss, correct, images
        start = time.monotonic()
        every = 1 if devices.device.type == "cpu" else REPORT_EVERY_STEPS
        for step, rows in enumerate(order.split(config.batch_size)[: self.steps], start=1):
            sums += self._train_step(devices.share(rows), generator)
            if step % every == 0 or step == self.steps:
                loss, correct, seen = devices.sum(sums).tolist()
                if not math.isfinite(loss):
                    raise FashionMnistError(
                        f"the loss is no longer a number in epoch {epoch}, step {step}; "
                        f"lower --learning-rate (it is {config.learning_rate:g})"
                    )
                steps_left = (config.epochs - epoch + 1) * self.steps - step
                left_s = (time.monotonic() - start) / step * steps_left
                progress = Progress(
                    epoch, config.epochs, step, self.steps, loss / seen, correct / seen, left_s
                )
                self.on_progress(progress)
        return progress

    def _train_step(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Learn from one batch; return sum of losses, correct predictions and images: float64 (3,)."""
        x, y = self.task.x[rows], self.labels[rows].to(self.devices.device)
        if self.task.augmented:
            x = augment(x, self.config, generator)
        with self.devices.autocast():
            logits, _ = self.forward(x.to(self.devices.device))  # (N, K)
        loss = F.cross_entropy(logits.float(), y, label_smoothing=self.config.label_smoothing)
        if self.teachers is not None:
            loss = torch.lerp(loss, self.teachers.loss(x, logits.float()), self.config.distillation)
        self.state.step(loss)
        correct = (logits.detach().argmax(1) == y).sum()
        seen = torch.full((), len(y), dtype=torch.float64, device=loss.device)
        return torch.stack([loss.detach().double() * len(y), correct.double(), seen])
