"""The report: complete, self-contained, and about the images it was measured on."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest

from fashion_mnist.data.dataset import LabelledImages
from fashion_mnist.evaluation import metrics, report
from fashion_mnist.inference.predictor import Predictor
from fashion_mnist.training.pipeline import Trained


@pytest.fixture(scope="module")
def folder(trained: tuple[Trained, Path]) -> Path:
    import bentoml

    return Path(bentoml.models.get(trained[0].tag).path) / "report"


def test_the_page_is_self_contained(folder: Path) -> None:
    page = (folder / "index.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page)
    assert "<script" not in page
    assert page.count("<svg") == 4


def test_the_page_shows_the_figures_the_mistakes_and_the_origin(
    folder: Path, trained: tuple[Trained, Path]
) -> None:
    page = (folder / "index.html").read_text()
    metrics = json.loads((folder / "metrics.json").read_text())
    assert f"{100 * metrics['accuracy']:.2f} %" in page
    assert page.count("<figure>") == 36
    assert trained[0].record.data["fingerprints"]["train"] in page
    assert str(trained[0].record.machine["processor"]) in page
    assert "learning_rate" in page


def test_class_names_are_escaped_in_the_page(tmp_path: Path, bundled: Predictor) -> None:
    classes = ("<b>a</b>", "b")
    data = LabelledImages(np.zeros((4, 28, 28), np.uint8), np.array([0, 0, 1, 1]), classes)
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.6, 0.4]])
    measured = metrics.evaluate(probabilities, data.labels, classes)
    report.write_report(tmp_path, measured, bundled.record, data, probabilities, None, "my <data>")
    page = (tmp_path / "index.html").read_text()
    assert "<b>a</b>" not in page
    assert "&lt;b&gt;a&lt;/b&gt;" in page
    assert "<h1>compact on my &lt;data&gt;</h1>" in page


def test_mistakes_come_in_order_of_confidence(bundled: Predictor) -> None:
    data = LabelledImages(np.zeros((3, 28, 28), np.uint8), np.array([0, 0, 1]), ("a", "b"))
    probabilities = np.array([[0.4, 0.6], [0.1, 0.9], [0.2, 0.8]])
    found = report.find_mistakes(data, probabilities)
    assert [(m["name"], m["label"], m["prediction"], m["confidence"]) for m in found] == [
        ("image 1", "a", "b", 0.9),
        ("image 0", "a", "b", 0.6),
    ]
    files = dataclasses.replace(data, files=np.array(["a/1.png", "a/2.png", "b/1.png"], object))
    last = files[np.array([1, 2])]
    (found_in_file,) = report.find_mistakes(last, probabilities[1:])
    assert found_in_file["name"] == "a/2.png"


@pytest.mark.parametrize(
    ("recipe", "label"),
    [
        ({}, "training (augmented)"),
        ({"train": "head"}, "training"),
        ({"flip": False, "shift": 0, "erase": 0}, "training"),
    ],
)
def test_only_an_augmented_training_is_called_so(
    trained: tuple[Trained, Path], folder: Path, recipe: dict[str, object], label: str
) -> None:
    history = report.read_history(folder.parent)
    assert history is not None
    figure = report.plot_history(history, report.is_augmented({**trained[0].record.config, **recipe}))
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert legend.get_texts()[0].get_text() == label


def test_reliability_of_hand_made_predictions() -> None:
    probabilities = np.array([[0.95, 0.05], [0.95, 0.05], [0.55, 0.45], [1.0, 0.0]])
    labels = np.array([0, 1, 1, 0])
    bins = metrics.reliability_bins(probabilities, labels)
    assert [b.count for b in bins] == [1, 3]
    assert bins[1].accuracy == pytest.approx(2 / 3)
    measured = metrics.evaluate(probabilities, labels, ("a", "b"))
    assert measured.ece == pytest.approx((abs(0 - 0.55) + 3 * abs(2 / 3 - 2.9 / 3)) / 4)
