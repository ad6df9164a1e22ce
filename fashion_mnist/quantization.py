"""Quantisation: the exported network in int8, for processors that multiply bytes twice as fast."""

import logging
from pathlib import Path
from typing import Final

import numpy as np
import openvino
from numpy.typing import NDArray

from fashion_mnist import model_folder
from fashion_mnist.data import LabelledImages
from fashion_mnist.predictor import Predictor

logger = logging.getLogger(__name__)

RANGE_IMAGES: Final = 1_500
"""Enough to tell the range of every activation."""
RANGE_BATCH: Final = 50
MOST_LOST: Final = 0.001
"""Of the choosing accuracy. A network that loses more in int8 is served in bf16 or fp32."""


def quantize(folder: Path, images: NDArray[np.uint8], choose: LabelledImages) -> None:
    """Write network.int8.xml and .bin beside network.onnx, unless too much accuracy is lost on `choose`.

    images: training images, from which the ranges of the activations are taken. By NNCF's post-training
    quantisation: symmetric weights, asymmetric activations, corrected biases.
    """
    import nncf

    nncf.set_log_level(logging.ERROR)
    graph = openvino.Core().read_model(folder / model_folder.ONNX)
    count = min(len(images), RANGE_IMAGES)
    spread = np.linspace(0, len(images) - 1, count).astype(np.int64)  # folders come class by class
    parts = np.split(spread, range(RANGE_BATCH, count, RANGE_BATCH))
    batches = [{"images": images[rows]} for rows in parts]
    quantized = nncf.quantize(
        graph, nncf.Dataset(batches), preset=nncf.QuantizationPreset.MIXED, subset_size=len(batches)
    )
    openvino.save_model(quantized, folder / model_folder.INT8)
    model_folder.write_record(folder, model_folder.read_record(folder))

    kept = measure_accuracy(folder, "fp32", choose)
    found = measure_accuracy(folder, "int8", choose)
    logger.info("choosing accuracy in fp32 %.2f%%, in int8 %.2f%%", 100 * kept, 100 * found)
    if found < kept - MOST_LOST:
        logger.warning("int8 loses more than %.1f points; the model goes without", 100 * MOST_LOST)
        for name in (model_folder.INT8, model_folder.INT8_WEIGHTS):
            (folder / name).unlink()
        model_folder.write_record(folder, model_folder.read_record(folder))


def measure_accuracy(folder: Path, precision: str, data: LabelledImages) -> float:
    """Share of images that the compiled network classifies rightly at a precision."""
    predictions = Predictor(folder, precision=precision).predict(data.images)
    return float((predictions.class_ids == data.labels).mean())
