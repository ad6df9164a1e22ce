"""Model folders from strangers: refused in a sentence, without following them anywhere."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx.external_data_helper import convert_model_to_external_data

from fashion_mnist.checksums import file_sha256
from fashion_mnist.errors import ModelError
from fashion_mnist.registry import model_folder, store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(store.BUNDLED_FOLDER, tmp_path / "model"))


def change(folder: Path, **values: Any) -> None:
    path = folder / model_folder.RECORD
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **values}))


SUM = "ab" * 32


@pytest.mark.parametrize(
    "values",
    [
        {"checksums": {"../../etc/passwd": SUM}},
        {"checksums": {"/etc/passwd": SUM}},
        {"checksums": {"network.onnx\0": SUM}},
        {"checksums": {"other.bin": SUM}},
        {"checksums": {"network.onnx": "short"}},
        {"checksums": {}},
        {"height": 0},
        {"height": -1},
        {"width": 10**9},
        {"width": 10**400},
        {"channels": 2},
        {"input_size": -5},
        {"classes": [f"class {n}" for n in range(20_000)]},
        {"classes": ["a", "b\ud800"]},
        {"classes": ["a", "b\0"]},
        {"temperature": 0},
        {"network": 5},
    ],
    ids=lambda values: str(values)[:40],
)
def test_absurd_records_are_damaged(folder: Path, values: dict[str, Any]) -> None:
    change(folder, **values)
    with pytest.raises(ModelError, match="damaged"):
        model_folder.read_record(folder)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 100,
        b"[" * 1_000_000,
        b'{"format": %s}' % (b"9" * 5000),
        b" " * 5_000_000,
        b"\xff\xfe",
    ],
    ids=["empty", "NUL", "deep", "digits", "large", "not UTF-8"],
)
def test_unreadable_records_are_damaged(folder: Path, content: bytes) -> None:
    (folder / model_folder.RECORD).write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.json: damaged"):
        model_folder.read_record(folder)


def to_fifo(path: Path) -> None:
    os.mkfifo(path)


def to_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def to_link(path: Path) -> None:
    outside = path.parents[1] / "outside"
    outside.write_bytes((store.BUNDLED_FOLDER / path.name).read_bytes())
    path.symlink_to(outside)


@pytest.mark.parametrize("name", [model_folder.ONNX, model_folder.EXAMPLE])
@pytest.mark.parametrize("make", [to_fifo, to_device, to_link])
def test_only_files_of_the_folder_are_read(folder: Path, make: Callable[[Path], None], name: str) -> None:
    (folder / name).unlink()
    make(folder / name)
    with pytest.raises(ModelError, match="not a file of this folder"):
        model_folder.read_record(folder)


def test_a_record_that_is_a_fifo_does_not_hang(folder: Path) -> None:
    (folder / model_folder.RECORD).unlink()
    to_fifo(folder / model_folder.RECORD)
    with pytest.raises(ModelError, match="not a file"):
        model_folder.read_record(folder)


def test_a_folder_behind_a_link_is_read(folder: Path) -> None:
    link = folder.parent / "link"  # as Kubernetes mounts a volume
    link.symlink_to(folder)
    inside = folder / model_folder.EXAMPLE
    inside.rename(folder / "real.png")
    inside.symlink_to("real.png")
    assert model_folder.read_record(link).checksums


def test_weights_in_other_files_are_refused(folder: Path) -> None:
    path = folder / model_folder.ONNX
    model = onnx.load(path)
    convert_model_to_external_data(model, location="weights.bin", size_threshold=0)
    onnx.save(model, path)
    record = json.loads((folder / model_folder.RECORD).read_bytes())
    change(folder, checksums={**record["checksums"], model_folder.ONNX: file_sha256(path)})
    with pytest.raises(ModelError, match="keeps weights in other files"):
        model_folder.read_record(folder)
