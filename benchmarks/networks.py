"""Networks compared: `python -m benchmarks.networks bundled --untrained vgg16 wide`.

Stored models get the figures in their records and the cost of serving them; untrained networks get what does
not depend on the weights. Prints a Markdown table, a part of docs/networks.md.
"""

import argparse
import sys
import tempfile
import timeit
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.serving.network import count_multiply_adds
from fashion_mnist.errors import FashionMnistError
from fashion_mnist.export import onnx_export
from fashion_mnist.inference.openvino_runtime import BATCH_SIZES
from fashion_mnist.inference.predictor import Predictor
from fashion_mnist.networks import classifiers
from fashion_mnist.registry import model_folder, provenance, store
from fashion_mnist.registry.model_folder import ModelRecord
from fashion_mnist.spec import FASHION_MNIST_CLASSES, ModelSpec
from fashion_mnist.training.config import TrainConfig

SPEC: Final = ModelSpec(FASHION_MNIST_CLASSES, 28, 28, 1)
ROUNDS: Final = 7
TITLES: Final = (
    "network", "parameters", "multiply-adds", "input px", "accuracy", "macro F1", "n", "training min",
    "ms per image", "precision", "file MB",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table. Returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", help="stored models: tags, folders or `bundled`")
    parser.add_argument("--untrained", nargs="*", default=[], help="networks to measure with random weights")
    flags = parser.parse_args(arguments)
    try:
        rows = [describe(choice, store.choose(choice).folder) for choice in flags.models]
        rows += [describe_untrained(name) for name in flags.untrained]
    except FashionMnistError as error:
        print(f"benchmarks.networks: {error}", file=sys.stderr)
        return error.exit_code
    machine = provenance.machine()
    print(f"{machine['processor']}, one thread, batches of {BATCH_SIZES[0]}, medians of {ROUNDS}\n")
    print(f"| {' | '.join(TITLES)} |\n|{'---|' * len(TITLES)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    return 0


def describe(name: str, folder: Path) -> list[str]:
    """Return the table row of a stored model."""
    predictor = Predictor(folder, threads=1)
    record, metrics = predictor.record, predictor.record.metrics or {}
    seconds = record.training.get("seconds")
    measured = (
        [f"{metrics['accuracy']:.2%}", f"{metrics['f1']:.2%}", f"{metrics['n']:,}"] if metrics else ["-"] * 3
    )
    return [
        f"{record.network} ({name})",
        f"{record.training['parameters'] / 1e6:.1f} M",
        *_cost(folder, record.spec),
        str(record.input_size or record.height),
        *measured,
        f"{seconds / 60:.1f}" if seconds else "-",
        *_serving(predictor, folder),
    ]


def describe_untrained(name: str) -> list[str]:
    """Return the row of a network with random weights at its default size, exported but not quantized."""
    config = TrainConfig(network=name, pretrained=False).resolve()
    network = classifiers.build(name, SPEC, torch.zeros(1), torch.ones(1), config.input_size).eval()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        onnx_export.export_network(network, SPEC, folder)
        record = ModelRecord(
            network=name, classes=SPEC.classes, height=28, width=28, channels=1, input_size=config.input_size
        )
        model_folder.write_record(folder, record)
        return [
            f"{name} (untrained)",
            f"{sum(p.numel() for p in network.parameters()) / 1e6:.1f} M",
            *_cost(folder, SPEC),
            str(config.input_size or 28),
            *["-"] * 4,
            *_serving(Predictor(folder, threads=1), folder),
        ]


def _cost(folder: Path, spec: ModelSpec) -> list[str]:
    return [f"{count_multiply_adds(folder / model_folder.ONNX, spec.shape) / 1e6:,.0f} M"]


def _serving(predictor: Predictor, folder: Path) -> list[str]:
    """Return the milliseconds per image, their precision, and the MB of the exported network."""
    generator = np.random.default_rng(0)
    images: NDArray[Any] = generator.integers(0, 256, (BATCH_SIZES[0], *predictor.spec.shape), np.uint8)
    predictor.predict(images)
    times = timeit.repeat(lambda: predictor.predict(images), number=1, repeat=ROUNDS)
    file_bytes = (folder / model_folder.ONNX).stat().st_size
    return [
        f"{1000 * float(np.median(times)) / len(images):.2f}",
        predictor.precision,
        f"{file_bytes / 1e6:.1f}",
    ]


if __name__ == "__main__":
    sys.exit(main())
