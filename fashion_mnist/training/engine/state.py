"""The state of a training between epochs: what a checkpoint stores."""

import logging
from dataclasses import asdict
from pathlib import Path

from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from fashion_mnist.errors import ConfigError
from fashion_mnist.registry.model_folder import rename_old_keys
from fashion_mnist.training.config import TrainConfig, complete_recipe
from fashion_mnist.training.engine import checkpoint_file
from fashion_mnist.training.engine.history import EpochRecord
from fashion_mnist.training.engine.optimizers import build_optimizers, moving_average, rise_and_fall

logger = logging.getLogger(__name__)


class TrainingState:
    """Network, moving average of its weights, optimizers, schedules, and the figures of finished epochs.

    network: returns (logits, features); its last layer is called `head`. config: resolved. steps: batches
    in an epoch. origin: what a checkpoint must match besides the configuration.
    best_weights: averaged weights of the epoch with the best validation accuracy; a tie goes to the latest.
    """

    def __init__(self, network: nn.Module, config: TrainConfig, steps: int, origin: dict[str, str]) -> None:
        self.identity = {**config.recipe(), **origin}
        self.network = network
        self.average = AveragedModel(
            network, multi_avg_fn=moving_average(config.average_decay), use_buffers=True
        )
        self.optimizers = build_optimizers(network, config)
        shape = rise_and_fall(config.epochs * steps, config.warmup)
        self.schedules = [LambdaLR(optimizer, shape) for optimizer in self.optimizers]
        self.records: list[EpochRecord] = []
        self.best_epoch = 0
        self.best_weights: dict[str, Tensor] = {}

    def step(self, loss: Tensor) -> None:
        """Update weights, learning rates and the moving average from the loss of one batch."""
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
        validation_loss: float,
        validation_accuracy: float,
        seconds: float,
    ) -> None:
        """Record an epoch, and keep the averaged weights if they are the best so far."""
        rate = float(self.schedules[0].get_last_lr()[0])
        epoch = len(self.records) + 1
        figures = (train_loss, train_accuracy, validation_loss, validation_accuracy, rate, seconds)
        self.records.append(EpochRecord(epoch, *figures))
        if validation_accuracy >= max(record.validation_accuracy for record in self.records):
            self.best_epoch = epoch
            self.best_weights = {k: v.clone() for k, v in self.average.module.state_dict().items()}

    def epochs_without_gain(self) -> int:
        """Return the number of epochs since the validation accuracy last rose; an equal value is no rise."""
        accuracies = [record.validation_accuracy for record in self.records]
        return len(accuracies) - 1 - accuracies.index(max(accuracies)) if accuracies else 0

    def save(self, path: Path) -> None:
        """Write a checkpoint; it replaces the previous one only when it is complete on disk.

        On a full disk the previous checkpoint stays and the training goes on.
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
            logger.warning(
                "%s: the checkpoint of epoch %d cannot be written: %s", path, len(self.records), error
            )

    def load(self, path: Path) -> None:
        """Continue from a checkpoint, if there is one.

        Raises ConfigError when it is damaged, or belongs to another configuration or other data.
        """
        if not path.is_file():
            logger.info("%s: no checkpoint yet, starting from the beginning", path)
            return
        try:
            content = checkpoint_file.read(path)
            found = {"processes": "1"} | complete_recipe(rename_old_keys(content["identity"]))
        except checkpoint_file.UNREADABLE as error:
            raise ConfigError(f"{path}: not a checkpoint ({error}); train without --resume") from error
        for key, value in self.identity.items():
            if found.get(key) != value:
                raise ConfigError(
                    f"{path}: belongs to a training with {key} {found.get(key)}, this one has {value}; "
                    "give the same settings, or train without --resume"
                )
        self.network.load_state_dict(content["network"])
        self.average.load_state_dict(content["average"])
        for optimizer, state in zip(self.optimizers, content["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        for schedule, state in zip(self.schedules, content["schedules"], strict=True):
            schedule.load_state_dict(state)
        self.records = [EpochRecord(**rename_old_keys(record)) for record in content["records"]]
        self.best_epoch = content["best_epoch"]
        self.best_weights = content["best_weights"]
        logger.info("%s: continuing after epoch %d", path, len(self.records))
