"""`fashion-mnist prepare`: shows what a network sees of a picture."""

from pathlib import Path

import click
from PIL import Image

from fashion_mnist.errors import ConfigError
from fashion_mnist.imaging import pixels
from fashion_mnist.registry import model_folder, store
from fashion_mnist.serving.config import read_serve_config


@click.command()
@click.argument("image", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="PNG to write.")
@click.option("--model", help="Tag, folder or `bundled`.  [default: the model the service would serve]")
def prepare(image: Path, output: Path, model: str | None) -> None:
    """Write what a model sees of the picture IMAGE, as a PNG, and say what was done to it."""
    config = read_serve_config()
    chosen = store.choose(model or config.model)
    spec = model_folder.read_record(chosen.folder).spec
    try:
        prepared = pixels.read_prepared(image.read_bytes(), spec, config.max_pixels)
        Image.fromarray(prepared.image).save(output, "PNG")
    except OSError as error:
        raise ConfigError(f"{error.filename}: {error.strerror}") from error
    shape = " x ".join(map(str, spec.shape))
    click.echo(f"{click.format_filename(output)}: {shape}, {prepared.note or 'nothing removed'}")
