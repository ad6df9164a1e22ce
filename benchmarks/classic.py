"""The classic recipe for such services: VGG16 at 3x224x224 with only the last layer trained.

Eager float32 torch, Adam, batches of 32, every image through the whole network in every epoch. A part of it
is timed and scaled. The time does not depend on the weights, so none are downloaded; without ImageNet
weights there is no accuracy to report.
"""

import time
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fashion_mnist.data.dataset import LabelledImages
from fashion_mnist.networks.torchvision_compat import import_torchvision

IMAGES: Final = 10_000
EPOCHS: Final = 10
BATCH: Final = 32
SIDE_PX: Final = 224


@dataclass(frozen=True)
class PartialRun:
    """A timed part of the recipe: `steps` batches after a warm-up. whole_s: scaled to IMAGES * EPOCHS."""

    steps: int
    seconds: float
    whole_s: float
    parameters: int
    trained_parameters: int


def time_classic(data: LabelledImages, steps: int) -> PartialRun:
    """Train for `steps` batches and scale the time. data: uint8 (N, 28, 28), N at least BATCH."""
    network = _build(len(data.classes))
    trained = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=1e-3)
    images, labels = torch.from_numpy(data.images.copy()), torch.from_numpy(data.labels)
    start = 0.0
    for step in range(steps + 1):
        if step == 1:
            start = time.perf_counter()
        rows = (torch.arange(BATCH) + step * BATCH) % len(labels)
        loss = F.cross_entropy(network(_prepare(images[rows])), labels[rows])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    seconds = time.perf_counter() - start
    return PartialRun(
        steps=steps,
        seconds=seconds,
        whole_s=seconds / (steps * BATCH) * IMAGES * EPOCHS,
        parameters=sum(p.numel() for p in network.parameters()),
        trained_parameters=sum(p.numel() for p in trained),
    )


def _build(classes: int) -> nn.Module:
    network: nn.Module = import_torchvision().models.vgg16(weights=None)
    for parameter in network.parameters():
        parameter.requires_grad = False
    head = network.get_submodule("classifier")
    assert isinstance(head, nn.Sequential)
    head[6] = nn.Linear(4096, classes)
    return network.train()


def _prepare(images: Tensor) -> Tensor:
    x = images[:, None].float() / 255  # (N, 1, 28, 28)
    x = F.interpolate(x, (SIDE_PX, SIDE_PX), mode="bilinear")
    return (x.expand(-1, 3, -1, -1) - 0.45) / 0.225  # (N, 3, 224, 224)
