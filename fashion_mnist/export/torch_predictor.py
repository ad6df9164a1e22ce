"""The reference: the same predictions by torch in float32, from the stored float32 weights."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file

from fashion_mnist.errors import ModelError
from fashion_mnist.inference.predictor import Predictor
from fashion_mnist.networks import classifiers
from fashion_mnist.networks.classifiers import Classifier
from fashion_mnist.registry import model_folder
from fashion_mnist.registry.model_folder import ModelRecord


class TorchPredictor(Predictor):
    """A Predictor that runs the network by eager torch. Slow, and what the compiled one is checked by."""

    def _compile(self) -> None:
        self.precision = "fp32"
        self.network = load_network(self.record, self.folder)
        torch.set_num_threads(self.threads)

    def _run(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        with torch.inference_mode():
            logits, features = self.network(torch.tensor(images))
        return logits.numpy(), features.numpy()


def load_network(record: ModelRecord, folder: Path) -> Classifier:
    """Build the network that a record names, and give it the stored weights."""
    blank = (
        torch.zeros(record.channels),
        torch.ones(record.channels),
    )  # the stored ones replace them
    network = classifiers.build(record.network, record.spec, *blank, record.input_size)
    path = folder / model_folder.SAFETENSORS
    try:
        network.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ModelError(f"{path}: cannot be loaded as {record.network!r}: {error}") from error
    return network.eval()
