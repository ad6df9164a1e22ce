"""A model's folder: its files, and model.json, which records everything a prediction depends on."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from fashion_mnist.checksums import file_sha256
from fashion_mnist.errors import ConfigError, ModelError
from fashion_mnist.spec import ModelSpec, find_name_problem, normal_names

FORMAT: Final = 1
ONNX: Final = "network.onnx"
INT8: Final = "network.int8.xml"
INT8_WEIGHTS: Final = "network.int8.bin"
SAFETENSORS: Final = "network.safetensors"
EXAMPLE: Final = "example.png"
RECORD: Final = "model.json"
CARD: Final = "README.md"
REPORT: Final = "report"
READ: Final = (ONNX, INT8, INT8_WEIGHTS, SAFETENSORS, EXAMPLE)
"""Files with a checksum; not every model has the int8 ones."""


OLD_KEYS: Final = {
    "choose": "validation",
    "calibrate": "calibration",
    "choose_accuracy": "validation_accuracy",
    "choose_loss": "validation_loss",
}
"""Old key -> new key, for records, histories and checkpoints written by release 0.1.0."""


class ModelRecord(BaseModel):
    """Content of model.json. temperature, ood_threshold, metrics: None if the model has none.

    input_size: side in pixels to which the network itself resizes; None if it takes images as they are.
    checksums: SHA-256 of the other files. Unknown keys are ignored, so that a later release may add
    some without a new format; a change that old code would misread increments `format`.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: int = FORMAT
    network: str
    classes: tuple[str, ...]
    height: int
    width: int
    channels: int
    input_size: int | None = None
    temperature: float | None = Field(None, gt=0, allow_inf_nan=False)
    ood_threshold: float | None = Field(None, allow_inf_nan=False)
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

    @field_validator("classes")
    @classmethod
    def _check_classes(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        if problem := find_name_problem(classes):
            raise ValueError(problem)
        return normal_names(classes)

    @property
    def has_int8(self) -> bool:
        """True if the model also has an int8 network."""
        return INT8 in self.checksums

    @property
    def spec(self) -> ModelSpec:
        """Classes and image shape."""
        return ModelSpec(self.classes, self.height, self.width, self.channels)


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
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ModelError(f"{folder}: no model here, {RECORD} is missing") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: not readable ({error})") from error
    found = content.get("format") if isinstance(content, dict) else None
    if not isinstance(found, int) or found > FORMAT:
        raise ModelError(
            f"{path}: format {found}, this release reads up to {FORMAT}; use the release that saved it"
        )
    try:
        record = ModelRecord.model_validate(content)
    except ValidationError as error:
        problem = error.errors()[0]
        raise ModelError(
            f"{path}: damaged: {'.'.join(map(str, problem['loc']))}: {problem['msg']}"
        ) from error
    for name, expected in record.checksums.items():
        _check(folder / name, expected)
    return record


def write_record(folder: Path, record: ModelRecord) -> ModelRecord:
    """Write model.json with the checksums of the files in READ; return the record written."""
    names = [name for name in READ if (folder / name).is_file()]
    record = record.model_copy(update={"checksums": {n: file_sha256(folder / n) for n in names}})
    (folder / RECORD).write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return record


def _check(path: Path, expected: str) -> None:
    try:
        found = file_sha256(path)
    except OSError as error:
        raise ModelError(f"{path}: not readable ({error.strerror}); the model is damaged") from error
    if found != expected:
        raise ModelError(
            f"{path}: SHA-256 {found[:12]}…, the record says {expected[:12]}…; the model is damaged, "
            "download or train it again"
        )
