"""The networks, by name. Each takes raw pixels: resizing and normalising are its first layers."""

from collections.abc import Callable
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fashion_mnist.errors import ConfigError
from fashion_mnist.networks import backbones
from fashion_mnist.networks.catalog import BACKBONES, COMPACT, WIDE
from fashion_mnist.spec import ModelSpec


class Classifier(nn.Module):
    """Map uint8 images to (logits, features).

    images: uint8 (N, H, W) or (N, H, W, C). logits: float (N, K). features: float (N, D), the input of
    the last layer, so that later scores can be fitted without another export.
    mean, std: float (C,) of pixels scaled to 0..1; if C is 3, gray images are repeated to three channels.
    side_px: images of another size are resized to this side; None if the body takes any size.
    """

    def __init__(
        self,
        body: nn.Module,
        feature_count: int,
        class_count: int,
        mean: Tensor,
        std: Tensor,
        side_px: int | None = None,
    ) -> None:
        super().__init__()
        self.side_px = side_px
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", mean.view(1, -1, 1, 1))
        self.register_buffer("std", std.view(1, -1, 1, 1))
        self.body = body
        self.head = nn.Linear(feature_count, class_count)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x = images.float() / 255
        x = x.unsqueeze(1) if x.ndim == 3 else x.permute(0, 3, 1, 2)  # (N, C, H, W)
        if self.side_px is not None and x.shape[2:] != (self.side_px, self.side_px):
            x = F.interpolate(x, (self.side_px, self.side_px), mode="bilinear")  # (N, C, side, side)
        x = x.expand(-1, self.mean.shape[1], -1, -1)  # repeat gray to the body's channels
        x = (x - self.mean) / self.std
        features = self.body(x)  # (N, D)
        return self.head(features), features


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al. 2015); `stride` 2 halves the sides."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.AvgPool2d(stride, ceil_mode=True),
                nn.Conv2d(inputs, outputs, 1, bias=False),
                nn.BatchNorm2d(outputs),
            )
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.activation(self.body(x) + self.shortcut(x))
        return y


def build_compact(spec: ModelSpec, mean: Tensor, std: Tensor, side_px: int | None = None) -> Classifier:
    """Build a residual network for 28x28: 1.2 M parameters, 52 M multiply-adds per image.

    Widths are multiples of 32, the granularity of the bf16 units of CPUs.
    """
    widths = (32, 64, 128, 256)
    layers: list[nn.Module] = [
        nn.Conv2d(spec.channels, widths[0], 3, 1, 1, bias=False),
        nn.BatchNorm2d(widths[0]),
        nn.ReLU(),
    ]
    inputs = widths[0]
    for stage, outputs in enumerate(widths):  # 28x28, 14x14, 7x7, 4x4
        layers.append(ResidualBlock(inputs, outputs, stride=1 if stage == 0 else 2))
        inputs = outputs
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return Classifier(nn.Sequential(*layers), inputs, len(spec.classes), mean, std, side_px)


class WideBlock(nn.Module):
    """Residual block with norms before convolutions, dropout between them; `stride` 2 halves the sides.

    Source: Zagoruyko and Komodakis, Wide Residual Networks, 2016.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.before = nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU())
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Dropout(0.3),  # the paper's rate
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
        )
        self.shortcut = None if inputs == outputs else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        z = self.before(x)
        y: Tensor = self.body(z) + (x if self.shortcut is None else self.shortcut(z))
        return y


def build_wide(spec: ModelSpec, mean: Tensor, std: Tensor, side_px: int | None = None) -> Classifier:
    """Build WRN-28-10: 36.5 M parameters, 4,014 M multiply-adds per 28x28 image. Training needs a GPU."""
    layers: list[nn.Module] = [nn.Conv2d(spec.channels, 16, 3, 1, 1, bias=False)]
    inputs = 16
    for stage, outputs in enumerate((160, 320, 640)):  # 28x28, 14x14, 7x7
        for block in range(4):
            layers.append(WideBlock(inputs, outputs, stride=2 if stage > 0 and block == 0 else 1))
            inputs = outputs
    layers += [nn.BatchNorm2d(inputs), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return Classifier(nn.Sequential(*layers), inputs, len(spec.classes), mean, std, side_px)


Builder = Callable[[ModelSpec, Tensor, Tensor, int | None], Classifier]

BUILDERS: Final[dict[str, Builder]] = {COMPACT: build_compact, WIDE: build_wide}


def build(name: str, spec: ModelSpec, mean: Tensor, std: Tensor, input_size: int | None = None) -> Classifier:
    """Build a network by name, with random weights.

    mean, std: float (C,), of the training pixels scaled to 0..1; backbones ignore them. input_size: side in
    pixels to which the network resizes its images; None: a backbone's default, else no resizing.
    """
    if name in BACKBONES:
        side_px = input_size or BACKBONES[name]
        body, feature_count = backbones.build_body(name, side_px)
        return Classifier(body, feature_count, len(spec.classes), *backbones.statistics(name), side_px)
    try:
        builder = BUILDERS[name]
    except KeyError:
        known = ", ".join([*BUILDERS, *BACKBONES])
        raise ConfigError(f"unknown network {name!r}; choose one of {known}") from None
    return builder(spec, mean, std, input_size)


def pixel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation per channel of uint8 images scaled to 0..1: float (C,) each."""
    channels = 1 if images.ndim == 3 else images.shape[-1]
    counts = torch.stack(
        [torch.bincount(images.reshape(-1, channels)[:, c].int(), minlength=256) for c in range(channels)]
    ).double()  # (C, 256): exact, without a float copy of the images
    values = torch.arange(256, dtype=torch.float64) / 255
    mean = (counts * values).sum(1) / counts.sum(1)
    variance = (counts * (values - mean[:, None]) ** 2).sum(1) / counts.sum(1)
    return mean.float(), variance.sqrt().clamp_min(1e-3).float()
