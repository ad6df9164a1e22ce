"""Reports of a training: progress while it runs, a history afterwards."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Progress:
    """Progress of a training after a step, or after an epoch (then `validation_accuracy` is set).

    Epoch 0 computes the features that the last layer trains on; its steps are images.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    accuracy: float
    remaining_s: float
    validation_accuracy: float | None = None


@dataclass(frozen=True)
class EpochRecord:
    """Figures of one epoch: mean cross-entropies and accuracies.

    `train_*` are measured on the augmented images; with teachers, `train_loss` is the weighted sum that was
    minimised. `validation_*` are measured with the averaged weights.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    learning_rate: float
    seconds: float


@dataclass(frozen=True)
class History:
    """The course of a training.

    best: number of the epoch whose weights were kept. ended: `finished`, `early` (patience ran out) or
    `interrupted`. seconds: includes the time before a resumption. precision: of the forward pass.
    """

    epochs: tuple[EpochRecord, ...]
    best: int
    ended: str
    seconds: float
    precision: str

    def asdict(self) -> dict[str, Any]:
        """Return the history as plain values, for JSON."""
        return asdict(self)


OnProgress = Callable[[Progress], None]
