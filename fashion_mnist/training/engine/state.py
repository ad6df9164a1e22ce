"""Everything that an epoch of training changes: what a checkpoint has to hold."""

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from fashion_mnist.errors import ConfigError
from fashion_mnist.training.config import TrainConfig, complete_recipe
from fashion_mnist.training.engine import checkpoint_file, muon
from fashion_mnist.training.engine.muon import Muon

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EpochRecord:
    """One epoch. Losses are mean cross-entropies; `train_*` are over the augmented images.

    With teachers, `train_loss` is what was minimised: labels and teachers by their weights.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    choose_loss: float
    choose_accuracy: float
    learning_rate: float
    seconds: float


class TrainingState:
    """Network, average of its weights, optimisers, their schedules, and what the finished epochs were.

    network: answers (logits, features); its last layer is called `head`. config: a resolved one. steps: of
    an epoch. origin: what besides the configuration has to be the same for a resumption.
    best_weights: the average's at the epoch with the best choosing accuracy, the later one of equals.
    """

    def __init__(self, network: nn.Module, config: TrainConfig, steps: int, origin: dict[str, str]) -> None:
        self.identity = {**config.recipe(), **origin}
        self.network = network
        self.average = AveragedModel(
            network, multi_avg_fn=_moving_average(config.average_decay), use_buffers=True
        )
        self.optimizers = _optimizers(network, config)
        shape = _rise_and_fall(config.epochs * steps, config.warmup)
        self.schedules = [LambdaLR(optimizer, shape) for optimizer in self.optimizers]
        self.records: list[EpochRecord] = []
        self.best_epoch = 0
        self.best_weights: dict[str, Tensor] = {}

    def step(self, loss: Tensor) -> None:
        """Learn from one batch's loss."""
        self.network.zero_grad()
        loss.backward()
        for optimizer, schedule in zip(self.optimizers, self.schedules, strict=True):
            optimizer.step()
            schedule.step()
        self.average.update_parameters(self.network)

    def finish_epoch(
        self,
        train_loss: float,
        train_accuracy: float,
        choose_loss: float,
        choose_accuracy: float,
        seconds: float,
    ) -> None:
        """Record an epoch, and keep the average if it is the best so far."""
        rate = float(self.schedules[0].get_last_lr()[0])
        epoch = len(self.records) + 1
        self.records.append(
            EpochRecord(epoch, train_loss, train_accuracy, choose_loss, choose_accuracy, rate, seconds)
        )
        if choose_accuracy >= max(record.choose_accuracy for record in self.records):
            self.best_epoch = epoch
            self.best_weights = {k: v.clone() for k, v in self.average.module.state_dict().items()}

    def epochs_without_gain(self) -> int:
        """Epochs since the choosing accuracy last rose; an equal one is no gain."""
        accuracies = [record.choose_accuracy for record in self.records]
        return len(accuracies) - 1 - accuracies.index(max(accuracies)) if accuracies else 0

    def save(self, path: Path) -> None:
        """Write a checkpoint; it replaces the one before only when it is complete on disk.

        A disk that is full costs the checkpoint, not the training: the one before stays.
        """
        content = {
            "identity": self.identity,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "schedules": [schedule.state_dict() for schedule in self.schedules],
            "records": [asdict(record) for record in self.records],
            "best_epoch": self.best_epoch,
            "best_weights": self.best_weights,
        }
        try:
            checkpoint_file.write(path, content)
        except checkpoint_file.UNWRITABLE as error:
            logger.warning("%s: no checkpoint of epoch %d: %s", path, len(self.records), error)

    def load(self, path: Path) -> None:
        """Continue from a checkpoint, if there is one.

        Raises ConfigError when it is damaged, or of a training with another configuration or other data.
        """
        if not path.is_file():
            logger.info("%s: no checkpoint yet, starting from the beginning", path)
            return
        try:
            content = checkpoint_file.read(path)
            found = {"processes": "1"} | complete_recipe(content["identity"])
        except checkpoint_file.UNREADABLE as error:
            raise ConfigError(f"{path}: not a checkpoint ({error}); train without --resume") from error
        for key, value in self.identity.items():
            if found.get(key) != value:
                raise ConfigError(
                    f"{path}: is of a training with {key} {found.get(key)}, this one has {value}; "
                    "give the same settings, or train without --resume"
                )
        self.network.load_state_dict(content["network"])
        self.average.load_state_dict(content["average"])
        for optimizer, state in zip(self.optimizers, content["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        for schedule, state in zip(self.schedules, content["schedules"], strict=True):
            schedule.load_state_dict(state)
        self.records = [EpochRecord(**record) for record in content["records"]]
        self.best_epoch = content["best_epoch"]
        self.best_weights = content["best_weights"]
        logger.info("%s: going on after epoch %d", path, len(self.records))


def _moving_average(decay: float) -> Callable[[Any, Any, Tensor | int], None]:
    """An exponential moving average that forgets its random start: the decay rises to `decay`."""

    @torch.no_grad()
    def update(averages: Any, currents: Any, count: Tensor | int) -> None:
        weight = 1 - min(decay, (1 + int(count)) / (10 + int(count)))
        for average, current in zip(averages, currents, strict=True):
            if average.is_floating_point():
                average.lerp_(current, weight)
            else:  # BatchNorm's counter of batches
                average.copy_(current)

    return update


def _rise_and_fall(steps: int, warmup: float) -> Callable[[int], float]:
    """The rate as a share of its peak: a straight rise over `warmup` of the steps, a straight fall to 0."""
    rise = max(1.0, warmup * steps)
    fall = max(1.0, steps - rise)
    return lambda step: min((step + 1) / rise, max(0.0, (steps - step) / fall))


def _optimizers(network: nn.Module, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """Those of `config.optimizer`. Of what SGD takes, weights decay; biases and scales of norms do not.

    All but the head learn at the rate times `config.backbone_rate`.
    """
    rate = config.learning_rate
    slow_rate = rate * (config.backbone_rate or 1.0)
    kernels = [p for p in network.parameters() if config.optimizer == "muon" and muon.takes(p)]
    taken = {id(p) for p in kernels}
    rest = [(name, p) for name, p in network.named_parameters() if id(p) not in taken]
    slow = [p for name, p in rest if slow_rate != rate and not name.startswith("head.")]
    slowed = {id(p) for p in slow}

    def groups(parameters: list[nn.Parameter], lr: float) -> list[dict[str, Any]]:
        return [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay, "lr": lr},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0, "lr": lr},
        ]

    fast = [p for _, p in rest if id(p) not in slowed]
    sgd = torch.optim.SGD(
        groups(fast, rate) + (groups(slow, slow_rate) if slow else []),
        lr=rate,
        momentum=config.momentum,
        nesterov=config.momentum > 0,
    )
    return [sgd, Muon(kernels, lr=slow_rate)] if kernels else [sgd]
