"""Validation during a training: loss and accuracy of a network on labelled images."""

import math
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data import Dataset as TorchDataset

from fashion_mnist.data.dataset import LabelledImages

MAX_BATCH: Final = 500
"""Batch size for images of 28 x 28; larger images get smaller batches, for the same memory."""
MIN_BATCH: Final = 16


class ImageDataset(TorchDataset[tuple[Tensor, int]]):
    """Labelled images as a PyTorch Dataset: item i is (uint8 (H, W[, C]), class index)."""

    def __init__(self, data: LabelledImages) -> None:
        # torch warns about read-only arrays, such as those read from an IDX file
        self.images = torch.from_numpy(np.require(data.images, requirements="W"))
        self.labels = data.labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], int(self.labels[index])


@torch.inference_mode()
def validate(network: nn.Module, data: ImageDataset | TensorDataset, *, bf16: bool) -> tuple[float, float]:
    """Return mean cross-entropy and accuracy of a network, which is left in evaluation mode.

    data: images, or features if the network is a last layer alone.
    """
    network.eval()
    device = next(network.parameters()).device
    loss_sum, correct = 0.0, 0
    for x, labels in DataLoader(data, _batch_size(network, data)):
        y = labels.to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            logits, _ = network(x.to(device))  # (N, K)
        loss_sum += F.cross_entropy(logits.float(), y, reduction="sum").item()
        correct += int((logits.argmax(1) == y).sum())
    return loss_sum / len(data), correct / len(data)


def _batch_size(network: nn.Module, data: ImageDataset | TensorDataset) -> int:
    """Return MAX_BATCH, or less if the images are larger than 28 x 28 inside the network."""
    if isinstance(data, TensorDataset):
        return MAX_BATCH
    side_px = getattr(network, "side_px", None)
    pixels = side_px**2 if side_px else math.prod(data.images.shape[1:3])
    return min(MAX_BATCH, max(MIN_BATCH, MAX_BATCH * 28**2 // pixels))
