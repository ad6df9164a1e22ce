"""model.json: a written record reads back, and damage is named."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.paths import BOOT

from fashion_mnist.errors import ConfigError, ModelError
from fashion_mnist.registry.model_folder import (
    CARD,
    EXAMPLE,
    FORMAT,
    ONNX,
    RECORD,
    SAFETENSORS,
    ModelRecord,
    check_writable,
    read_record,
    rename_old_keys,
    write_record,
)
from fashion_mnist.spec import ModelSpec

BARE = ModelRecord(network="compact", classes=("shirt", "bag"), height=28, width=20, channels=3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as a training leaves it, with a full record."""
    (tmp_path / ONNX).write_bytes(b"a graph")
    (tmp_path / SAFETENSORS).write_bytes(b"weights")
    (tmp_path / CARD).write_text("# a card")
    shutil.copy(BOOT, tmp_path / EXAMPLE)
    full = {
        "temperature": 1.25,
        "ood_threshold": -3.5,
        "metrics": {"accuracy": 0.9, "confusion": [[1, 0], [0, 1]]},
        "config": {"epochs": 3},
        "versions": {"torch": "2"},
        "created": "2026-01-01T00:00:00+00:00",
        "command": "train.py --epochs 3",
    }
    write_record(tmp_path, BARE.model_copy(update=full))
    return tmp_path


def edit(folder: Path, **values: Any) -> None:
    """Set keys of model.json; None removes a key."""
    content = json.loads((folder / RECORD).read_text())
    content.update(values)
    (folder / RECORD).write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


def test_a_written_record_reads_back(folder: Path) -> None:
    record = read_record(folder)
    assert write_record(folder, record) == record == read_record(folder)
    assert (record.temperature, record.ood_threshold) == (1.25, -3.5)
    assert record.metrics == {"accuracy": 0.9, "confusion": [[1, 0], [0, 1]]}
    assert record.spec == ModelSpec(("shirt", "bag"), 28, 20, 3)
    assert record.format == FORMAT


def test_all_files_but_the_card_have_checksums(folder: Path) -> None:
    checksums = read_record(folder).checksums
    assert set(checksums) == {ONNX, SAFETENSORS, EXAMPLE}
    assert all(len(checksum) == 64 for checksum in checksums.values())
    (folder / CARD).write_text("# another card")
    assert read_record(folder).checksums == checksums


@pytest.mark.parametrize("name", [ONNX, SAFETENSORS, EXAMPLE])
def test_a_changed_byte_is_reported_as_damage(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[3] ^= 1
    (folder / name).write_bytes(content)
    problem = f"{name}: SHA-256 .*the model is damaged, download or train it again"
    with pytest.raises(ModelError, match=problem):
        read_record(folder)


@pytest.mark.parametrize("name", [ONNX, SAFETENSORS, EXAMPLE])
def test_a_missing_file_is_reported_as_damage(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelError, match=f"{name}: not readable .*the model is damaged"):
        read_record(folder)


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(ModelError, match=f"{path}: no model here, model.json is missing"):
            read_record(path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "damaged or not readable"),
        (b"{", "damaged or not readable"),
        (b"\xff\xfe\xfa", "damaged or not readable"),
        (b"[]", "format None, this release reads up to 2"),
        (b"{}", "format None"),
        (b'{"format": "1"}', "format '1'"),
        (b'{"format": 1}', "damaged: network: Field required"),
    ],
)
def test_a_broken_record_is_named(folder: Path, content: bytes, problem: str) -> None:
    (folder / RECORD).write_bytes(content)
    with pytest.raises(ModelError, match=f"model.json: {problem}"):
        read_record(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [("height", "tall"), ("temperature", 0), ("ood_threshold", "low"), ("metrics", {"accuracy": "all"})],
)
def test_an_invalid_value_is_named_by_its_key(folder: Path, key: str, value: object) -> None:
    edit(folder, **{key: value})
    with pytest.raises(ModelError, match=f"damaged: {key}: "):
        read_record(folder)


def test_a_later_format_is_rejected_with_a_remedy(folder: Path) -> None:
    edit(folder, format=FORMAT + 1)
    with pytest.raises(ModelError, match="format 3, this release reads up to 2; use the release"):
        read_record(folder)


def test_an_unknown_key_of_a_later_release_is_accepted(folder: Path) -> None:
    before = read_record(folder)
    edit(folder, future={"a": 1})
    assert read_record(folder) == before


def test_a_record_without_calibration_or_metrics_is_accepted(folder: Path) -> None:
    edit(folder, temperature=None, ood_threshold=None, metrics=None)
    record = read_record(folder)
    assert (record.temperature, record.ood_threshold, record.metrics) == (None, None, None)
    write_record(folder, BARE)
    assert read_record(folder).temperature is None


def test_an_unwritable_folder_is_named_and_nothing_is_left_behind(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to("nowhere")
    for path in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / "link", Path("/proc/a")):
        with pytest.raises(ConfigError, match=f"^{path}: cannot write to this folder"):
            check_writable(path)


def test_keys_of_an_earlier_release_are_renamed() -> None:
    stored = {
        **BARE.model_dump(),
        "format": 1,
        "data": {"images": {"train": 4, "choose": 3, "calibrate": 2, "test": 1}},
        "training": {"choose_accuracy": 0.5},
    }
    record = ModelRecord.model_validate(stored)
    assert record.data["images"] == {"train": 4, "validation": 3, "calibration": 2, "test": 1}
    assert record.training["validation_accuracy"] == 0.5
    assert rename_old_keys({"epochs": [{"choose_loss": 1.0}]}) == {"epochs": [{"validation_loss": 1.0}]}
