"""Reference predictions: the stored weights in eager torch, float32."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file

from fashion_mnist.errors import ModelError
from fashion_mnist.inference.predictor import Outputs, Predictor
from fashion_mnist.networks import classifiers
from fashion_mnist.networks.classifiers import Classifier
from fashion_mnist.registry import model_folder
from fashion_mnist.registry.model_folder import ModelRecord


class TorchNetwork:
    """Runs a stored network in eager torch: slow, the reference for the compiled network."""

    precision = "fp32"

    def __init__(self, folder: Path, record: ModelRecord, threads: int, precision: str) -> None:
        self.network = load_network(record, folder)
        torch.set_num_threads(threads)

    def run(self, images: NDArray[np.uint8]) -> Outputs:
        with torch.inference_mode():
            logits, features = self.network(torch.tensor(images))
        return logits.numpy(), features.numpy()


def torch_predictor(folder: Path, threads: int | None = None) -> Predictor:
    """Build a Predictor that runs on torch instead of OpenVINO. Raises ModelError."""
    return Predictor(folder, threads, "fp32", TorchNetwork)


def load_network(record: ModelRecord, folder: Path) -> Classifier:
    """Build the network that a record names, with the stored weights, in evaluation mode."""
    blank = torch.zeros(record.channels), torch.ones(record.channels)  # replaced by the stored ones
    network = classifiers.build(record.network, record.spec, *blank, record.input_size)
    path = folder / model_folder.SAFETENSORS
    try:
        network.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ModelError(f"{path}: cannot be loaded as {record.network!r}: {error}") from error
    return network.eval()
