"""The BentoML model store: save, choose, list."""

import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import bentoml
import yaml
from bentoml.exceptions import BentoMLException, NotFound

from fashion_mnist import model_folder
from fashion_mnist.errors import ModelError

NAME: Final = "fashion_mnist"
BUNDLED: Final = "bundled"
BUNDLED_FOLDER: Final = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class ChosenModel:
    """name: as answers give it, a tag where there is one. why: for the log, a clause."""

    name: str
    folder: Path
    why: str
    in_store: bool = False


@dataclass(frozen=True)
class StoredModel:
    """One model that could be served. accuracy: on its test images, None if it was not measured."""

    name: str
    network: str
    data: str
    accuracy: float | None
    size_bytes: int
    created: datetime | None


def save(folder: Path) -> str:
    """Copy a finished model folder into the store; returns its tag."""
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
    with bentoml.models.create(NAME, labels=labels, metadata=metadata) as model:
        shutil.copytree(folder, model.path, dirs_exist_ok=True)
    return str(model.tag)


def choose(choice: str | None, built_with: str | None = None) -> ChosenModel:
    """Find the model to serve.

    choice: a tag, a folder or `bundled`. Where it is None: the tag that the Bento was built with, the
    latest in the store, or the bundled one, whichever there is. Raises ModelError, naming what there is.
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
    folder = Path(choice).expanduser()
    if (folder / model_folder.RECORD).is_file():
        return ChosenModel(folder.resolve().name, folder, "its folder was asked for")
    model = _get(choice)
    return ChosenModel(str(model.tag), Path(model.path), "its tag was asked for", True)


def built_with(sources: Path) -> str | None:
    """The tag of the model that a Bento was built with, or None outside a Bento, or if it has none.

    sources: the folder of service.py; bento.yaml lies above it.
    """
    try:
        bento = yaml.safe_load((sources.parent / "bento.yaml").read_text(encoding="utf-8"))
        models = [m["tag"] for service in bento["services"] for m in service["models"]]
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return None
    return next((tag for tag in models if tag.startswith(f"{NAME}:")), None)


def list_models() -> list[StoredModel]:
    """All that can be served: the store's, newest first, and the bundled one."""
    rows = [_stored_model(str(m.tag), Path(m.path), m.creation_time) for m in _stored()]
    return [*rows, _stored_model(BUNDLED, BUNDLED_FOLDER, None)]


def _stored_model(name: str, folder: Path, created: datetime | None) -> StoredModel:
    try:
        record = model_folder.read_record(folder)
    except ModelError:  # listed all the same, so that its owner sees and can delete it
        return StoredModel(name, "damaged", "unknown", None, 0, created)
    if created is None and record.created:
        created = datetime.fromisoformat(record.created)
    return StoredModel(
        name=name,
        network=record.network,
        data=str(record.data.get("name", "unknown")),
        accuracy=(record.metrics or {}).get("accuracy"),
        size_bytes=sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()),
        created=created,
    )


def _stored() -> list[bentoml.Model]:
    """The store's models of ours, newest first."""
    try:
        found = bentoml.models.list(NAME)
    except NotFound:  # what BentoML raises for a name that it has no model of
        return []
    return sorted(found, key=lambda m: m.creation_time, reverse=True)


def _get(tag: str) -> bentoml.Model:
    try:
        return bentoml.models.get(tag)
    except (BentoMLException, ValueError) as error:
        known = ", ".join(str(m.tag) for m in _stored()) or "none"
        raise ModelError(
            f"{tag}: neither a model folder nor a tag in the store (it has {known}) nor `{BUNDLED}`"
        ) from error


def _latest() -> bentoml.Model | None:
    try:
        return bentoml.models.get(f"{NAME}:latest")
    except BentoMLException:
        return None


def _label(text: str) -> str:
    """A label value as BentoML takes it: 63 characters of letters, digits, `-`, `_` and `.`."""
    kept = "".join(c if c.isalnum() or c in "-_." else "_" for c in text)
    return kept[-63:].strip("-_.") or "unknown"
