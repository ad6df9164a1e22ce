"""Random augmentation: mirror, shift, erase. uint8 in, uint8 out, a whole batch at once.

torchvision's transforms draw one set of parameters per batch; these draw one per image, at a hundredth of
the cost of a loop over images.
"""

import torch
from torch import Tensor

from fashion_mnist.training.config import TrainConfig


def augment(images: Tensor, config: TrainConfig, generator: torch.Generator) -> Tensor:
    """Augment images, uint8 (N, H, W) or (N, H, W, C); return new ones of the same shape."""
    if config.flip:
        images = flip(images, generator)
    if config.shift:
        images = shift(images, config.shift, generator)
    if config.erase:
        images = erase(images, config.erase, generator)
    return images


def flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror half of the images, left to right."""
    chosen = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(_per_image(chosen, images), images.flip(2), images)


def shift(images: Tensor, max_px: int, generator: torch.Generator) -> Tensor:
    """Shift each image by up to `max_px` in both directions; the gap is filled by reflection."""
    count, height, width = images.shape[:3]
    dy, dx = torch.randint(-max_px, max_px + 1, (2, count, 1), generator=generator)
    rows = _reflect(torch.arange(height) + dy, height)  # (N, H)
    columns = _reflect(torch.arange(width) + dx, width)  # (N, W)
    return images[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]


def erase(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Overwrite a random rectangle with noise in a `share` of the images.

    Area 2 to 40 % of the image, aspect 0.3 to 3.3 (Zhong et al., Random Erasing, 2017).
    """
    count, height, width = images.shape[:3]

    def uniform(low: float, high: float) -> Tensor:
        return torch.empty(count).uniform_(low, high, generator=generator)

    area = uniform(0.02, 0.4) * (height * width)
    aspect = uniform(-1.2, 1.2).exp()
    h = (area * aspect).sqrt().round().clamp(1, height - 1)
    w = (area / aspect).sqrt().round().clamp(1, width - 1)
    top = (uniform(0, 1) * (height - h + 1)).floor()
    left = (uniform(0, 1) * (width - w + 1)).floor()
    y, x = torch.arange(height), torch.arange(width)
    in_rows = (y >= top[:, None]) & (y < (top + h)[:, None])  # (N, H)
    in_columns = (x >= left[:, None]) & (x < (left + w)[:, None])  # (N, W)
    chosen = torch.rand(count, generator=generator) < share
    inside = in_rows[:, :, None] & in_columns[:, None, :] & chosen[:, None, None]  # (N, H, W)
    noise = torch.randint(0, 256, images.shape, dtype=torch.uint8, generator=generator)
    return torch.where(inside.reshape(*inside.shape, *[1] * (images.ndim - 3)), noise, images)


def _per_image(mask: Tensor, images: Tensor) -> Tensor:
    return mask.reshape(-1, *[1] * (images.ndim - 1))


def _reflect(index: Tensor, size: int) -> Tensor:
    """Reflect indices at the border pixels into 0..size - 1: -1 -> 1, size -> size - 2, and so on."""
    period = max(1, 2 * (size - 1))
    index = index % period
    return torch.where(index >= size, period - index, index)
