"""Starting weights: those of a stored model, ImageNet's, or random ones."""

import logging
from pathlib import Path

from torch import Tensor

from fashion_mnist.errors import ConfigError
from fashion_mnist.export.torch_predictor import load_network
from fashion_mnist.networks import backbones
from fashion_mnist.networks.catalog import BACKBONES
from fashion_mnist.networks.classifiers import Classifier
from fashion_mnist.registry import model_folder, store
from fashion_mnist.spec import ModelSpec
from fashion_mnist.training.config import TrainConfig

logger = logging.getLogger(__name__)


def resolve(config: TrainConfig) -> TrainConfig:
    """Resolve every `auto` and default; network and input size follow the model to start from.

    Raises ModelError, and ConfigError when settings contradict each other, or a model to start from or to
    distil is a file.
    """
    for flag, choice in [("from", config.from_ or ""), *(("teacher", name) for name in config.teacher)]:
        if Path(choice).is_file():
            raise ConfigError(
                f"--{flag} {choice}: a file; expected `bundled`, or a tag or folder of a model that train.py "
                "saved. A network of your own (.h5, .pt, .onnx) cannot be loaded, docs/training-guide.md has "
                "the alternatives; a checkpoint continues with --resume and its own settings"
            )
    start = None
    if config.from_ is not None:
        start = model_folder.read_record(store.choose(config.from_).folder)
    return config.resolve(start)


def find_pretrained(config: TrainConfig) -> Path | None:
    """Return the file with the ImageNet weights that a resolved configuration asks for, or None.

    Call it before reading the data, so that a missing file is reported at once.
    Raises ConfigError and DependencyError, which say how to get the file.
    """
    if config.pretrained:
        return backbones.find_weights(config.network)
    if config.train == "head" and config.from_ is None:
        logger.warning("--train head --no-pretrained: the features are random; use them for timing only")
    return None


def load_start(network: Classifier, config: TrainConfig, spec: ModelSpec, pretrained: Path | None) -> None:
    """Load the starting weights into a network for `spec`; if there are none, it keeps its random weights.

    Raises ModelError, and ConfigError when the stored model is a different network, or takes colour while
    the images are gray.
    """
    if config.from_ is not None:
        _load_model(network, config.from_, spec)
    if pretrained is not None:
        backbones.load_weights(network.body, config.network, pretrained)


def _load_model(network: Classifier, choice: str, spec: ModelSpec) -> None:
    """Copy the weights of a stored model; if its classes differ, the last layer stays random.

    Pixels are still normalised by the stored network's statistics, not by those of the new images: its
    weights were trained with them, and its normalisation layers adapt to the rest.
    """
    folder = store.choose(choice).folder
    record = model_folder.read_record(folder)
    stored = load_network(record, folder).state_dict()
    if record.classes != spec.classes:
        logger.info("%s has different classes: the last layer starts from random weights", choice)
        stored |= {name: weight for name, weight in network.state_dict().items() if name.startswith("head.")}
    if record.channels != spec.channels and record.network not in BACKBONES:
        if record.channels > spec.channels:
            raise ConfigError(
                f"--from {choice}: it takes colour, these images are gray; give --color for image folders"
            )
        stored = widen_to_color(stored)
    try:
        network.load_state_dict(stored)
    except RuntimeError as error:
        raise ConfigError(
            f"--from {choice}: it is a {record.network!r} network, this training uses another; "
            f"give --network {record.network}"
        ) from error


def widen_to_color(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convert the weights of a compact or wide network for gray images to a network for colour.

    Each channel gets a third of each kernel, so a picture with three equal channels is classified as before.
    """
    first = "body.0.weight"  # (O, 1, 3, 3)
    wide = {first: weights[first].repeat(1, 3, 1, 1) / 3}
    return weights | wide | {name: weights[name].repeat(1, 3, 1, 1) for name in ("mean", "std")}
