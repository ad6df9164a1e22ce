"""The `fashion-mnist` command line: predict, evaluate, models."""

import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

import fashion_mnist
from fashion_mnist.data import sources
from fashion_mnist.data.readers.class_folders import PICTURE_SUFFIXES
from fashion_mnist.errors import (
    ConfigError,
    DependencyError,
    FashionMnistError,
    InputError,
    ModelError,
    one_line,
)
from fashion_mnist.imaging import pixels
from fashion_mnist.inference import predictions
from fashion_mnist.inference.predictor import Predictor
from fashion_mnist.registry import model_folder, store
from fashion_mnist.serving.config import ServeConfig, read_serve_config

MODEL_OPTION = click.option(
    "--model",
    help="Tag, folder or `bundled`.  [default: FASHION_MNIST_MODEL, else the model the service would serve]",
)


class _Commands(click.Group):
    """Commands whose errors become one line and an exit code."""

    def invoke(self, ctx: click.Context) -> object:
        warnings.simplefilter("ignore")  # libraries warn about damage that our errors name
        with one_line("fashion-mnist"):
            return super().invoke(ctx)


@click.group(cls=_Commands)
@click.version_option(fashion_mnist.__version__, prog_name="fashion-mnist")
def main() -> None:
    """Classify pictures, evaluate models and list them, without a server."""


@main.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@MODEL_OPTION
def predict(images: tuple[str, ...], as_json: bool, model: str | None) -> None:
    """Classify pictures: files, folders of files, or `-` for standard input.

    A picture that cannot be read is reported on standard error; the others are still classified.
    """
    config = read_serve_config()
    predictor, name = _open(model, config)
    failed: FashionMnistError | None = None
    for path in _paths(images):
        label = click.format_filename(path)  # a file name need not be UTF-8
        try:
            image = pixels.read_picture(_read(path), predictor.spec, config.max_pixels)
        except (InputError, ConfigError) as error:
            click.echo(f"fashion-mnist: {label}: {error}", err=True)
            failed = error
            continue
        (answer,) = predictions.to_objects(predictor.predict(image[None]), predictor.spec.classes)
        if as_json:
            click.echo(json.dumps({"image": label, **answer, "model": name}))
            continue
        note = "" if answer["in_distribution"] is not False else "  unlike the training images"
        click.echo(f"{label}: {answer['prediction']} {answer['confidence']:.1%}{note}")
    if failed is not None:
        sys.exit(failed.exit_code)


@main.command("evaluate")
@MODEL_OPTION
@click.option("--data", "source", default=sources.FASHION_MNIST, show_default=True, metavar="SOURCE")
@click.option("--output", type=click.Path(path_type=Path), help="Write the report to this folder.")
def evaluate_command(model: str | None, source: str, output: Path | None) -> None:
    """Measure a model on the test images of SOURCE, or on all its images if it has no test images."""
    from fashion_mnist.evaluation.metrics import evaluate, predict_all
    from fashion_mnist.evaluation.tables import metrics_table

    if output is not None:  # before the long work, not after it
        model_folder.check_writable(output)
        try:
            from fashion_mnist.evaluation.report import read_history, write_report
        except ModuleNotFoundError as error:
            raise DependencyError(f"reports need {error.name}: pip install 'fashion-mnist[train]'") from error
    predictor, name = _open(model, read_serve_config())
    spec = predictor.spec
    dataset = sources.load(source, shape=spec.shape, classes=spec.classes)
    images = dataset.test
    if images is None:
        images = dataset.train
        click.echo(f"{source} has no test images; measuring on all images, seen in training or not", err=True)
    probabilities = predict_all(predictor, images)
    metrics = evaluate(probabilities, images.labels, spec.classes)
    Console().print(metrics_table(metrics, f"{name} on {source}"))
    if output is not None:
        history = read_history(predictor.folder)
        write_report(output, metrics, predictor.record, images, probabilities, history)
        click.echo(f"report written to {output / 'index.html'}")


@main.command()
def models() -> None:
    """List the models that can be served, newest first; `*` marks the one that would be served."""
    served, problem = None, None
    try:
        served = store.choose(read_serve_config().model).name
    except ModelError as error:  # raised below: the list helps to fix it
        problem = error
    table = Table()
    for column in ("", "model", "network", "data", "accuracy", "size", "date"):
        right = column in ("accuracy", "size")
        table.add_column(
            column, justify="right" if right else "left", no_wrap=column == "model", overflow="fold"
        )
    for model in store.list_models():
        table.add_row(
            "*" if model.name == served else "",
            model.name,
            model.network,
            model.data,
            "unknown" if model.accuracy is None else f"{model.accuracy:.2%}",
            f"{model.size_bytes / 1e6:.1f} MB",
            "" if model.created is None else f"{model.created:%Y-%m-%d}",
        )
    Console().print(table)
    if problem is not None:
        raise problem


def _open(model: str | None, config: ServeConfig) -> tuple[Predictor, str]:
    chosen = store.choose(model or config.model)
    return Predictor(chosen.folder, config.threads, config.precision), chosen.name


def _paths(names: tuple[str, ...]) -> Iterator[str]:
    """Yield the path of each picture; a folder yields its pictures in sorted order."""
    for name in names:
        folder = Path(name)
        if name == "-" or not folder.is_dir():
            yield name
            continue
        found = sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES and not p.is_dir())
        if not found:
            raise ConfigError(f"{folder}: no pictures in this folder")
        yield from map(str, found)


def _read(path: str) -> bytes:
    """Return the bytes of a file, or of standard input for `-`."""
    try:
        if path != "-":
            return Path(path).read_bytes()
        if sys.stdin is None:
            raise ConfigError("standard input is closed; send it a picture, or name a file")
        return sys.stdin.buffer.read()
    except OSError as error:
        raise ConfigError(error.strerror) from error


if __name__ == "__main__":
    main()
