"""Training: fit a network to labelled images."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from fashion_mnist.augmentation import augment
from fashion_mnist.config import TrainConfig
from fashion_mnist.data import LabelledImages, Splits
from fashion_mnist.errors import FashionMnistError
from fashion_mnist.networks import Classifier

EVALUATION_BATCH: Final = 500


@dataclass(frozen=True)
class Progress:
    """Where a training is: after a step, or at the end of an epoch (then `choose_accuracy` is set)."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    accuracy: float
    remaining_s: float
    choose_accuracy: float | None = None


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


@dataclass(frozen=True)
class History:
    """What a training did. precision: that of its forward pass."""

    epochs: tuple[EpochRecord, ...]
    seconds: float
    precision: str

    def asdict(self) -> dict[str, Any]:
        """The history as plain values, for JSON."""
        return asdict(self)


class ImageDataset(TorchDataset[tuple[Tensor, int]]):
    """Labelled images as a PyTorch Dataset: item i is (uint8 (H, W[, C]), class index)."""

    def __init__(self, data: LabelledImages) -> None:
        self.images = torch.from_numpy(data.images.copy())
        self.labels = data.labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], int(self.labels[index])


def data_loader(
    data: LabelledImages, batch_size: int, *, shuffle: bool = False, seed: int = 0
) -> DataLoader[tuple[Tensor, int]]:
    """A DataLoader of batches (uint8 (N, H, W[, C]), int64 (N,)); seeded when shuffled.

    For code that wants PyTorch's interface; `fit` itself indexes the images in memory.
    """
    generator = torch.Generator().manual_seed(seed)
    return DataLoader(ImageDataset(data), batch_size, shuffle=shuffle, generator=generator)


def fit(
    network: Classifier,
    data: Splits,
    config: TrainConfig,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> History:
    """Train `network` on data.train; afterwards it holds the average of its weights.

    SGD with Nesterov momentum, a one-cycle rate, an exponential moving average of the weights. The
    same configuration and data give the same weights on the same machine and number of threads.
    Raises FashionMnistError when the loss is no longer a number.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    bf16 = uses_bf16(config.precision)
    images, labels = torch.from_numpy(data.train.images), torch.from_numpy(data.train.labels)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    steps = math.ceil(len(labels) / config.batch_size)
    optimizer = torch.optim.SGD(
        _parameter_groups(network, config.weight_decay),
        lr=config.learning_rate,
        momentum=config.momentum,
        nesterov=config.momentum > 0,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=config.learning_rate,
        total_steps=config.epochs * steps,
        pct_start=max(config.warmup, 1 / (config.epochs * steps)),
        cycle_momentum=False,
    )
    average = AveragedModel(network, multi_avg_fn=_moving_average(config.average_decay), use_buffers=True)
    records: list[EpochRecord] = []
    start = time.monotonic()
    for epoch in range(1, config.epochs + 1):
        epoch_start = time.monotonic()
        generator = torch.Generator().manual_seed(config.seed * 100_003 + epoch)
        network.train()
        loss_sum = torch.zeros(())
        correct = torch.zeros((), dtype=torch.int64)
        seen = 0
        for step, rows in enumerate(_batches(len(labels), config.batch_size, generator), start=1):
            y = labels[rows]
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                logits, _ = network(augment(images[rows], config, generator))
            loss = F.cross_entropy(logits.float(), y, label_smoothing=config.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            average.update_parameters(network)
            seen += len(y)
            loss_sum += loss.detach() * len(y)
            correct += (logits.detach().argmax(1) == y).sum()
            if step % 10 == 0 or step == steps:
                mean_loss = loss_sum.item() / seen
                if not math.isfinite(mean_loss):
                    raise FashionMnistError(
                        f"the loss is no longer a number in epoch {epoch}, step {step}; "
                        f"lower --learning-rate (it is {config.learning_rate:g})"
                    )
                done = (epoch - 1) * steps + step
                elapsed = time.monotonic() - start
                remaining = elapsed / done * (config.epochs * steps - done)
                progress = Progress(
                    epoch, config.epochs, step, steps, mean_loss, correct.item() / seen, remaining
                )
                on_progress(progress)
        choose_loss, choose_accuracy = measure(average.module, data.choose, bf16=bf16)
        records.append(
            EpochRecord(
                epoch,
                progress.loss,
                progress.accuracy,
                choose_loss,
                choose_accuracy,
                float(schedule.get_last_lr()[0]),
                time.monotonic() - epoch_start,
            )
        )
        on_progress(Progress(**{**asdict(progress), "choose_accuracy": choose_accuracy}))
    network.load_state_dict(average.module.state_dict())
    network.eval()
    return History(tuple(records), time.monotonic() - start, "bf16" if bf16 else "fp32")


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


@torch.inference_mode()
def measure(network: nn.Module, data: LabelledImages, *, bf16: bool) -> tuple[float, float]:
    """Mean cross-entropy and accuracy of the network, in evaluation mode."""
    network.eval()
    loss_sum, correct = 0.0, 0
    for images, y in data_loader(data, EVALUATION_BATCH):
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits, _ = network(images)
        loss_sum += F.cross_entropy(logits.float(), y, reduction="sum").item()
        correct += int((logits.argmax(1) == y).sum())
    return loss_sum / len(data), correct / len(data)


def uses_bf16(precision: str) -> bool:
    """Whether to train in bf16: as asked for, or by what the processor has."""
    if precision == "auto":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return precision == "bf16"


def _batches(count: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Row numbers of each batch, shuffled; the last one may be smaller, but never a single image.

    Batch normalisation cannot train on one image, so a single last one joins the batch before it.
    """
    batches = list(torch.randperm(count, generator=generator).split(size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return iter(batches)


def _parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weights decay; biases and the scales of norms, which are vectors, do not."""
    weights = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]
    return [
        {"params": weights, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
