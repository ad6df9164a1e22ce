"""The `fashion-mnist` command line: predict, prepare, evaluate, models, keys."""

import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import fashion_mnist
from fashion_mnist.commands.keys import keys
from fashion_mnist.commands.prepare import prepare
from fashion_mnist.data import sources
from fashion_mnist.data.readers.picture_files import Skipped, describe_skipped, skip_if_no_picture, walk
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
from fashion_mnist.inference.conformal import COVERAGES
from fashion_mnist.inference.predictor import Predictor
from fashion_mnist.registry import model_folder, store
from fashion_mnist.serving.config import ServeConfig, read_serve_config, unknown_variables
from fashion_mnist.spec import FASHION_MNIST

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
    for warning in unknown_variables():
        click.echo(f"fashion-mnist: {warning}", err=True)


main.add_command(keys)
main.add_command(prepare)


@main.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@click.option("--top", type=click.IntRange(min=1), metavar="K", help="Print the K most probable classes.")
@click.option(
    "--coverage",
    type=click.Choice(COVERAGES),
    default=COVERAGES[0],
    show_default=True,
    help="How often the prediction set shall hold the right class.",
)
@MODEL_OPTION
def predict(
    images: tuple[str, ...], as_json: bool, top: int | None, coverage: str, model: str | None
) -> None:
    """Classify pictures: files, folders of files, or `-` for standard input.

    Folders are read with their sub-folders; what is not a picture is passed over. A picture that cannot be
    read is reported on standard error; the others are still classified.
    """
    config = read_serve_config()
    predictor, name = _open(model, config)
    classes = predictor.spec.classes
    least = (predictor.record.prediction_sets or {}).get(coverage)
    if top is not None and top > len(classes):
        raise ConfigError(f"--top {top}: {name} has {len(classes)} classes; ask for at most as many")
    failed: FashionMnistError | None = None
    read, skipped = 0, Skipped()
    for path, given in _paths(images, skipped):
        label = click.format_filename(path)  # a file name need not be UTF-8
        data = b""
        try:
            data = _read(path)
            image, preparation = pixels.read_prepared(data, predictor.spec, config.max_pixels)
        except (InputError, ConfigError) as error:
            if not given and skip_if_no_picture(skipped, Path(path), data, error):
                continue
            click.echo(f"fashion-mnist: {label}: {error}", err=True)
            failed = error
            continue
        read += 1
        (answer,) = predictions.to_objects(predictor.predict(image[None]), classes, top, least)
        if preparation is not None:
            answer["preparation"] = preparation
        if as_json:
            click.echo(json.dumps({"image": label, **answer, "model": name}))
            continue
        done = "" if preparation is None else f"  ({preparation})"
        note = done if answer["in_distribution"] is not False else f"{done}  unlike the training images"
        best = sorted(answer["probabilities"].items(), key=lambda item: item[1], reverse=True)[: top or 1]
        others = (answer["prediction_set"] or [])[1:]
        perhaps = f"  or {', '.join(others)}" if others and top is None else ""
        click.echo(f"{label}: {', '.join(f'{found} {p:.1%}' for found, p in best)}{perhaps}{note}")
    if skipped:
        click.echo(f"fashion-mnist: passed over: {describe_skipped(skipped)}", err=True)
    if failed is not None:
        sys.exit(failed.exit_code)
    if not read:
        raise ConfigError(f"{', '.join(images)}: no pictures there")


@main.command("evaluate")
@MODEL_OPTION
@click.option("--data", "source", default=FASHION_MNIST, show_default=True, metavar="SOURCE")
@click.option("--output", type=click.Path(path_type=Path), help="Write the report to this folder.")
@click.option("--strict", is_flag=True, help="Stop at a file that cannot be read as a picture.")
def evaluate_command(model: str | None, source: str, output: Path | None, strict: bool) -> None:
    """Measure a model on the test images of SOURCE, or on its other images if it has no test images."""
    from fashion_mnist.evaluation.metrics import evaluate, predict_all
    from fashion_mnist.evaluation.tables import metrics_table

    if output is not None:  # before the long work, not after it
        model_folder.check_writable(output)
        try:
            from fashion_mnist.evaluation.report import read_history, write_report
        except ModuleNotFoundError as error:
            raise DependencyError.for_training("a report", error.name) from error
    predictor, name = _open(model, read_serve_config())
    spec = predictor.spec
    numbers = tuple(predictor.record.data.get("numbers") or ()) or None
    dataset = sources.load(
        source,
        shape=spec.shape,
        classes=spec.classes,
        numbers=numbers,
        strict=strict,
        preparation=spec.preparation,
    )
    click.echo("\n".join(dataset.describe()), err=True)
    images = dataset.test
    if images is None:
        images = dataset.validation or dataset.train
        part = "all its images" if images is dataset.train else "its validation images"
        click.echo(f"{source} has no test images; measuring on {part}, seen in training or not", err=True)
    probabilities = predict_all(predictor, images)
    metrics = evaluate(probabilities, images.labels, spec.classes, predictor.record.prediction_sets)
    Console().print(metrics_table(metrics, f"{name} on {source}"))
    if output is not None:
        history = read_history(predictor.folder)
        write_report(output, metrics, predictor.record, images, probabilities, history, source)
        click.echo(f"report written to {output / 'index.html'}")


@main.command()
def models() -> None:
    """List the models that can be served, newest first; `*` marks the one that would be served."""
    served, problem = None, None
    try:
        served = store.choose(read_serve_config().model).name
    except ModelError as error:  # raised below: the list helps to fix it
        problem = error
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)  # 80 columns, if only the second one wraps
    for column in ("", "model", "network, data", "accuracy", "MB", "date"):
        right = column in ("accuracy", "MB")
        wraps = column == "network, data"
        table.add_column(column, justify="right" if right else "left", no_wrap=not wraps, overflow="fold")
    for model in store.list_models():
        table.add_row(
            "*" if model.name == served else "",
            model.name,
            escape(f"{model.network}, {model.data}"),  # or Rich reads names in brackets as its markup
            "unknown" if model.accuracy is None else f"{model.accuracy:.2%}",
            f"{model.size_bytes / 1e6:.1f}",
            "" if model.created is None else f"{model.created:%Y-%m-%d}",
        )
    Console().print(table)
    if problem is not None:
        raise problem


def _open(model: str | None, config: ServeConfig) -> tuple[Predictor, str]:
    chosen = store.choose(model or config.model)
    predictor = Predictor(chosen.folder, config.threads, config.precision, refuse=config.refuse)
    return predictor, chosen.name


def _paths(names: tuple[str, ...], skipped: Skipped) -> Iterator[tuple[str, bool]]:
    """Yield the path of each file and whether it was given by name; a folder yields its files, sorted."""
    for name in names:
        if name != "-" and Path(name).is_dir():
            yield from ((str(path), False) for path in walk(Path(name), skipped))
        else:
            yield name, True


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
