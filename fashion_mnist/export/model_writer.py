"""Turn a trained network into a model folder ready to serve: export, quantize, calibrate."""

import logging
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from fashion_mnist.data.splits import Splits
from fashion_mnist.export import onnx_export, quantization
from fashion_mnist.export.ood_head import fit_head
from fashion_mnist.export.torch_predictor import torch_predictor
from fashion_mnist.inference import calibration, conformal, ood
from fashion_mnist.inference.predictor import Predictor
from fashion_mnist.networks.classifiers import Classifier
from fashion_mnist.registry import model_folder
from fashion_mnist.registry.model_folder import FORMAT, OOD_HEAD, ModelRecord

logger = logging.getLogger(__name__)

AGREEMENT_IMAGES: Final = 1_000


def write_model(network: Classifier, record: ModelRecord, splits: Splits, folder: Path) -> ModelRecord:
    """Write everything that a prediction needs; return the record as written.

    record: without calibration. Raises FashionMnistError when the exported network differs from the trained
    one.
    """
    folder.mkdir()
    onnx_export.export_network(network, record.spec, folder)
    Image.fromarray(splits.calibration.images[0]).save(folder / model_folder.EXAMPLE)
    record = model_folder.write_record(folder, record)
    difference = onnx_export.check_parity(network, folder, splits.validation.images)
    logger.info("exported; logits differ from torch by at most %.4f", difference)
    quantization.quantize(folder, splits.train.images, splits.validation)
    training = record.training | {"export_difference": difference}
    return calibrate(folder, record.model_copy(update={"training": training}), splits)


def calibrate(folder: Path, record: ModelRecord, splits: Splits) -> ModelRecord:
    """Fit temperature, prediction sets, OOD head and its thresholds, and write them into a model folder.

    All are fitted to the answers of the compiled network that will be served, int8 or not: the head to
    training images, the others to calibration images, which decide nothing else. Return the record written.
    """
    bare = {"temperature": None, "prediction_sets": None, "ood_threshold": None, "ood_thresholds": None}
    (folder / OOD_HEAD).unlink(missing_ok=True)
    model_folder.write_record(folder, record.model_copy(update=bare))
    predictor = Predictor(folder)
    head = fit_head(predictor, splits.train.images)
    logits, features = predictor.outputs(splits.calibration.images)
    temperature = calibration.fit_temperature(logits, splits.calibration.labels)
    probabilities = calibration.softmax(logits, temperature)
    thresholds = ood.fit_thresholds(head.score(logits, features))
    (folder / OOD_HEAD).write_bytes(head.to_bytes())
    fitted = {
        "format": FORMAT,
        "training": record.training | {"served_precision": predictor.precision},
        "temperature": temperature,
        "prediction_sets": conformal.fit_sets(probabilities, splits.calibration.labels),
        "ood_threshold": ood.threshold_at(ood.DEFAULT_SHARE, thresholds),
        "ood_thresholds": thresholds,
    }
    record = model_folder.write_record(folder, record.model_copy(update=fitted))
    found = {"agreement": measure_agreement(folder, splits)}
    return model_folder.write_record(folder, record.model_copy(update=found))


def measure_agreement(folder: Path, splits: Splits) -> dict[str, Any]:
    """Compare the network in torch, compiled in fp32 and as served on validation images.

    Return n, and for fp32 and the served precision: the share of images with torch's class, and the largest
    difference of a probability.
    """
    images = splits.validation.images[:AGREEMENT_IMAGES]
    expected = torch_predictor(folder).predict(images)
    found: dict[str, Any] = {"n": len(images)}
    for name, precision in (("fp32", "fp32"), ("served", "auto")):
        answers = Predictor(folder, precision=precision).predict(images)
        found[name] = {
            "same_class": float((answers.class_ids == expected.class_ids).mean()),
            "largest_difference": float(np.abs(answers.probabilities - expected.probabilities).max()),
        }
    return found
