"""Train, evaluate and save a model: `python train.py --help`."""

import logging
import shlex
import sys
from collections.abc import Sequence

from rich.console import Console

from fashion_mnist.errors import DependencyError, one_line
from fashion_mnist.training.flags import read_train_config


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one training; an error becomes one line and an exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    console = Console()
    with one_line("train.py"):
        try:
            config = read_train_config(arguments)
            try:
                from fashion_mnist.evaluation.tables import metrics_table
                from fashion_mnist.training.pipeline import train
                from fashion_mnist.training.progress import TrainingBar
            except ModuleNotFoundError as error:
                raise DependencyError.for_training("a training", error.name) from error
            logging.basicConfig(level=logging.INFO, format="%(message)s")
            for noisy in ("torch", "onnxscript", "onnx_ir", "httpx"):
                logging.getLogger(noisy).setLevel(logging.WARNING)
            with TrainingBar(console) as bar:
                trained = train(config, bar, shlex.join(["python", "train.py", *arguments]))
        except KeyboardInterrupt:
            print("train.py: interrupted; --resume continues after the last complete epoch", file=sys.stderr)
            sys.exit(130)
        title = f"{trained.record.network} on the test images of {config.test_data or config.data}"
        console.print(metrics_table(trained.metrics, title))
        print(
            f"saved {trained.tag}. It is now the latest: `make serve` serves it and `make image` packs it. "
            f"If it is only a trial, set FASHION_MNIST_MODEL, or `bentoml models delete {trained.tag}`."
        )


if __name__ == "__main__":
    main()
