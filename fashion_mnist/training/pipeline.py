"""One training from data to stored model, on one screen."""

import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
from PIL import Image

from fashion_mnist.data import sources
from fashion_mnist.errors import ConfigError
from fashion_mnist.evaluation import metrics
from fashion_mnist.evaluation.metrics import Report
from fashion_mnist.evaluation.model_card import write_card
from fashion_mnist.evaluation.report import write_report
from fashion_mnist.export import onnx_export, quantization
from fashion_mnist.export.torch_predictor import load_network
from fashion_mnist.inference import calibration, ood
from fashion_mnist.inference.predictor import Predictor
from fashion_mnist.networks import backbones, classifiers
from fashion_mnist.networks.classifiers import Classifier
from fashion_mnist.registry import model_folder, provenance, store
from fashion_mnist.registry.model_folder import ModelRecord
from fashion_mnist.spec import ModelSpec
from fashion_mnist.training.config import BACKBONES, COMPACT, TrainConfig
from fashion_mnist.training.engine import frozen_features, loop
from fashion_mnist.training.engine.devices import Devices
from fashion_mnist.training.engine.distillation import Teachers

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """What a training leaves: the tag in the store, the record, and the report on the test images."""

    tag: str
    record: ModelRecord
    report: Report


def train(
    config: TrainConfig,
    on_progress: Callable[[loop.Progress], None] = lambda _: None,
    command: str | None = None,
) -> Trained:
    """Load, split, build, fit, export, calibrate, evaluate, save. Raises FashionMnistError.

    command: how this training was started, for the card.
    """
    store.check_writable()
    if config.output is not None:
        model_folder.check_writable(config.output)
    config = resolve(config)
    weights = backbones.find_weights(config.network) if config.pretrained else None
    dataset = load_dataset(config)
    splits = sources.split(dataset, config.seed, config.limit)
    spec = splits.train.spec
    torch.manual_seed(config.seed)
    statistics = classifiers.pixel_statistics(torch.from_numpy(splits.train.images))
    network = classifiers.build(config.network, spec, *statistics, config.input_size)
    if config.from_ is not None:
        start_from(network, config.from_, spec)
    if weights is not None:
        backbones.load_weights(network.body, config.network, weights)
    teachers = None
    if config.teacher:
        folders = [store.choose(choice).folder for choice in config.teacher]
        teachers = Teachers(folders, spec, config.threads)
    logger.info("training on %s images, %s classes", f"{len(splits.train):,}", len(spec.classes))

    checkpoint = config.checkpoint or default_checkpoint(config, splits)
    devices = Devices(config.precision)
    history = loop.fit(network, splits, config, on_progress, checkpoint, teachers, devices)
    devices.dismiss_helpers()

    with tempfile.TemporaryDirectory(prefix="fashion-mnist-") as temporary:
        folder = Path(temporary) / config.network  # not the temporary folder itself: its mode is 0700
        folder.mkdir()
        onnx_export.export_network(network, spec, folder)
        Image.fromarray(splits.calibrate.images[0]).save(folder / model_folder.EXAMPLE)
        record = model_folder.write_record(
            folder,
            ModelRecord(
                network=config.network,
                classes=spec.classes,
                height=spec.height,
                width=spec.width,
                channels=spec.channels,
                input_size=config.input_size,
                config=config.recipe(),
                data={"name": dataset.name, **splits.summary()},
                versions=provenance.versions(),
                machine=provenance.machine(),
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                command=command,
            ),
        )
        difference = onnx_export.check_parity(network, folder, splits.choose.images)
        logger.info("exported; largest difference of a logit to torch: %.4f", difference)
        quantization.quantize(folder, splits.train.images, splits.choose)

        predictor = Predictor(folder)
        logits, _ = predictor.outputs(splits.calibrate.images)
        record = record.model_copy(
            update={
                "temperature": calibration.fit_temperature(logits, splits.calibrate.labels),
                "ood_threshold": ood.fit_threshold(ood.energy_score(logits)),
            }
        )
        model_folder.write_record(folder, record)

        probabilities = metrics.predict_all(Predictor(folder), splits.test)
        report = metrics.evaluate(probabilities, splits.test.labels, spec.classes)
        record = record.model_copy(
            update={
                "metrics": report.asdict(),
                "training": {
                    "seconds": round(history.seconds, 1),
                    "precision": history.precision,
                    "device": devices.device.type,
                    "processes": devices.count,
                    "served_precision": predictor.precision,
                    "parameters": sum(p.numel() for p in network.parameters()),
                    "ended": history.ended,
                    "best_epoch": history.best,
                    "choose_accuracy": history.epochs[history.best - 1].choose_accuracy,
                    "export_difference": difference,
                    "teachers": teachers.describe() if teachers else [],
                },
            }
        )
        record = model_folder.write_record(folder, record)
        card = write_card(record, report, history.asdict())
        (folder / model_folder.CARD).write_text(card, encoding="utf-8")
        if config.output is not None:
            shutil.copytree(folder, config.output, dirs_exist_ok=True)
        try:
            report_folder = folder / model_folder.REPORT
            write_report(report_folder, report, record, splits.test, probabilities, history.asdict())
        except Exception:  # drawing must not cost a training
            logger.exception("the report could not be written; the model is saved without it")
        tag = store.save(folder)
    checkpoint.unlink(missing_ok=True)
    frozen_features.remove(checkpoint)
    return Trained(tag, record, report)


def default_checkpoint(config: TrainConfig, splits: sources.Splits) -> Path:
    """A file of this training's own: others in the same folder have other names."""
    recipe = json.dumps([config.recipe(), splits.train.fingerprint()], sort_keys=True)
    return Path("runs") / f"{config.network}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}.pt"


def resolve(config: TrainConfig) -> TrainConfig:
    """Decide what the settings leave open; network and input size follow the model to start from.

    Raises ModelError, and ConfigError where Muon meets another network than the compact one, or where only
    the last layer of a network would learn that has learnt nothing before.
    """
    if config.from_ is not None:
        record = model_folder.read_record(store.choose(config.from_).folder)
        config = config.resolve(record.network, record.input_size)
    else:
        config = config.resolve()
    if config.optimizer == "muon" and config.network != COMPACT:
        raise ConfigError(
            f"--optimizer muon: gives each kernel a fixed norm, for which {config.network} is not made; "
            "take sgd"
        )
    if config.from_ is not None:
        return config
    if config.train == "head" and not config.pretrained:
        if config.network not in BACKBONES:
            raise ConfigError(
                f"--train head: {config.network} has no pretrained weights to put a new last layer on; "
                "give --from, or one of the networks " + ", ".join(BACKBONES)
            )
        logger.warning("--train head --no-pretrained: on random features; good for timing, not for answers")
    return config


def start_from(network: Classifier, choice: str, spec: ModelSpec) -> None:
    """Give the network the weights of a stored model; for other classes, its last layer stays new.

    The pixels go on to be normalised by the stored network's statistics, not by those of the new images:
    its weights were learnt with them, and its norms adapt to the rest. A network for gray images becomes
    one for colour that answers gray pictures as before.
    Raises ModelError, and ConfigError if it is another network, or one for colour and the images are gray.
    """
    folder = store.choose(choice).folder
    record = model_folder.read_record(folder)
    stored = load_network(record, folder).state_dict()
    if record.classes != spec.classes:
        logger.info("%s knows other classes: the last layer is new", choice)
        stored |= {name: weight for name, weight in network.state_dict().items() if name.startswith("head.")}
    if record.channels != spec.channels and record.network not in BACKBONES:
        if record.channels > spec.channels:
            raise ConfigError(
                f"--from {choice}: takes colour, these images are gray; give --color for a folder of pictures"
            )
        stored = classifiers.widen_to_color(stored)
    try:
        network.load_state_dict(stored)
    except RuntimeError as error:
        raise ConfigError(
            f"--from {choice}: is a {record.network!r} network, this training is of another; "
            f"give --network {record.network}"
        ) from error


def load_dataset(config: TrainConfig) -> sources.Dataset:
    """The training images of `config.data` and the test images of `config.test_data`."""

    def load(source: str) -> sources.Dataset:
        return sources.load(source, shape=config.shape, classes=config.classes)

    dataset = load(config.data)
    if config.test_data is None:
        return dataset
    return sources.Dataset(dataset.name, dataset.train, load(config.test_data).train)
