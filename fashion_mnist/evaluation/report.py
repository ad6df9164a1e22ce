"""The report of a training or evaluation: metrics.json, plots, and a self-contained HTML page."""

import base64
import io
import json
from pathlib import Path
from typing import Any, Final

import matplotlib
import numpy as np
from jinja2 import Environment, PackageLoader
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from fashion_mnist.data.dataset import LabelledImages
from fashion_mnist.evaluation.metrics import Metrics, ReliabilityBin, calibration_error, reliability_bins
from fashion_mnist.inference.calibration import softmax
from fashion_mnist.registry import model_folder
from fashion_mnist.registry.model_folder import ModelRecord, rename_old_keys

METRICS: Final = "metrics.json"
HISTORY: Final = "history.json"
PAGE: Final = "index.html"
MISTAKES: Final = 36
CELLS_WITH_TEXT: Final = 40
"""Up to this many classes, the confusion matrix shows counts; with more, only colours are readable."""


def write_report(
    folder: Path,
    metrics: Metrics,
    record: ModelRecord,
    data: LabelledImages,
    probabilities: NDArray[np.floating],
    history: dict[str, Any] | None,
    source: str,
) -> None:
    """Write metrics.json, the plots and index.html; with a history, history.json too.

    data, probabilities (N, K): the images measured and their predictions. history: `History.asdict()`.
    source: where the images come from.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / METRICS, metrics.asdict())
    plots = {
        "confusion": plot_confusion(metrics),
        "reliability": plot_reliability(metrics, _before_temperature(probabilities, data.labels, record)),
    }
    if metrics.sets:
        plots["coverage"] = plot_coverage(metrics)
    if history is not None:
        _write_json(folder / HISTORY, history)
        plots["training"] = plot_history(history, is_augmented(record.config))
    for name, figure in plots.items():
        figure.savefig(folder / f"{name}.png", dpi=110)
    environment = Environment(loader=PackageLoader("fashion_mnist.evaluation", "."), autoescape=True)
    page = environment.get_template("report.html").render(
        metrics=metrics,
        record=record,
        source=source,
        fingerprint=data.fingerprint(),
        history=history,
        plots={name: _svg(figure) for name, figure in plots.items()},
        mistakes=find_mistakes(data, probabilities),
    )
    (folder / PAGE).write_text(page, encoding="utf-8")


def read_history(model: Path) -> dict[str, Any] | None:
    """Return the history from a model folder's report, or None if it has none, like the bundled model."""
    path = model / model_folder.REPORT / HISTORY
    if not path.is_file():
        return None
    history: dict[str, Any] = rename_old_keys(json.loads(path.read_text(encoding="utf-8")))
    return history


def find_mistakes(data: LabelledImages, probabilities: NDArray[np.floating]) -> list[dict[str, Any]]:
    """Return the most confident wrong predictions: name, label, prediction, confidence, picture."""
    predicted = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != data.labels)
    confidence = probabilities[wrong, predicted[wrong]]
    return [
        {
            "name": f"image {row}" if data.files is None else data.files[row],
            "label": data.classes[data.labels[row]],
            "prediction": data.classes[predicted[row]],
            "confidence": float(probabilities[row, predicted[row]]),
            "picture": _data_url(data.images[row]),
        }
        for row in wrong[np.argsort(-confidence, kind="stable")[:MISTAKES]]
    ]


def plot_confusion(metrics: Metrics) -> Figure:
    """Plot the confusion matrix: counts, coloured by their share of the row."""
    counts = np.array(metrics.confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 2.5 + 0.5 * min(len(counts), CELLS_WITH_TEXT)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, label="share of the true class")
    names = list(metrics.per_class)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", parse_math=False)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set(xlabel="predicted", ylabel="true")
    axes.set_title(f"accuracy {metrics.accuracy:.2%} on {metrics.n:,} images")
    for (row, column), count in np.ndenumerate(counts):
        if count and len(counts) <= CELLS_WITH_TEXT:
            shade = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=shade, fontsize=8)
    return figure


def is_augmented(config: dict[str, Any]) -> bool:
    """Return whether a training with this recipe changes its images from epoch to epoch."""
    return config.get("train") != "head" and any(config.get(key) for key in ("flip", "shift", "erase"))


def plot_history(history: dict[str, Any], augmented: bool) -> Figure:
    """Plot loss and accuracy of each epoch on the training and validation images."""
    records = history["epochs"]
    epochs = [r["epoch"] for r in records]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    marker = "o" if len(epochs) == 1 else ""
    training = "training (augmented)" if augmented else "training"
    for name, label in (("train", training), ("validation", "validation (averaged weights)")):
        loss.plot(epochs, [r[f"{name}_loss"] for r in records], marker=marker, label=label)
        accuracy.plot(epochs, [r[f"{name}_accuracy"] for r in records], marker=marker)
    loss.set(xlabel="epoch", ylabel="cross-entropy")
    accuracy.set(xlabel="epoch", ylabel="accuracy")
    accuracy.axvline(history["best"], color="gray", linestyle=":", label=f"kept: epoch {history['best']}")
    for axes in (loss, accuracy):
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


def plot_reliability(metrics: Metrics, before: list[ReliabilityBin]) -> Figure:
    """Plot accuracy against confidence, with 95 % intervals, and the same without the temperature.

    The area of a point grows with its share of the images.
    """
    figure = Figure(figsize=(4.4, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="gray", linestyle=":", label="perfect calibration")
    confidence = [b.confidence for b in metrics.reliability]
    accuracy = [b.accuracy for b in metrics.reliability]
    areas = [20 + 400 * b.count / metrics.n for b in metrics.reliability]
    spread = [
        [b.accuracy - b.low for b in metrics.reliability],
        [b.high - b.accuracy for b in metrics.reliability],
    ]
    axes.errorbar(confidence, accuracy, spread, color="tab:blue", alpha=0.5, capsize=2)
    axes.scatter(confidence, accuracy, s=areas, color="tab:blue", label="images, by confidence")
    axes.plot(
        [b.confidence for b in before],
        [b.accuracy for b in before],
        "x--",
        color="tab:orange",
        alpha=0.7,
        label=f"without temperature: {calibration_error(before):.2%}",
    )
    axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.03), ylim=(0, 1.03))
    axes.set_title(f"expected calibration error {metrics.ece:.2%}")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left")
    return figure


def plot_coverage(metrics: Metrics) -> Figure:
    """Plot how often the prediction sets hold the right class, for each class."""
    names = next(iter(metrics.sets.values())).by_class
    figure = Figure(figsize=(5.6, 1.4 + 0.22 * min(len(names), CELLS_WITH_TEXT)), layout="constrained")
    axes = figure.subplots()
    for (coverage, found), colour in zip(metrics.sets.items(), ("tab:blue", "tab:orange"), strict=False):
        label = f"sets for {float(coverage):.0%}: {found.coverage:.1%}, {found.mean_size:.2f} classes"
        axes.plot(list(found.by_class.values()), range(len(names)), "o", color=colour, label=label)
        axes.axvline(float(coverage), color=colour, linestyle=":")
    axes.set_yticks(range(len(names)), list(names), parse_math=False)
    axes.invert_yaxis()
    axes.set(xlabel="share of images whose set holds their class")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def _before_temperature(
    probabilities: NDArray[np.floating], labels: NDArray[np.int64], record: ModelRecord
) -> list[ReliabilityBin]:
    """Return the reliability that the network would have without its temperature."""
    with np.errstate(divide="ignore"):
        raw = softmax(np.maximum(np.log(probabilities), -1e4), 1 / (record.temperature or 1.0))
    return reliability_bins(raw, labels)


def _svg(figure: Figure) -> str:
    """Return the figure as an SVG element for a page."""
    with matplotlib.rc_context({"svg.hashsalt": "report"}):  # equal figures give equal text
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    text = file.getvalue()
    return text[text.index("<svg") :]


def _data_url(image: NDArray[np.uint8]) -> str:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
