"""Everything that an epoch of training changes: what a checkpoint has to hold."""

import logging
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from fashion_mnist.config import TrainConfig
from fashion_mnist.errors import ConfigError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EpochRecord:
    """One epoch. Losses are mean cross-entropies; `train_*` are over the augmented images."""

    epoch: int
    train_loss: float
    train_accuracy: float
    choose_loss: float
    choose_accuracy: float
    learning_rate: float
    seconds: float


class TrainingState:
    """Network, average of its weights, optimiser, schedule, and what the finished epochs were.

    steps: of an epoch. origin: what besides the configuration has to be the same for a resumption.
    best_weights: the average's at the epoch with the best choosing accuracy, the later one of equals.
    """

    def __init__(self, network: nn.Module, config: TrainConfig, steps: int, origin: dict[str, str]) -> None:
        self.identity = {**config.recipe(), **origin}
        self.network = network
        self.average = AveragedModel(
            network, multi_avg_fn=_moving_average(config.average_decay), use_buffers=True
        )
        self.optimizer = torch.optim.SGD(
            _parameter_groups(network, config.weight_decay),
            lr=config.learning_rate,
            momentum=config.momentum,
            nesterov=config.momentum > 0,
        )
        total = max(2, config.epochs * steps)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer,
            max_lr=config.learning_rate,
            total_steps=total,
            pct_start=max(config.warmup, 1.5 / total),  # its rise has to be longer than one step
            cycle_momentum=False,
        )
        self.records: list[EpochRecord] = []
        self.best_epoch = 0
        self.best_weights: dict[str, Tensor] = {}

    def step(self, loss: Tensor) -> None:
        """Learn from one batch's loss."""
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
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
        rate = float(self.schedule.get_last_lr()[0])
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
        partial = path.with_name(f"{path.name}.part")
        content = {
            "identity": self.identity,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "records": [asdict(record) for record in self.records],
            "best_epoch": self.best_epoch,
            "best_weights": self.best_weights,
        }
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                torch.save(content, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except (OSError, RuntimeError) as error:  # torch reports a short write as RuntimeError
            logger.warning("%s: no checkpoint of epoch %d: %s", path, len(self.records), error)

    def load(self, path: Path) -> None:
        """Continue from a checkpoint, if there is one.

        Raises ConfigError when it is damaged, or of a training with another configuration or other data.
        """
        if not path.is_file():
            logger.info("%s: no checkpoint yet, starting from the beginning", path)
            return
        try:
            content = torch.load(path, weights_only=True)
            found = content["identity"]
        except (OSError, RuntimeError, EOFError, KeyError, TypeError, UnpicklingError) as error:
            raise ConfigError(f"{path}: not a checkpoint ({error}); train without --resume") from error
        for key, value in self.identity.items():
            if found.get(key) != value:
                raise ConfigError(
                    f"{path}: is of a training with {key} {found.get(key)}, this one has {value}; "
                    "give the same settings, or train without --resume"
                )
        self.network.load_state_dict(content["network"])
        self.average.load_state_dict(content["average"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.schedule.load_state_dict(content["schedule"])
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


def _parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weights decay; biases and the scales of norms, which are vectors, do not."""
    weights = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]
    return [
        {"params": weights, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
