"""Progress where there is no terminal: a training shows signs of life in a log, but does not flood it."""

import io

from rich.console import Console

from fashion_mnist.training.engine.history import Progress
from fashion_mnist.training.progress import TrainingBar

REPORTS = [
    Progress(0, 2, 32, 1200, 0.0, 0.0, 75.0),
    Progress(0, 2, 1200, 1200, 0.0, 0.0, 0.0),
    Progress(1, 2, 40, 211, 0.5, 0.75, 3700.0),
    Progress(1, 2, 211, 211, 0.4, 0.8, 60.0, validation_accuracy=0.9),
]
EPOCH = "epoch 1/2  loss 0.4000  accuracy 80.00%  validation 90.00%  1:00 left"


def lines(**options: float) -> list[str]:
    out = io.StringIO()
    with TrainingBar(Console(file=out), **options) as bar:
        for report in REPORTS:
            bar(report)
    return out.getvalue().splitlines()


def test_features_and_epochs_print_a_line_at_most_every_30_s() -> None:
    assert lines(line_every_s=0) == [
        "features  32/1,200  1:15 left",
        "features  1,200/1,200  0:00 left",
        "epoch 1/2  40/211  loss 0.5000  accuracy 75.00%  1:01:40 left",
        EPOCH,
    ]
    assert lines() == [EPOCH]  # 30 s have not passed
