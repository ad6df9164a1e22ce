"""The report of a training or an evaluation: metrics.json, history.json and plots."""

import json
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from fashion_mnist.evaluation import Report
from fashion_mnist.training import History

matplotlib.use("Agg")  # files only; works without a display


def write_report(folder: Path, report: Report, history: History | None = None) -> None:
    """Write metrics.json and confusion.png, and of a training history.json and training.png too."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / "metrics.json", report.asdict())
    _save(plot_confusion(report), folder / "confusion.png")
    if history is not None:
        _write_json(folder / "history.json", history.asdict())
        _save(plot_history(history), folder / "training.png")


def plot_confusion(report: Report) -> Figure:
    """The confusion matrix: counts, coloured by the share of the row."""
    counts = np.array(report.confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 2.5 + 0.55 * len(counts)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, label="share of the true class")
    names = list(report.per_class)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(f"accuracy {report.accuracy:.2%} on {report.n:,} images")
    for (row, column), count in np.ndenumerate(counts):
        if count:
            shade = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=shade, fontsize=8)
    return figure


def plot_history(history: History) -> Figure:
    """Loss and accuracy of each epoch, on the training and on the choosing images."""
    epochs = [r.epoch for r in history.epochs]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    loss.plot(epochs, [r.train_loss for r in history.epochs], label="training (augmented)")
    loss.plot(epochs, [r.choose_loss for r in history.epochs], label="choosing (averaged weights)")
    loss.set(xlabel="epoch", ylabel="cross-entropy")
    accuracy.plot(epochs, [r.train_accuracy for r in history.epochs])
    accuracy.plot(epochs, [r.choose_accuracy for r in history.epochs])
    accuracy.set(xlabel="epoch", ylabel="accuracy")
    for axes in (loss, accuracy):
        axes.grid(alpha=0.3)
    loss.legend()
    return figure


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=110)


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
