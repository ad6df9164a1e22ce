"""A training from data to stored model: the model is complete and records its origin."""

import json
from pathlib import Path

import bentoml
import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from support.data_files import csv_rows, write_lines
from support.paths import ROOT, SAMPLE

from fashion_mnist.data.dataset import Dataset
from fashion_mnist.errors import ConfigError, DataError, FashionMnistError
from fashion_mnist.export import onnx_export
from fashion_mnist.export.torch_predictor import load_network, torch_predictor
from fashion_mnist.inference.predictor import Predictor
from fashion_mnist.networks import classifiers
from fashion_mnist.registry import model_folder, store
from fashion_mnist.spec import ModelSpec
from fashion_mnist.training.config import TrainConfig
from fashion_mnist.training.pipeline import Trained, load_dataset, train


def test_a_training_learns(trained: tuple[Trained, Path]) -> None:
    assert trained[0].metrics.accuracy > 0.4  # three epochs on 1,800 images; chance is 0.1


def test_the_stored_model_is_complete(trained: tuple[Trained, Path]) -> None:
    model = bentoml.models.get(trained[0].tag)
    names = {str(p.relative_to(model.path)) for p in Path(model.path).rglob("*") if p.is_file()}
    assert names >= {
        "network.onnx",
        "network.safetensors",
        "ood_head.bin",
        "model.json",
        "example.png",
        "README.md",
        "report/metrics.json",
        "report/history.json",
        "report/confusion.png",
        "report/training.png",
    }
    assert model.info.labels["network"] == "compact"
    assert model.info.labels["dataset"].endswith("fashion-mnist-sample")
    assert model.info.metadata["accuracy"] == trained[0].metrics.accuracy
    Image.open(model.path_of("report/confusion.png")).verify()


def test_the_output_folder_has_no_report(trained: tuple[Trained, Path]) -> None:
    names = {p.name for p in trained[1].iterdir()}
    in_int8 = {"network.int8.xml", "network.int8.bin"}
    assert names - in_int8 == {
        "network.onnx",
        "network.safetensors",
        "ood_head.bin",
        "model.json",
        "example.png",
        "README.md",
    }
    assert names & in_int8 == (in_int8 if trained[0].record.has_int8 else set())


def test_the_report_matches_the_predictor(trained: tuple[Trained, Path], sample: Dataset) -> None:
    assert sample.test is not None
    predicted = Predictor(trained[1]).predict(sample.test.images)
    accuracy = float((predicted.class_ids == sample.test.labels).mean())
    record = model_folder.read_record(trained[1])
    assert record.metrics is not None
    assert accuracy == trained[0].metrics.accuracy == record.metrics["accuracy"]
    report = Path(bentoml.models.get(trained[0].tag).path) / "report" / "metrics.json"
    assert json.loads(report.read_text())["accuracy"] == accuracy


def test_the_record_states_the_origin_of_the_model(trained: tuple[Trained, Path]) -> None:
    record = trained[0].record
    assert record.temperature is not None
    assert record.ood_threshold is not None
    assert record.config["epochs"] == 3
    assert record.data["images"] == {"train": 1800, "validation": 100, "calibration": 100, "test": 1000}
    assert len(record.data["fingerprints"]["train"]) == 64
    assert record.data["source"] == record.data["name"] == str(SAMPLE)
    assert record.data["naming"] == "Fashion-MNIST by its checksums"
    assert record.versions["torch"].startswith("2.")
    card = (trained[1] / "README.md").read_text()
    assert f"{trained[0].metrics.accuracy:.2%}" in card
    assert "`tests`" in card  # the command
    log = card[card.index("epoch    loss") :].splitlines()
    assert [line.split()[0] for line in log[1:4]] == ["1", "2", "3"]


def test_the_graph_has_the_promised_inputs_and_outputs(trained: tuple[Trained, Path]) -> None:
    graph = onnx.load(trained[1] / "network.onnx").graph
    assert [i.name for i in graph.input] == ["images"]
    assert graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [o.name for o in graph.output] == ["logits", "features"]
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param  # any number of images


def test_the_graph_contains_no_paths_of_the_machine(trained: tuple[Trained, Path]) -> None:
    content = (trained[1] / "network.onnx").read_bytes()
    assert b".py" not in content
    assert b"site-packages" not in content


def test_parity_fails_for_the_graph_of_another_network(
    trained: tuple[Trained, Path], test_images: NDArray[np.uint8]
) -> None:
    record = model_folder.read_record(trained[1])
    network = load_network(record, trained[1])
    assert onnx_export.check_parity(network, trained[1], test_images[:64]) < 0.05
    other = load_network(model_folder.read_record(store.BUNDLED_FOLDER), store.BUNDLED_FOLDER)
    with pytest.raises(FashionMnistError, match="differs from the trained one"):
        onnx_export.check_parity(other, trained[1], test_images[:64])


def test_torch_and_openvino_agree_on_a_fresh_model(
    trained: tuple[Trained, Path], test_images: NDArray[np.uint8]
) -> None:
    reference = torch_predictor(trained[1]).predict(test_images[:200])
    served = Predictor(trained[1], precision="fp32").predict(test_images[:200])
    assert np.abs(reference.probabilities - served.probabilities).max() < 0.01


@pytest.mark.slow
def test_colour_folders_of_any_classes_can_be_trained_on(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, channel in (("red", 0), ("green", 1), ("blue", 2)):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for index in range(40):
            image = rng.integers(0, 60, (20, 20, 3), np.uint8)
            image[..., channel] += 190
            Image.fromarray(image).save(tmp_path / "pictures" / name / f"{index}.png")
    (tmp_path / "pictures" / "red" / "half.png").write_bytes(b"\x89PNG")
    config = TrainConfig(
        data=str(tmp_path / "pictures"), color=True, input_size=16, epochs=4, batch_size=16,
        output=tmp_path / "model", checkpoint=tmp_path / "checkpoint.pt",
    )  # fmt: skip
    trained = train(config)
    assert trained.record.classes == ("blue", "green", "red")
    assert trained.record.data["naming"] == "classes named after its folders"
    assert trained.record.data["skipped"] == {"damaged": 1}
    with pytest.raises(DataError, match=r"red/half\.png: the (body|picture) is"):
        load_dataset(config.model_copy(update={"strict": True}))
    assert trained.record.spec.shape == (16, 16, 3)
    predictor = Predictor(tmp_path / "model")
    red = np.zeros((1, 16, 16, 3), np.uint8)
    red[..., 0] = 200
    assert predictor.spec.classes[predictor.predict(red).class_ids[0]] == "red"


def test_an_unknown_network_is_refused_before_training() -> None:
    with pytest.raises(FashionMnistError, match="unknown network 'vast'"):
        train(TrainConfig(data=str(SAMPLE), network="vast", epochs=1000))


@pytest.mark.parametrize("name", ["weights.h5", "network.pt", "network.onnx"])
@pytest.mark.parametrize("flag", ["from", "teacher"])
def test_a_file_of_weights_is_refused_with_what_to_do_instead(tmp_path: Path, name: str, flag: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"weights")
    value = [str(path)] if flag == "teacher" else str(path)
    config = TrainConfig.model_validate({"data": str(SAMPLE), flag: value})
    with pytest.raises(ConfigError, match=rf"^--{flag} {path}: a file; .*docs/training-guide\.md"):
        train(config)
    assert "### A network of your own" in (ROOT / "docs" / "training-guide.md").read_text(encoding="utf-8")


def test_test_data_replaces_the_test_images_of_the_source(tmp_path: Path) -> None:
    config = TrainConfig(data=str(SAMPLE), test_data=str(SAMPLE))
    dataset = load_dataset(config)
    assert dataset.test is not None
    assert len(dataset.test) == 2000
    with pytest.raises(DataError, match="no such file"):
        load_dataset(TrainConfig(data=str(SAMPLE), test_data=str(tmp_path / "none")))


def test_test_data_is_read_with_the_labels_of_the_training_images(tmp_path: Path, sample: Dataset) -> None:
    """Labels 1..3 of the training file are a, b and c; a test file that lacks some means the same."""
    few = sample.train[np.flatnonzero(sample.train.labels % 9 < 3)]
    rows = [f"{int(row[0]) % 9 + 1},{row[2:]}" for row in csv_rows(few)]
    table = write_lines(tmp_path / "train.csv", *rows)
    twos = write_lines(tmp_path / "test.csv", *(row for row in rows if row.startswith("2,")))
    config = TrainConfig(data=str(table), test_data=str(twos), classes=("a", "b", "c"))
    dataset = load_dataset(config)
    assert dataset.test is not None
    assert set(dataset.test.labels) == {1}
    assert dataset.origin()["test_source"] == str(twos)
    assert load_dataset(config.model_copy(update={"classes": None})).train.classes == ("1", "2", "3")


def test_the_networks_are_listed_when_one_is_unknown() -> None:
    with pytest.raises(
        FashionMnistError, match=r"compact, wide, vgg16, resnet18, mobilenet_v3_small, efficientnet_lite0$"
    ):
        classifiers.build("vast", ModelSpec(("a", "b"), 8, 8, 1), torch.zeros(1), torch.ones(1))
