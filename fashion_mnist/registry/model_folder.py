"""A model's folder: its files, and model.json, which records everything a prediction depends on."""

import os
import re
import tempfile
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from fashion_mnist.checksums import file_sha256
from fashion_mnist.errors import ConfigError, ModelError
from fashion_mnist.registry import untrusted_files
from fashion_mnist.spec import (
    MAX_SIDE_PX,
    ModelSpec,
    Preparation,
    find_name_problem,
    is_one_line,
    normal_names,
)

FORMAT: Final = 2
"""1: without prediction sets and OOD head, so `ood_threshold` is one of energies."""
ONNX: Final = "network.onnx"
INT8: Final = "network.int8.xml"
INT8_WEIGHTS: Final = "network.int8.bin"
SAFETENSORS: Final = "network.safetensors"
OOD_HEAD: Final = "ood_head.bin"
EXAMPLE: Final = "example.png"
RECORD: Final = "model.json"
CARD: Final = "README.md"
REPORT: Final = "report"
READ: Final = (ONNX, INT8, INT8_WEIGHTS, SAFETENSORS, OOD_HEAD, EXAMPLE)
"""Files with a checksum; not every model has the int8 ones and the OOD head."""

MAX_RECORD_BYTES: Final = 4_000_000
MAX_CLASSES: Final = 10_000
SHA256: Final = re.compile("[0-9a-f]{64}")
OLD_KEYS: Final = {
    "choose": "validation",
    "calibrate": "calibration",
    "choose_accuracy": "validation_accuracy",
    "choose_loss": "validation_loss",
}
"""Old key -> new key, for records, histories and checkpoints written by release 0.1.0."""


Finite = Annotated[float, Field(allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, le=1)]


class ModelRecord(BaseModel):
    """Content of model.json. temperature, thresholds, prediction_sets, metrics: None if the model has none.

    ood_threshold: for a share of 0.01. ood_thresholds: for each of ood.SHARES. prediction_sets: coverage, as
    in a query -> the least probability of each class, see inference/conformal.py. agreement: of the network
    in torch, in fp32 and as served, on validation images.

    input_size: side in pixels to which the network itself resizes; None if it takes images as they are.
    checksums: SHA-256 of the other files. Unknown keys are ignored, so that a later release may add
    some without a new format; a change that old code would misread increments `format`.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: int = Field(FORMAT, ge=1)
    network: str = Field(max_length=200)
    classes: tuple[str, ...] = Field(max_length=MAX_CLASSES)
    height: int = Field(ge=1, le=MAX_SIDE_PX)
    width: int = Field(ge=1, le=MAX_SIDE_PX)
    channels: Literal[1, 3]
    preparation: Preparation = "none"
    input_size: int | None = Field(None, ge=1, le=MAX_SIDE_PX)
    temperature: float | None = Field(None, ge=1e-6, le=1e6, allow_inf_nan=False)
    ood_threshold: float | None = Field(None, allow_inf_nan=False)
    ood_thresholds: tuple[Finite, ...] | None = Field(None, min_length=50, max_length=50)
    prediction_sets: dict[str, tuple[Probability, ...]] | None = None
    agreement: dict[str, Any] | None = None
    metrics: dict[str, Any] | None = None
    config: dict[str, Any] = {}
    data: dict[str, Any] = {}
    training: dict[str, Any] = {}
    versions: dict[str, str] = {}
    machine: dict[str, Any] = {}
    created: str | None = None
    command: str | None = None
    checksums: dict[str, str] = {}

    @field_validator("data", "training", mode="before")
    @classmethod
    def _rename_old_keys(cls, content: Any) -> Any:
        return rename_old_keys(content)

    @field_validator("network")
    @classmethod
    def _check_network(cls, network: str) -> str:
        if not is_one_line(network):
            raise ValueError("the name is empty or not printable")
        return network

    @field_validator("classes")
    @classmethod
    def _check_classes(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        if problem := find_name_problem(classes):
            raise ValueError(problem)
        return normal_names(classes)

    @field_validator("metrics")
    @classmethod
    def _check_accuracy(cls, metrics: dict[str, Any] | None) -> dict[str, Any] | None:
        if metrics is not None and not isinstance(metrics.get("accuracy", 0.0), float | int):
            raise ValueError("the accuracy is not a number")
        return metrics

    @field_validator("checksums")
    @classmethod
    def _check_files(cls, checksums: dict[str, str]) -> dict[str, str]:
        for name, digest in checksums.items():
            if name not in READ or not SHA256.fullmatch(digest):
                raise ValueError(f"{name[:80]!r} is not a file of a model, or its SHA-256 is none")
        return checksums

    @model_validator(mode="after")
    def _check_sets(self) -> Self:
        for coverage, least in (self.prediction_sets or {}).items():
            if len(least) != len(self.classes):
                raise ValueError(
                    f"prediction_sets.{coverage}: {len(least)} numbers for {len(self.classes)} classes"
                )
        if self.preparation == "garment" and self.channels != 1:
            raise ValueError("preparation: garment is for gray models only")
        if self.has_head and self.ood_threshold is not None and self.ood_thresholds is None:
            raise ValueError(f"{OOD_HEAD} has no thresholds")
        return self

    @property
    def has_head(self) -> bool:
        """True if the model has an OOD head; else its energy is the score."""
        return OOD_HEAD in self.checksums

    @property
    def has_int8(self) -> bool:
        """True if the model also has an int8 network."""
        return INT8 in self.checksums

    @property
    def spec(self) -> ModelSpec:
        """Classes and image shape."""
        return ModelSpec(self.classes, self.height, self.width, self.channels, self.preparation)


def rename_old_keys(content: Any) -> Any:
    """Return JSON-like content with the keys that release 0.1.0 wrote renamed to the current ones."""
    if isinstance(content, dict):
        return {OLD_KEYS.get(key, key): rename_old_keys(value) for key, value in content.items()}
    return [rename_old_keys(value) for value in content] if isinstance(content, list) else content


def check_writable(folder: Path, remedy: str = "choose another") -> None:
    """Check, before long work, that a folder can be created and written to; leave nothing behind.

    Raises ConfigError, whose sentence ends with the remedy.
    """
    existing = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise ConfigError(f"{folder}: cannot write to this folder ({error.strerror}); {remedy}") from error


def read_record(folder: Path) -> ModelRecord:
    """Read model.json and check the files beside it.

    Raises ModelError when the folder holds no model, a damaged one, or one in a later format.
    """
    path = folder / RECORD
    try:
        # refuses what no answer can hold: NaN, infinities, lone surrogates; huge integers become floats
        content = orjson.loads(untrusted_files.read_bounded(path, MAX_RECORD_BYTES))
    except FileNotFoundError:
        raise ModelError(f"{folder}: no model here, {RECORD} is missing") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: damaged or not readable ({error})") from error
    found = content.get("format") if isinstance(content, dict) else None
    if not isinstance(found, int) or found > FORMAT:
        raise ModelError(
            f"{path}: format {ascii(found)[:40]}, this release reads up to {FORMAT}; "
            "use the release that saved it"
        )
    try:
        record = ModelRecord.model_validate(content)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"])).encode("unicode_escape").decode()[:200]
        raise ModelError(f"{path}: damaged: {where}: {problem['msg'][:400]}") from error
    except RecursionError as error:
        raise ModelError(f"{path}: damaged: nested too deeply") from error
    for name, expected in record.checksums.items():
        untrusted_files.check(folder / name, expected)
    needed = {ONNX} | ({INT8_WEIGHTS} if record.has_int8 else set())
    needed |= {name for name in (EXAMPLE, SAFETENSORS, OOD_HEAD) if os.path.lexists(folder / name)}
    for name in sorted(needed - set(record.checksums)):
        raise ModelError(f"{path}: damaged: it has no checksum of {name}")
    for name in {ONNX, INT8} & set(record.checksums):  # OpenVINO goes by content: an .xml may hold ONNX
        untrusted_files.check_external_data(folder / name)
    return record


def write_record(folder: Path, record: ModelRecord) -> ModelRecord:
    """Write model.json with the checksums of the files in READ; return the record written."""
    names = [name for name in READ if (folder / name).is_file()]
    record = record.model_copy(update={"checksums": {n: file_sha256(folder / n) for n in names}})
    (folder / RECORD).write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return record
