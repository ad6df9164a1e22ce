"""The BentoML model store: save, choose, list."""

import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import bentoml
import yaml

from fashion_mnist.bentoml_internals import BentoMLContainer
from fashion_mnist.errors import ConfigError, ModelError, describe
from fashion_mnist.registry import model_folder
from fashion_mnist.registry.atomic_store import AtomicStore
from fashion_mnist.spec import is_one_line

NAME: Final = "fashion_mnist"
BUNDLED: Final = "bundled"
BUNDLED_FOLDER: Final = Path(__file__).parents[1] / "weights"


@dataclass(frozen=True)
class ChosenModel:
    """The model to serve. name: as in responses, its tag if it has one. why: a clause for the log.

    Raises ModelError when the name fits in no response.
    """

    name: str
    folder: Path
    why: str
    in_store: bool = False

    def __post_init__(self) -> None:
        if not is_one_line(self.name):
            raise ModelError(f"{ascii(str(self.folder))[:300]}: its name is not printable; rename the folder")


@dataclass(frozen=True)
class StoredModel:
    """One model that could be served. accuracy: on its test images; None if not measured."""

    name: str
    network: str
    data: str
    accuracy: float | None
    size_bytes: int
    created: datetime | None


def check_writable() -> None:
    """Check, before a training, that models can be saved. Raises ConfigError."""
    model_folder.check_writable(_home(), "set BENTOML_HOME to one that you can write to")


def save(folder: Path) -> str:
    """Copy a finished model folder into the store, completely or not at all; return its tag.

    Raises ModelError when there is no room for it, or when it is saved, but a damaged model keeps it from
    becoming the latest.
    """
    record = model_folder.read_record(folder)
    metrics = record.metrics or {}
    metadata = {
        "accuracy": metrics.get("accuracy"),
        "test_images": metrics.get("n"),
        "nll": metrics.get("nll"),
        "classes": list(record.classes),
        "input_shape": list(record.spec.shape),
        "epochs": record.config.get("epochs"),
        "seed": record.config.get("seed"),
    }
    labels = {"network": record.network, "dataset": _label(str(record.data.get("name", "unknown")))}
    try:
        atomic: Any = AtomicStore(_home().parent)
        with bentoml.models.create(NAME, labels=labels, metadata=metadata, _model_store=atomic) as model:
            shutil.copytree(folder, model.path, dirs_exist_ok=True)
    except OSError as error:
        reason = describe(error)
        if isinstance(error, shutil.Error):  # a list of files, each with "[Errno 28] No space left …: 'path'"
            _, path, problem = error.args[0][0]
            reason = f"{path}: {problem.partition('] ')[2].partition(': ')[0]}"
        raise ModelError(
            f"{_home()}: the model is not saved ({reason}); make room, or set BENTOML_HOME elsewhere, "
            "then repeat the training with --resume"
        ) from error
    except Exception as error:
        if (damage := _find_damage(NAME)) is None:
            raise
        raise ModelError(f"{damage}. {model.tag} is saved, but not as the latest") from error
    return str(model.tag)


def choose(choice: str | None, built_with: str | None = None) -> ChosenModel:
    """Find the model to serve.

    choice: a tag, a folder or `bundled`. If None: the tag that the Bento was built with, else the latest
    in the store, else the bundled one. Raises ModelError, which lists the tags in the store.
    """
    if choice == BUNDLED:
        return ChosenModel(BUNDLED, BUNDLED_FOLDER, "it was asked for")
    if choice is None and built_with is not None:
        model = _get(built_with)
        return ChosenModel(built_with, Path(model.path), "this Bento was built with it", True)
    if choice is None:
        latest = _latest()
        if latest is None:
            return ChosenModel(BUNDLED, BUNDLED_FOLDER, f"the store has no {NAME} model")
        return ChosenModel(str(latest.tag), Path(latest.path), "it is the latest in the store", True)
    if _exists(choice, model_folder.RECORD):
        folder = Path(choice).expanduser()
        return ChosenModel(folder.resolve().name, folder, "its folder was asked for")
    model = _get(choice)
    return ChosenModel(str(model.tag), Path(model.path), "its tag was asked for", True)


def built_with(sources: Path) -> str | None:
    """Return the tag of the model that the Bento was built with; None outside a Bento or without a tag.

    sources: the folder of service.py; bento.yaml is in its parent.
    """
    try:
        bento = yaml.safe_load((sources.parent / "bento.yaml").read_text(encoding="utf-8"))
        models = [m["tag"] for service in bento["services"] for m in service["models"]]
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return None
    return next((tag for tag in models if tag.startswith(f"{NAME}:")), None)


def list_models() -> list[StoredModel]:
    """Return all models that can be served: the store's, newest first, then the bundled one.

    Damaged models are listed too, so that their owner can delete them; those without a date come first.
    """
    rows = []
    for tag, folder in _folders().items():
        damaged = StoredModel(tag, "damaged", "unknown", None, 0, None)
        rows.append(damaged if _problem(tag) else _stored_model(tag, folder, _get(tag).creation_time))
    rows.sort(key=lambda model: model.created or datetime.max.replace(tzinfo=UTC), reverse=True)
    return [*rows, _stored_model(BUNDLED, BUNDLED_FOLDER, None)]


def _stored_model(name: str, folder: Path, created: datetime | None) -> StoredModel:
    try:
        record = model_folder.read_record(folder)
    except ModelError:
        return StoredModel(name, "damaged", "unknown", None, 0, created)
    data = str(record.data.get("name", "unknown"))[:200]
    if created is None and record.created:
        created = datetime.fromisoformat(record.created)
    return StoredModel(
        name=name,
        network=record.network,
        data=data if is_one_line(data) else ascii(data),
        accuracy=(record.metrics or {}).get("accuracy"),
        size_bytes=sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()),
        created=created,
    )


def _home() -> Path:
    """Return the folder of our models in BentoML's store; it may not exist.

    Raises ConfigError when BENTOML_HOME cannot be used. If the default home cannot, the store is empty.
    """
    try:
        return Path(BentoMLContainer.model_store_dir.get()) / NAME
    except OSError as error:  # reading the setting makes BentoML create its folders
        if home := os.environ.get("BENTOML_HOME"):
            raise ConfigError(
                f"BENTOML_HOME={home[:200]}: {error.strerror}; choose a folder that you can write to"
            ) from error
        return Path.home() / "bentoml" / "models" / NAME


def _folders() -> dict[str, Path]:
    """Return tag and folder of each of our models in the store, readable or not."""
    home = _home()
    return {f"{NAME}:{p.name}": p for p in home.iterdir() if p.is_dir()} if home.is_dir() else {}


def _exists(folder: str, name: str = "") -> bool:
    try:
        return (Path(folder).expanduser() / name).exists()
    except (OSError, RuntimeError):  # far too long; the home of an unknown user
        return False


def _get(tag: str) -> bentoml.Model:
    try:
        return bentoml.models.get(tag)
    except Exception as error:
        if damage := _find_damage(tag):
            raise ModelError(damage) from error
        known = ", ".join(_folders()) or "none"
        if isinstance(error, OSError):  # BentoML writes a missing file `latest` anew
            raise ModelError(
                f"{tag}: BentoML cannot write down which model is the latest ({describe(error)}); "
                f"choose one with FASHION_MNIST_MODEL: {known}"
            ) from error
        hint = "; a network from elsewhere cannot be loaded, see docs/training-guide.md"
        raise ModelError(
            f"{tag[:100]}: neither a model folder nor a tag in the store (it has {known}) nor "
            f"`{BUNDLED}`{hint if _exists(tag) else ''}"
        ) from error


def _latest() -> bentoml.Model | None:
    return _get(f"{NAME}:latest") if _folders() else None


def _find_damage(tag: str) -> str | None:
    """Return what is wrong with one of our models whose tag starts with this one; None if nothing is."""
    start = tag.removesuffix(":latest")
    for name, folder in _folders().items():
        if name.startswith(start) and (problem := _problem(name)):
            return (
                f"{name}: its model.yaml is damaged ({problem}); delete the folder {folder}, "
                "or choose another model with FASHION_MNIST_MODEL"
            )
    return None


def _problem(tag: str) -> str | None:
    """Return why BentoML cannot read a model in the store; None if it can."""
    try:
        bentoml.models.get(tag)
    except Exception as error:  # noqa: BLE001 - a damaged model.yaml can raise anything
        return " ".join(str(error).split())
    return None


def _label(text: str) -> str:
    """Turn text into a label that BentoML accepts: at most 63 letters, digits, `-`, `_` and `.`."""
    kept = "".join(c if c.isalnum() or c in "-_." else "_" for c in text)
    return kept[-63:].strip("-_.") or "unknown"
