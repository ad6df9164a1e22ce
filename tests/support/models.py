"""Small models for tests that need another shape or other classes than the bundled one."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fashion_mnist.export import onnx_export
from fashion_mnist.networks import classifiers
from fashion_mnist.registry import model_folder
from fashion_mnist.registry.model_folder import ModelRecord
from fashion_mnist.spec import ModelSpec


def write_untrained(folder: Path, spec: ModelSpec) -> Path:
    """Write a compact network with random weights, seed 0, as a model without calibration."""
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    blank = torch.zeros(spec.channels), torch.ones(spec.channels)
    network = classifiers.build("compact", spec, *blank).eval()
    onnx_export.export_network(network, spec, folder)
    Image.fromarray(np.zeros(spec.shape, np.uint8)).save(folder / model_folder.EXAMPLE)
    shape = {"height": spec.height, "width": spec.width, "channels": spec.channels}
    model_folder.write_record(folder, ModelRecord(network="compact", classes=spec.classes, **shape))
    return folder
