"""Turn a trained network into a model folder ready to serve: export, quantize, calibrate."""

import logging
from pathlib import Path

from PIL import Image

from fashion_mnist.data.splits import Splits
from fashion_mnist.export import onnx_export, quantization
from fashion_mnist.inference import calibration, ood
from fashion_mnist.inference.predictor import Predictor
from fashion_mnist.networks.classifiers import Classifier
from fashion_mnist.registry import model_folder
from fashion_mnist.registry.model_folder import ModelRecord

logger = logging.getLogger(__name__)


def write_model(network: Classifier, record: ModelRecord, splits: Splits, folder: Path) -> ModelRecord:
    """Write everything that a prediction needs; return the record as written.

    record: without calibration. Temperature and threshold are fitted to the calibration images, with the
    logits of the compiled network that will be served, int8 or not.
    Raises FashionMnistError when the exported network differs from the trained one.
    """
    folder.mkdir()
    onnx_export.export_network(network, record.spec, folder)
    Image.fromarray(splits.calibration.images[0]).save(folder / model_folder.EXAMPLE)
    record = model_folder.write_record(folder, record)
    difference = onnx_export.check_parity(network, folder, splits.validation.images)
    logger.info("exported; logits differ from torch by at most %.4f", difference)
    quantization.quantize(folder, splits.train.images, splits.validation)

    predictor = Predictor(folder)
    logits, _ = predictor.outputs(splits.calibration.images)
    facts = {"served_precision": predictor.precision, "export_difference": difference}
    calibrated = {
        "temperature": calibration.fit_temperature(logits, splits.calibration.labels),
        "ood_threshold": ood.fit_threshold(ood.energy_score(logits)),
        "training": record.training | facts,
    }
    return model_folder.write_record(folder, record.model_copy(update=calibrated))
