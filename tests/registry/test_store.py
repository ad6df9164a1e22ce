"""The model store: which model is chosen, and how models are listed."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import bentoml
import pytest
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore
from click.testing import CliRunner

from fashion_mnist.cli import main
from fashion_mnist.errors import ModelError
from fashion_mnist.registry import store


@pytest.fixture
def empty_store(tmp_path: Path) -> Iterator[Path]:
    """Point BentoML's store to an empty folder for one test."""
    folder = tmp_path / "models"
    folder.mkdir()
    before = BentoMLContainer.model_store.get(), BentoMLContainer.model_store_dir.get()
    BentoMLContainer.model_store.set(ModelStore(folder))
    BentoMLContainer.model_store_dir.set(str(folder))
    yield folder
    BentoMLContainer.model_store.set(before[0])
    BentoMLContainer.model_store_dir.set(before[1])


def test_an_empty_store_serves_the_bundled_model(empty_store: Path) -> None:
    chosen = store.choose(None)
    assert (chosen.name, chosen.folder, chosen.in_store) == ("bundled", store.BUNDLED_FOLDER, False)


def test_the_latest_stored_model_is_served(empty_store: Path) -> None:
    store.save(store.BUNDLED_FOLDER)
    tag = store.save(store.BUNDLED_FOLDER)
    chosen = store.choose(None)
    assert chosen.name == tag
    assert chosen.in_store
    assert (chosen.folder / "network.onnx").is_file()
    assert store.choose("bundled").name == "bundled"


def test_a_model_can_be_chosen_by_tag_or_folder(empty_store: Path, tmp_path: Path) -> None:
    first = store.save(store.BUNDLED_FOLDER)
    store.save(store.BUNDLED_FOLDER)
    assert store.choose(first).name == first
    folder = shutil.copytree(store.BUNDLED_FOLDER, tmp_path / "mine")
    assert store.choose(str(folder)).name == "mine"


@pytest.mark.parametrize("choice", ["fashion_mnist:none", "nothing", "a b!c", ""])
def test_an_unknown_choice_is_rejected_and_the_known_tags_are_listed(empty_store: Path, choice: str) -> None:
    tag = store.save(store.BUNDLED_FOLDER)
    with pytest.raises(ModelError, match=tag):
        store.choose(choice)


def test_labels_and_metadata_describe_the_model(empty_store: Path) -> None:
    info = bentoml.models.get(store.save(store.BUNDLED_FOLDER)).info
    assert info.labels == {"network": "compact", "dataset": "fashion-mnist"}
    assert float(str(info.metadata["accuracy"])) >= 0.925
    assert info.metadata["input_shape"] == [28, 28]


def test_the_list_has_the_stored_models_and_the_bundled_one(empty_store: Path) -> None:
    tag = store.save(store.BUNDLED_FOLDER)
    broken = store.save(store.BUNDLED_FOLDER)
    (Path(bentoml.models.get(broken).path) / "model.json").write_text("{")
    models = {model.name: model for model in store.list_models()}
    assert list(models) == [broken, tag, "bundled"]
    assert models[broken].network == "damaged"
    assert models[tag].accuracy == models["bundled"].accuracy
    assert models[tag].size_bytes > 5_000_000


def test_names_of_a_stranger_are_listed_as_they_are(empty_store: Path) -> None:
    folder = Path(bentoml.models.get(store.save(store.BUNDLED_FOLDER)).path)
    record = json.loads((folder / "model.json").read_bytes())
    (folder / "model.json").write_text(json.dumps({**record, "network": "[/a]", "data": {"name": "\x1b[2J"}}))
    output = CliRunner().invoke(main, ["models"], catch_exceptions=False).output
    assert "[/a]," in output
    assert "x1b[2J" in output
    assert "\x1b" not in output


def test_a_dataset_path_becomes_a_valid_label() -> None:
    label = store._label("/home/someone/my pictures/" + "x" * 80)
    assert len(label) <= 63
    assert label.strip("x") == ""


@pytest.mark.parametrize("content", [b"", b"{", b"- a", b"name: fashion_mnist", b"\xff\xfe", None])
def test_a_damaged_latest_model_is_rejected_and_named(empty_store: Path, content: bytes | None) -> None:
    good, bad = store.save(store.BUNDLED_FOLDER), store.save(store.BUNDLED_FOLDER)
    folder = Path(bentoml.models.get(bad).path)
    if content is None:
        (folder / "model.yaml").unlink()
    else:
        (folder / "model.yaml").write_bytes(content)
    for choice in (None, "fashion_mnist", "fashion_mnist:latest", bad, bad[:-2]):
        with pytest.raises(
            ModelError, match=f"^{bad}: its model.yaml is damaged .*delete the folder {folder}"
        ):
            store.choose(choice)
    assert store.choose(good).name == good
    assert [model.name for model in store.list_models()] == [bad, good, "bundled"]
    with pytest.raises(ModelError, match=f"^{bad}: .* is saved, but not as the latest"):
        store.save(store.BUNDLED_FOLDER)
    shutil.rmtree(folder)
    assert store.choose(None).name not in (good, bad, "bundled")


def test_a_choice_that_cannot_be_a_path_is_rejected(empty_store: Path) -> None:
    for choice in ("a" * 5000, "~nobody-of-this-name/model"):
        with pytest.raises(ModelError, match="neither a model folder nor a tag") as raised:
            store.choose(choice)
        assert len(str(raised.value)) < 300


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_network_from_elsewhere_is_refused_with_where_to_read_on(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "saved_model"
    path.mkdir() if kind == "folder" else path.write_bytes(b"weights")
    with pytest.raises(
        ModelError, match=r"network from elsewhere cannot be loaded, see docs/training-guide\.md"
    ):
        store.choose(str(path))
