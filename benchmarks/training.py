"""Accuracy against training time: `python -m benchmarks.training`.

Trains `configs/quick.yaml` and `configs/compact.yaml`, unless the model store has a model with exactly these
settings, and times a part of the classic recipe (see classic.py). Writes training.json, training.md and
training-time.png to docs/. Run the command again to resume an interrupted training.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure
from rich.console import Console

from benchmarks import classic
from fashion_mnist.data.splits import split_dataset
from fashion_mnist.errors import FashionMnistError
from fashion_mnist.evaluation.report import read_history
from fashion_mnist.registry import provenance, store
from fashion_mnist.registry.model_folder import read_record
from fashion_mnist.training import pipeline, warm_start
from fashion_mnist.training.config import TrainConfig, complete_recipe
from fashion_mnist.training.flags import read_train_config
from fashion_mnist.training.progress import TrainingBar

CONFIGS: Final = (Path("configs/quick.yaml"), Path("configs/compact.yaml"))
CLASSIC_STEPS: Final = 8


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and write JSON, table and plot. Returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--configs", nargs="+", type=Path, default=CONFIGS, help="presets to measure")
    parser.add_argument(
        "--classic-steps", type=int, default=CLASSIC_STEPS, help="batches of 32 to time; 0 skips the recipe"
    )
    parser.add_argument("--output", type=Path, default=Path("docs"), help="folder for the three files")
    flags = parser.parse_args(arguments)
    console = Console()
    try:
        rows = [measure_preset(path, console) for path in flags.configs]
        if flags.classic_steps > 0:
            rows.append(measure_classic(read_config(flags.configs[0]), flags.classic_steps))
    except FashionMnistError as error:
        print(f"benchmarks.training: {error}", file=sys.stderr)
        return error.exit_code
    result = {"machine": provenance.machine(), "versions": provenance.versions(), "rows": rows}
    flags.output.mkdir(parents=True, exist_ok=True)
    (flags.output / "training.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    (flags.output / "training.md").write_text(write_table(result), encoding="utf-8")
    plot(rows).savefig(flags.output / "training-time.png", dpi=110)
    console.print(write_table(result), markup=False, highlight=False)
    return 0


def read_config(path: Path) -> TrainConfig:
    """Read a preset; an interrupted training of it resumes."""
    return read_train_config(["--config", str(path), "--resume"])


def measure_preset(path: Path, console: Console) -> dict[str, Any]:
    """Return time and accuracy of a preset: validation accuracy per epoch, test accuracy at the end."""
    config = read_config(path)
    folder = find_trained(config)
    if folder is None:
        with TrainingBar(console) as bar:
            trained = pipeline.train(config, bar, f"python train.py --config {path}")
        folder = store.choose(trained.tag).folder
    record = read_record(folder)
    history = read_history(folder)
    if history is None or record.metrics is None:
        raise FashionMnistError(f"{folder}: this model has no history; delete it and measure again")
    return {
        "name": path.stem,
        "command": record.command,
        "seed": config.seed,
        "parameters": record.training["parameters"],
        "seconds": history["seconds"],
        "epochs": len(history["epochs"]),
        "elapsed_s": list(accumulate(e["seconds"] for e in history["epochs"])),
        "validation_accuracy": [e["validation_accuracy"] for e in history["epochs"]],
        "test_accuracy": record.metrics["accuracy"],
        "n": record.metrics["n"],
        "part": None,
    }


def find_trained(config: TrainConfig) -> Path | None:
    """Return the newest model in the store that was trained with exactly these settings, or None.

    A setting added since then counts as the value that changes nothing.
    """
    recipe = warm_start.resolve(config).recipe()
    for model in store.list_models():
        folder = store.choose(model.name).folder
        if read_history(folder) and complete_recipe(read_record(folder).config) == recipe:
            return folder
    return None


def measure_classic(config: TrainConfig, steps: int) -> dict[str, Any]:
    """Time a part of the classic recipe on the images of `config`, and scale it to the whole."""
    splits = split_dataset(pipeline.load_dataset(config), config.seed)
    run = classic.time_classic(splits.train, steps)
    return {
        "name": "classic",
        "command": "python -m benchmarks.training",
        "seed": None,
        "parameters": run.parameters,
        "seconds": run.whole_s,
        "epochs": classic.EPOCHS,
        "elapsed_s": [],
        "validation_accuracy": [],
        "test_accuracy": None,
        "n": None,
        "part": asdict(run),
    }


def write_table(result: dict[str, Any]) -> str:
    """Return the rows as a Markdown page."""
    machine, versions = result["machine"], result["versions"]
    lines = [
        "# Accuracy against training time",
        "",
        (
            "Generated by `python -m benchmarks.training`; the figures are in [training.json]"
            f"(training.json). Measured on {machine['processor']}, {machine['cpus']} processors, "
            f"{machine['system']}, with torch {versions.get('torch')}. Accuracy is that of "
            "the compiled network on the test images."
        ),
        "",
        "| recipe | epochs | parameters | minutes | accuracy | seed, n |",
        "|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        minutes, accuracy, sample = f"{row['seconds'] / 60:,.1f}", "not measured", "-"
        if row["test_accuracy"] is not None:
            accuracy, sample = f"{row['test_accuracy']:.2%}", f"{row['seed']}, {row['n']:,}"
        if row["part"]:
            minutes += " (scaled)"
        lines.append(
            f"| {row['name']} | {row['epochs']} | {row['parameters']:,} | {minutes} | {accuracy} | {sample} |"
        )
    for row in result["rows"]:
        if row["part"]:
            part = row["part"]
            lines += [
                "",
                (
                    "`classic` is VGG16 at 3x224x224 with only the last layer trained: "
                    f"{classic.EPOCHS} epochs of {classic.IMAGES:,} images, eager float32. {part['steps']} "
                    f"batches of {classic.BATCH} were timed ({part['seconds']:.1f} s) and scaled to the "
                    "whole training. It ran without ImageNet weights: they do not affect its time, but it "
                    "has no accuracy."
                ),
            ]
    lines += ["", "![accuracy against time](training-time.png)", ""]
    return "\n".join(lines)


def plot(rows: list[dict[str, Any]]) -> Figure:
    """Plot validation accuracy per epoch against time; a scaled recipe is a vertical line at its end."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    for row in rows:
        if row["part"]:
            axes.axvline(
                row["seconds"] / 60, color="gray", linestyle="--", label=f"{row['name']}: end (scaled)"
            )
            continue
        minutes = [s / 60 for s in row["elapsed_s"]]
        (line,) = axes.plot(minutes, row["validation_accuracy"], label=f"{row['name']}: validation images")
        axes.plot(
            minutes[-1], row["test_accuracy"], "*", markersize=12, color=line.get_color(),
            label=f"{row['name']}: test images, as served",
        )  # fmt: skip
    axes.set(xscale="log", xlabel="minutes", ylabel="accuracy", ylim=(0.85, 0.97))
    axes.grid(alpha=0.3, which="both")
    axes.legend(loc="lower right")
    return figure


if __name__ == "__main__":
    sys.exit(main())
