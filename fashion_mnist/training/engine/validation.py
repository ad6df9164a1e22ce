"""How well a network does on labelled images while it is trained: batches, and loss and accuracy on them."""

import math
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data import Dataset as TorchDataset

from fashion_mnist.data.sources import LabelledImages

EVALUATION_BATCH: Final = 500
"""Images of 28 x 28 at once; of larger ones as many as take the memory of so many."""
LEAST_EVALUATION_BATCH: Final = 16


class ImageDataset(TorchDataset[tuple[Tensor, int]]):
    """Labelled images as a PyTorch Dataset: item i is (uint8 (H, W[, C]), class index)."""

    def __init__(self, data: LabelledImages) -> None:
        # torch takes arrays that it could write to; those of an IDX file are not
        self.images = torch.from_numpy(np.require(data.images, requirements="W"))
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


def measure(network: nn.Module, data: LabelledImages, *, bf16: bool) -> tuple[float, float]:
    """Mean cross-entropy and accuracy of the network, in evaluation mode."""
    return measure_dataset(network, ImageDataset(data), bf16=bf16)


@torch.inference_mode()
def measure_dataset(
    network: nn.Module, data: ImageDataset | TensorDataset, *, bf16: bool
) -> tuple[float, float]:
    """The same of a dataset of images, or of features where the network is a last layer."""
    network.eval()
    device = next(network.parameters()).device
    loss_sum, correct = 0.0, 0
    for x, labels in DataLoader(data, _evaluation_batch(network, data)):
        y = labels.to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            logits, _ = network(x.to(device))
        loss_sum += F.cross_entropy(logits.float(), y, reduction="sum").item()
        correct += int((logits.argmax(1) == y).sum())
    return loss_sum / len(data), correct / len(data)


def _evaluation_batch(network: nn.Module, data: ImageDataset | TensorDataset) -> int:
    """EVALUATION_BATCH, or less for what is larger than 28 x 28 once it is in the network."""
    if isinstance(data, TensorDataset):
        return EVALUATION_BATCH
    side_px = getattr(network, "side_px", None)
    pixels = side_px**2 if side_px else math.prod(data.images.shape[1:3])
    return min(EVALUATION_BATCH, max(LEAST_EVALUATION_BATCH, EVALUATION_BATCH * 28**2 // pixels))
