"""The state of a training between epochs: what a checkpoint stores."""

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

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

FINGERPRINTS: Final = {
    "train": "training images",
    "validation": "validation images",
    "teachers": "teachers",
    "backbone": "frozen layers (--train head)",
}
"""Keys of an identity whose values say nothing to a reader -> what they stand for."""
MAX_NAMED: Final = 3
"""Other checkpoints that are named when the right one is missing."""
LONGER: Final = (
    "the learning-rate schedule depends on the number of epochs, so a checkpoint continues only with its own "
    "settings; to train for longer, resume and finish that training (Ctrl-C keeps its best epoch), then "
    "train its model further with --from TAG"
)


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
        """Continue from a checkpoint; if there is none, name those beside it and start from the beginning.

        Raises ConfigError when it is damaged, or belongs to another configuration or other data.
        """
        if not path.is_file():
            logger.info(
                "%s: no checkpoint of this training; starting from the beginning (a finished training leaves "
                "none: --from TAG trains its model further)",
                path,
            )
            self._name_others(path)
            return
        try:
            content = checkpoint_file.read(path)
            differences = self._find_differences(content)
        except checkpoint_file.UNREADABLE as error:
            raise ConfigError(f"{path}: not a checkpoint ({error}); train without --resume") from error
        if differences:
            longer = f"; {LONGER}" if any(name.startswith("epochs ") for name in differences) else ""
            raise ConfigError(
                f"{path}: belongs to a training with {', '.join(differences)}; give the same settings and "
                f"data, or train without --resume{longer}"
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

    def _find_differences(self, content: dict[str, Any]) -> list[str]:
        """Return a phrase for each setting, and each kind of data, that a checkpoint does not share."""
        theirs = {"processes": "1"} | complete_recipe(rename_old_keys(content["identity"]))
        return [
            f"other {FINGERPRINTS[key]}"
            if key in FINGERPRINTS
            else f"{key} {theirs.get(key)} (here {self.identity.get(key)})"
            for key in self.identity | theirs
            if theirs.get(key) != self.identity.get(key)
        ]

    def _name_others(self, missing: Path) -> None:
        """Name the checkpoints in the folder of a missing one, those with the fewest differences first."""
        others = []
        for path in missing.parent.glob("*.pt"):
            try:
                content = checkpoint_file.read(path, mapped=True)
                others.append((self._find_differences(content), path, len(content["records"])))
            except checkpoint_file.UNREADABLE:
                continue
        others.sort(key=lambda other: len(other[0]))
        for differences, path, epochs in others[:MAX_NAMED]:
            what = ", ".join(differences) or "the same settings and data: continue it with --checkpoint"
            logger.warning("%s: a checkpoint after epoch %d, of a training with %s", path, epochs, what)
        if others:
            logger.warning("%s", LONGER)
