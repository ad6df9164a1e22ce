"""Export a trained network to ONNX and safetensors."""

import logging
import warnings
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save

from fashion_mnist.errors import FashionMnistError
from fashion_mnist.inference.predictor import Predictor
from fashion_mnist.networks.classifiers import Classifier
from fashion_mnist.registry import model_folder
from fashion_mnist.spec import ModelSpec

OPSET: Final = 20
HALF_FROM_VALUES: Final = 1024
"""Smaller weights (biases, norms) stay float32: they cost nothing and carry the scale."""
PARITY_IMAGES: Final = 200
PARITY_BATCH: Final = 20
"""Images per torch call: all at once would take gigabytes with a large backbone."""
PARITY_LOGIT: Final = 0.05
"""Largest accepted difference of a logit, ONNX in fp32 against torch: the cost of half-precision storage."""


def export_network(network: Classifier, spec: ModelSpec, folder: Path) -> None:
    """Write network.onnx and network.safetensors, both with large weights in half precision."""
    network.eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    example = torch.zeros((2, *spec.shape), dtype=torch.uint8)
    with warnings.catch_warnings():
        # torch itself calls a deprecated torch function, and logs that torchvision is missing
        warnings.filterwarnings("ignore", category=FutureWarning, module="copyreg")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            network,
            (example,),
            input_names=["images"],
            output_names=["logits", "features"],
            dynamic_shapes=({0: torch.export.Dim("n")},),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    _store_in_half(model)
    _drop_comments(model)
    onnx.checker.check_model(model)
    onnx.save(model, folder / model_folder.ONNX)
    weights = {n: w.half() if w.numel() >= HALF_FROM_VALUES else w for n, w in network.state_dict().items()}
    (folder / model_folder.SAFETENSORS).write_bytes(save(weights))


def check_parity(network: Classifier, folder: Path, images: NDArray[np.uint8]) -> float:
    """Compare the exported graph in fp32 with torch; return the largest difference of a logit.

    images: uint8 (N, ...), of which the first PARITY_IMAGES are used.
    Raises FashionMnistError when a logit differs by more than PARITY_LOGIT, or by more than PARITY_LOGIT
    times the logits' standard deviation if that is above 1.
    """
    images = images[:PARITY_IMAGES]
    with torch.inference_mode():
        expected = torch.cat([network(batch)[0] for batch in torch.split(torch.tensor(images), PARITY_BATCH)])
    found, _ = Predictor(folder, precision="fp32").outputs(images)
    difference = float(np.abs(found - expected.numpy()).max())
    allowed = PARITY_LOGIT * max(1.0, float(expected.std()))
    if not difference <= allowed:
        raise FashionMnistError(
            f"the exported network differs from the trained one: logits differ by up to {difference:.3g}, "
            f"expected at most {allowed:.3g}; the model was not saved"
        )
    return difference


def _store_in_half(model: onnx.ModelProto) -> None:
    """Store large weights as float16, each with a Cast to float32: half the file, same operators."""
    casts = []
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype != np.float32 or values.size < HALF_FROM_VALUES:
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        casts.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*casts, *nodes])
    del model.graph.value_info[:]


def _drop_comments(model: onnx.ModelProto) -> None:
    """Remove the exporter's notes on each node: source lines and paths of this machine."""
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.metadata_props[:]
