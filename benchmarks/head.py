"""A new last layer on cached features, or with the backbone in each epoch: `python -m benchmarks.head`.

Both run the same code: one training of ten epochs runs the backbone once, ten trainings of one epoch run it
ten times. Both include the validation images. The weights are random unless --pretrained is given: the time
does not depend on them. Prints medians and the hardware.
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
"""More than one, because other programs disturb some rounds more than others."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure with flags of train.py, such as --network and --input-size. Returns the exit code."""
    defaults = ["--network", "efficientnet_lite0", "--no-pretrained", "--epochs", "10", "--limit", "2000"]
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        config = warm_start.resolve(read_train_config([*defaults, *given, "--train", "head"]))
        splits = split_dataset(pipeline.load_dataset(config), config.seed, config.limit)
        one_epoch = config.model_copy(update={"epochs": 1})
        time_head(splits, one_epoch)  # not counted: the first training loads libraries and compiles kernels
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
        f"cached features {kept_s:.1f} s, backbone in each epoch {each_s:.1f} s, "
        f"{statistics.median(ratios):.1f} times as long "
        f"({ratios[0]:.1f} to {ratios[-1]:.1f} in {ROUNDS} rounds); "
        f"{machine['processor']}, {machine['cpus']} CPUs"
    )
    return 0


def time_head(splits: Splits, config: TrainConfig) -> float:
    """Train a new last layer from a fresh network; return the seconds, including its features."""
    torch.manual_seed(config.seed)
    pixels = classifiers.pixel_statistics(torch.from_numpy(splits.train.images))
    network = classifiers.build(config.network, splits.train.spec, *pixels, config.input_size)
    return loop.fit(network, splits, config).seconds


if __name__ == "__main__":
    sys.exit(main())
