"""Quantize the exported network to int8, for CPUs that multiply bytes twice as fast."""

import logging
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fashion_mnist.data.dataset import LabelledImages
from fashion_mnist.inference.openvino_runtime import import_openvino
from fashion_mnist.inference.predictor import Predictor
from fashion_mnist.registry import model_folder

logger = logging.getLogger(__name__)

RANGE_IMAGES: Final = 1_500
"""Training images from which activation ranges are taken; enough for every activation."""
RANGE_BATCH: Final = 50
MAX_LOST: Final = 0.001
"""Largest accepted loss of validation accuracy, in addition to its standard error: the square root of the
number of images that only one of fp32 and int8 gets right. A network that loses more in int8 is served in
bf16 or fp32."""


def quantize(folder: Path, images: NDArray[np.uint8], validation: LabelledImages) -> None:
    """Write network.int8.xml and .bin next to network.onnx, unless int8 loses too much validation accuracy.

    images: training images that determine the ranges of the activations. Uses NNCF's post-training
    quantization: symmetric weights, asymmetric activations, corrected biases. The first convolution is not
    quantized: it is the smallest, and half of int8's deviation from fp32 would come from it.
    """
    openvino = import_openvino()
    import nncf

    logging.getLogger("nncf").setLevel(logging.ERROR)
    record = model_folder.read_record(folder)
    graph = openvino.Core().read_model(folder / model_folder.ONNX)
    count = min(len(images), RANGE_IMAGES)
    spread = np.linspace(0, len(images) - 1, count).astype(np.int64)  # class folders are read class by class
    parts = np.split(spread, range(RANGE_BATCH, count, RANGE_BATCH))
    batches = [{"images": images[rows]} for rows in parts]
    first = next((node for node in graph.get_ordered_ops() if node.get_type_name() == "Convolution"), None)
    quantized = nncf.quantize(
        graph,
        nncf.Dataset(batches),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(batches),
        ignored_scope=nncf.IgnoredScope(names=[first.get_friendly_name()]) if first else None,
    )
    openvino.save_model(quantized, folder / model_folder.INT8)
    model_folder.write_record(folder, record)

    right = classify(folder, "fp32", validation)
    right_int8 = classify(folder, "int8", validation)
    differ = int((right != right_int8).sum())
    accepted = MAX_LOST * len(validation) + differ**0.5
    kept = right.sum() - right_int8.sum() <= accepted
    logger.log(
        logging.INFO if kept else logging.WARNING,
        "int8 is %s: of %d validation images fp32 gets %d right, int8 %d; it may lose %.1f, which is %g%% of "
        "the images plus, for chance, the square root of the %d that only one of the two gets right",
        "kept" if kept else "not kept", len(validation), right.sum(), right_int8.sum(), accepted,
        100 * MAX_LOST, differ,
    )  # fmt: skip
    if not kept:
        for name in (model_folder.INT8, model_folder.INT8_WEIGHTS):
            (folder / name).unlink()
        model_folder.write_record(folder, record)


def classify(folder: Path, precision: str, data: LabelledImages) -> NDArray[np.bool_]:
    """Return which images the compiled network classifies correctly at a precision: bool (N,)."""
    right: NDArray[np.bool_] = (
        Predictor(folder, precision=precision).predict(data.images).class_ids == data.labels
    )
    return right
