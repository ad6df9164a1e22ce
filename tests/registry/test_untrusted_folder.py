"""Model folders from strangers: refused in a sentence, without following them anywhere."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import orjson
import pytest
from onnx.external_data_helper import convert_model_to_external_data

from fashion_mnist.checksums import file_sha256
from fashion_mnist.errors import ModelError
from fashion_mnist.inference.predictor import Predictor
from fashion_mnist.registry import model_folder, store
from fashion_mnist.registry.store import ChosenModel
from fashion_mnist.serving.config import ServeConfig
from fashion_mnist.serving.models.served_model import ServedModel


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
        {"height": 1025},
        {"width": 4096},
        {"channels": 2},
        {"format": 0},
        {"format": -1},
        {"input_size": -5},
        {"classes": [f"class {n}" for n in range(20_000)]},
        {"classes": ["a", "b\ud800"]},
        {"classes": ["a", "b\0"]},
        {"classes": ["a", "b\x1b[31m"]},
        {"classes": ["a", "b" * 201]},
        {"temperature": 0},
        {"temperature": 5e-324},  # probabilities would be NaN
        {"temperature": 1e308},
        {"network": "\ud800"},
        {"network": "n" * 1000},
        {"network": "a\nb"},
        {"network": "\x1b[2J"},
        {"network": ""},
        {"metrics": {"accuracy": float("nan")}},
        {"metrics": {"confusion": [[1, float("inf")]]}},
        {"data": {"images": {"train": -float("inf")}}},
        {"training": {"seconds": 10**400}},
        {"metrics": {"accuracy": "\x1b[2J"}},
        {"temperature": float("nan")},
        {"versions": {"\x1b[2J": 5}},
        {"versions": {"v" * 100_000: 5}},
        {"network": 5},
    ],
    ids=lambda values: str(values)[:40],
)
def test_absurd_records_are_damaged(folder: Path, values: dict[str, Any]) -> None:
    change(folder, **values)
    with pytest.raises(ModelError, match="damaged") as raised:
        model_folder.read_record(folder)
    assert len(str(raised.value)) < 1000
    assert str(raised.value).isprintable()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 100,
        b"[" * 1_000_000,
        b'{"format": 1, "data": %s}' % (b'{"a":[' * 400 + b"1" + b"]}" * 400),
        b'{"format": %s}' % (b"9" * 5000),
        b'{"format": 1, "metrics": {"nll": 1e999}}',
        b" " * 5_000_000,
        b"\xff\xfe",
    ],
    ids=["empty", "NUL", "deep", "deep in data", "digits", "infinite", "large", "not UTF-8"],
)
def test_unreadable_records_are_damaged(folder: Path, content: bytes) -> None:
    (folder / model_folder.RECORD).write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.json: damaged"):
        model_folder.read_record(folder)


def test_integers_beyond_64_bits_become_floats(folder: Path) -> None:
    change(folder, metrics={"n": 10**30})
    metrics = model_folder.read_record(folder).metrics
    assert metrics == {"n": 1e30}
    assert orjson.loads(orjson.dumps(metrics)) == metrics  # as GET /model encodes it


@pytest.mark.parametrize("name", ["a\nb", "\x1b[2J", "\udcff"])
def test_a_folder_whose_name_fits_in_no_answer_is_refused(folder: Path, name: str) -> None:
    renamed = folder.rename(folder.with_name(name))
    with pytest.raises(ModelError, match="not printable; rename the folder") as raised:
        store.choose(str(renamed))
    assert str(raised.value).isprintable()


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


@pytest.mark.parametrize("make", [to_fifo, to_device, to_link])
def test_a_record_is_a_file_of_the_folder(folder: Path, make: Callable[[Path], None]) -> None:
    (folder / model_folder.RECORD).unlink()
    make(folder / model_folder.RECORD)
    with pytest.raises(ModelError, match="not a file of this folder"):
        model_folder.read_record(folder)


def test_a_folder_behind_a_link_is_read(folder: Path) -> None:
    link = folder.parent / "link"  # as Kubernetes mounts a volume
    link.symlink_to(folder)
    inside = folder / model_folder.EXAMPLE
    inside.rename(folder / "real.png")
    inside.symlink_to("real.png")
    assert model_folder.read_record(link).checksums


def resum(folder: Path, name: str) -> None:
    record = json.loads((folder / model_folder.RECORD).read_bytes())
    change(folder, checksums={**record["checksums"], name: file_sha256(folder / name)})


def test_a_loop_of_links_is_damaged(folder: Path) -> None:
    (folder / model_folder.ONNX).unlink()
    (folder / model_folder.ONNX).symlink_to(model_folder.ONNX)
    with pytest.raises(ModelError, match="damaged"):
        model_folder.read_record(folder)


def test_an_empty_network_is_damaged(folder: Path) -> None:
    (folder / model_folder.ONNX).write_bytes(b"")
    resum(folder, model_folder.ONNX)
    with pytest.raises(ModelError, match="empty"):
        model_folder.read_record(folder)


@pytest.mark.parametrize("name", [model_folder.ONNX, model_folder.EXAMPLE, model_folder.SAFETENSORS])
def test_files_without_a_checksum_are_refused(folder: Path, name: str) -> None:
    record = json.loads((folder / model_folder.RECORD).read_bytes())
    change(folder, checksums={key: value for key, value in record["checksums"].items() if key != name})
    with pytest.raises(ModelError, match=f"no checksum of {name}"):
        model_folder.read_record(folder)


@pytest.mark.parametrize("name", [model_folder.ONNX, model_folder.INT8])  # OpenVINO goes by the content
def test_weights_in_other_files_are_refused(folder: Path, name: str) -> None:
    model = onnx.load(folder / model_folder.ONNX)
    convert_model_to_external_data(model, location="weights.bin", size_threshold=0)
    onnx.save(model, folder / name, format="protobuf")
    resum(folder, name)
    with pytest.raises(ModelError, match="keeps weights in other files"):
        model_folder.read_record(folder)


def test_a_longer_encoding_does_not_hide_weights_in_other_files(folder: Path) -> None:
    path = folder / model_folder.ONNX
    # key 1 of StringStringEntryProto, with a tag of two bytes; OpenVINO reads it
    path.write_bytes(path.read_bytes() + b"\x8a\x00\x08location")
    resum(folder, model_folder.ONNX)
    with pytest.raises(ModelError, match="keeps weights in other files"):
        model_folder.read_record(folder)


def test_another_format_under_the_name_of_onnx_finds_no_weights(folder: Path) -> None:
    shutil.copy(folder / model_folder.INT8, folder / model_folder.ONNX)
    shutil.copy(folder / model_folder.INT8_WEIGHTS, folder / "network.bin")  # OpenVINO's own choice
    resum(folder, model_folder.ONNX)
    with pytest.raises(ModelError, match="cannot compile"):
        Predictor(folder, 1, "fp32")


def test_an_example_that_is_no_picture_is_damaged(folder: Path) -> None:
    (folder / model_folder.EXAMPLE).write_bytes(b"no picture")
    resum(folder, model_folder.EXAMPLE)
    with pytest.raises(ModelError, match=r"example\.png: damaged"):
        ServedModel(ChosenModel("model", folder, "a test"), ServeConfig())
