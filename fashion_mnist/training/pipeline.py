"""One training from start to finish: read the data, train, export, evaluate, save."""

import dataclasses
import hashlib
import json
import logging
import shutil
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fashion_mnist.data import sources
from fashion_mnist.data.dataset import Dataset, LabelledImages
from fashion_mnist.data.readers.picture_files import merge_skipped
from fashion_mnist.data.splits import Splits, split_dataset
from fashion_mnist.evaluation.metrics import Metrics, evaluate, predict_all
from fashion_mnist.evaluation.model_card import write_card
from fashion_mnist.evaluation.report import write_report
from fashion_mnist.export.model_writer import write_model
from fashion_mnist.inference.predictor import Predictor
from fashion_mnist.networks import classifiers
from fashion_mnist.networks.classifiers import Classifier
from fashion_mnist.registry import model_folder, provenance, store
from fashion_mnist.registry.model_folder import ModelRecord
from fashion_mnist.training import warm_start
from fashion_mnist.training.config import TrainConfig
from fashion_mnist.training.engine import frozen_features
from fashion_mnist.training.engine.devices import Devices
from fashion_mnist.training.engine.distillation import Teachers
from fashion_mnist.training.engine.history import History, OnProgress
from fashion_mnist.training.engine.loop import fit

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """The result of a training. tag: in the model store. metrics: on the test images."""

    tag: str
    record: ModelRecord
    metrics: Metrics


def train(
    config: TrainConfig, on_progress: OnProgress = lambda _: None, command: str | None = None
) -> Trained:
    """Load, split, build, fit, export, calibrate, evaluate, save. Raises FashionMnistError.

    command: the command line that started this training, for the model card.
    """
    store.check_writable()
    if config.output is not None:
        model_folder.check_writable(config.output)
    config = warm_start.resolve(config)
    pretrained = warm_start.find_pretrained(config)
    dataset = load_dataset(config)
    splits = split_dataset(dataset, config.seed, config.limit)
    network = build_network(config, splits.train)
    warm_start.load_start(network, config, splits.train.spec, pretrained)
    teachers = load_teachers(config, splits)
    logger.info("training on %s images, %s classes", f"{len(splits.train):,}", len(splits.train.classes))

    checkpoint = config.checkpoint or default_checkpoint(config, splits)
    devices = Devices(config.precision)
    history = fit(network, splits, config, on_progress, checkpoint, teachers, devices)
    devices.dismiss_helpers()

    with tempfile.TemporaryDirectory(prefix="fashion-mnist-") as temporary:
        folder = Path(temporary) / config.network  # not temporary itself: copytree would copy its mode, 0700
        facts = describe_training(network, history, devices, teachers)
        record = new_record(config, dataset, splits, facts, command)
        record = write_model(network, record, splits, folder)
        probabilities = predict_all(Predictor(folder), splits.test)
        metrics = evaluate(probabilities, splits.test.labels, record.classes, record.prediction_sets)
        record = model_folder.write_record(folder, record.model_copy(update={"metrics": metrics.asdict()}))
        card = write_card(record, metrics, history.asdict())
        (folder / model_folder.CARD).write_text(card, encoding="utf-8")
        if config.output is not None:
            shutil.copytree(folder, config.output, dirs_exist_ok=True)
        try_report(folder, metrics, record, splits.test, probabilities, history)
        tag = store.save(folder)
    checkpoint.unlink(missing_ok=True)
    frozen_features.remove(checkpoint)
    return Trained(tag, record, metrics)


def load_dataset(config: TrainConfig) -> Dataset:
    """Read the training images of `config.data` and the test images of `config.test_data`."""
    dataset = _load(config, config.data, config.classes)
    if config.test_data is None:
        return dataset
    # numeric labels mean what they mean in the training images
    classes = config.classes if dataset.numbers is None else dataset.train.classes
    test = _load(config, config.test_data, classes, dataset.numbers)
    return dataclasses.replace(
        dataset, test=test.train, test_path=test.path, skipped=merge_skipped(dataset.skipped, test.skipped)
    )


def _load(
    config: TrainConfig,
    source: str,
    classes: tuple[str, ...] | None,
    numbers: tuple[int, ...] | None = None,
) -> Dataset:
    """Read a source, and log what was read and what was passed over."""
    dataset = sources.load(
        source,
        shape=config.shape,
        classes=classes,
        numbers=numbers,
        strict=config.strict,
        # `auto` concerns IDX and CSV files, which hold no pictures to prepare
        preparation="none" if config.preparation == "auto" else config.preparation,
    )
    for line in dataset.describe():
        logger.info("%s", line)
    return dataset


def build_network(config: TrainConfig, images: LabelledImages) -> Classifier:
    """Build the network for these images with random weights, seeded."""
    torch.manual_seed(config.seed)
    statistics = classifiers.pixel_statistics(torch.from_numpy(images.images))
    return classifiers.build(config.network, images.spec, *statistics, config.input_size)


def load_teachers(config: TrainConfig, splits: Splits) -> Teachers | None:
    """Load the models to distil, or return None. Raises ModelError and ConfigError."""
    if not config.teacher:
        return None
    folders = [store.choose(choice).folder for choice in config.teacher]
    return Teachers(folders, splits.train.spec, config.threads)


def default_checkpoint(config: TrainConfig, splits: Splits) -> Path:
    """Return a path in runs/, derived from settings and data so that no two trainings share it."""
    recipe = json.dumps([config.recipe(), splits.train.fingerprint()], sort_keys=True)
    return Path("runs") / f"{config.network}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}.pt"


def describe_training(
    network: Classifier, history: History, devices: Devices, teachers: Teachers | None
) -> dict[str, Any]:
    """Return the facts about the training itself for the model's record."""
    return {
        "seconds": round(history.seconds, 1),
        "precision": history.precision,
        "device": devices.device.type,
        "processes": devices.count,
        "parameters": sum(p.numel() for p in network.parameters()),
        "ended": history.ended,
        "best_epoch": history.best,
        "validation_accuracy": history.epochs[history.best - 1].validation_accuracy,
        "teachers": teachers.describe() if teachers else [],
    }


def new_record(
    config: TrainConfig, dataset: Dataset, splits: Splits, training: dict[str, Any], command: str | None
) -> ModelRecord:
    """Build the record of a trained model, without calibration and metrics."""
    spec = splits.train.spec
    return ModelRecord(
        network=config.network,
        classes=spec.classes,
        height=spec.height,
        width=spec.width,
        channels=spec.channels,
        preparation=config.settle_preparation(spec),
        input_size=config.input_size,
        config=config.recipe(),
        data={**dataset.origin(), **splits.summary()},
        training=training,
        versions=provenance.versions(),
        machine=provenance.machine(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command,
    )


def try_report(
    folder: Path,
    metrics: Metrics,
    record: ModelRecord,
    test: LabelledImages,
    probabilities: NDArray[np.floating],
    history: History,
) -> None:
    """Write the report into the model folder; a failed plot must not lose the trained model."""
    try:
        source = record.data["test_source"] or record.data["name"]
        write_report(
            folder / model_folder.REPORT, metrics, record, test, probabilities, history.asdict(), source
        )
    except Exception:
        logger.exception("the report could not be written; the model is saved without it")
