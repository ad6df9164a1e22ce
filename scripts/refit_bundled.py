"""Refit everything about the bundled model but its network, as the training pipeline does, and measure it.

    python scripts/refit_bundled.py

Temperature, prediction sets and OOD head are fitted to the splits that the model was trained with (seed 0),
then the 10,000 test images are evaluated. Takes about a minute, with the data of Fashion-MNIST.
"""

import shutil
import sys
import tempfile
from pathlib import Path

from fashion_mnist.data import sources
from fashion_mnist.data.splits import split_dataset
from fashion_mnist.evaluation.metrics import evaluate, predict_all
from fashion_mnist.evaluation.model_card import TRUST, describe_trust
from fashion_mnist.export.model_writer import calibrate
from fashion_mnist.inference.predictor import Predictor
from fashion_mnist.registry import model_folder
from fashion_mnist.registry.store import BUNDLED_FOLDER

FOLDER = BUNDLED_FOLDER


def main() -> None:
    """Rewrite model.json, the OOD head and the model card's section on calibration."""
    record = model_folder.read_record(FOLDER)
    splits = split_dataset(sources.load(record.data["name"]), record.config["seed"])
    if splits.summary()["fingerprints"] != record.data["fingerprints"]:
        sys.exit("the data are not those that the model was trained with; their fingerprints differ")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(shutil.copytree(FOLDER, Path(temporary) / "model"))
        fitted = calibrate(folder, record, splits)
        probabilities = predict_all(Predictor(folder), splits.test)
        metrics = evaluate(probabilities, splits.test.labels, fitted.classes, fitted.prediction_sets)
        shutil.copy(folder / model_folder.OOD_HEAD, FOLDER)
    record = model_folder.write_record(FOLDER, fitted.model_copy(update={"metrics": metrics.asdict()}))
    section = describe_trust(record, metrics)
    path = FOLDER / model_folder.CARD
    before, _, rest = path.read_text(encoding="utf-8").partition(TRUST)
    path.write_text(f"{before}{TRUST}{section}\n\n## {rest.partition('## ')[2]}", encoding="utf-8")
    print(section)


if __name__ == "__main__":
    main()
