"""A new last layer, its features kept, against the backbone run in each epoch: `python -m benchmarks.head`.

Both ways are the same code. Ten trainings of one epoch run the backbone ten times, one of ten epochs once;
validation images are run and counted in both. Without pretrained weights unless they are asked for: the time
does not depend on them. Prints medians, and what they were measured on.
"""

import statistics
import sys
from collections.abc import Sequence
from typing import Final

import torch

from fashion_mnist.data.splits import Splits, split_dataset
from fashion_mnist.errors import FashionMnistError
from fashion_mnist.networks import classifiers
from fashion_mnist.registry import provenance
from fashion_mnist.training import pipeline, warm_start
from fashion_mnist.training.config import TrainConfig
from fashion_mnist.training.engine import loop
from fashion_mnist.training.flags import read_train_config

ROUNDS: Final = 3
"""Other programs on the machine disturb one round more than another."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure with the settings of train.py, as --network, --input-size, --limit. Returns the exit code."""
    defaults = ["--network", "efficientnet_lite0", "--no-pretrained", "--epochs", "10", "--limit", "2000"]
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        config = warm_start.resolve(read_train_config([*defaults, *given, "--train", "head"]))
        splits = split_dataset(pipeline.load_dataset(config), config.seed, config.limit)
        one_epoch = config.model_copy(update={"epochs": 1})
        time_head(splits, one_epoch)  # the first one loads libraries and compiles kernels
        rounds = [
            (time_head(splits, config), sum(time_head(splits, one_epoch) for _ in range(config.epochs)))
            for _ in range(ROUNDS)
        ]
    except FashionMnistError as error:
        print(f"benchmarks.head: {error}", file=sys.stderr)
        return error.exit_code
    kept_s, each_s = (statistics.median(times) for times in zip(*rounds, strict=True))
    ratios = sorted(each / kept for kept, each in rounds)
    machine = provenance.machine()
    print(
        f"{config.network}, {config.input_size} px, {len(splits.train):,} images for training and "
        f"{len(splits.validation):,} for validation, {config.epochs} epochs, seed {config.seed}: "
        f"features kept {kept_s:.1f} s, backbone in each epoch {each_s:.1f} s, "
        f"{statistics.median(ratios):.1f} times as long "
        f"({ratios[0]:.1f} to {ratios[-1]:.1f} in {ROUNDS} rounds); "
        f"{machine['processor']}, {machine['cpus']} processors"
    )
    return 0


def time_head(splits: Splits, config: TrainConfig) -> float:
    """Seconds of a training of a new last layer, with its features, from a fresh network."""
    torch.manual_seed(config.seed)
    pixels = classifiers.pixel_statistics(torch.from_numpy(splits.train.images))
    network = classifiers.build(config.network, splits.train.spec, *pixels, config.input_size)
    return loop.fit(network, splits, config).seconds


if __name__ == "__main__":
    sys.exit(main())
