"""Progress of a training: a line per epoch; within epochs a bar on a terminal, else a few lines."""

import time
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar

from fashion_mnist.training.engine.history import Progress

LINE_EVERY_S: Final = 30.0
"""Without a terminal, epochs and the features of `train: head` print a line at most this often."""


class TrainingBar:
    """Shows progress; use as `with TrainingBar(console) as bar: fit(..., on_progress=bar)`."""

    def __init__(self, console: Console, line_every_s: float = LINE_EVERY_S) -> None:
        self.console = console
        self.line_every_s = line_every_s
        self.last_line_s = time.monotonic()
        self.bar = Bar(
            TextColumn("{task.fields[stage]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TextColumn("{task.fields[left]} left"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.task = self.bar.add_task("", total=None, stage="", figures="", left="")

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bar.stop()

    def __call__(self, progress: Progress) -> None:
        if progress.validation_accuracy is not None:
            self.console.print(
                f"epoch {progress.epoch}/{progress.epochs}  loss {progress.loss:.4f}  "
                f"accuracy {progress.accuracy:.2%}  validation {progress.validation_accuracy:.2%}  "
                f"{_duration(progress.remaining_s)} left",
                highlight=False,
            )
            self.last_line_s = time.monotonic()
            return
        stage, figures = "features", ""
        if progress.epoch > 0:
            stage = f"epoch {progress.epoch}/{progress.epochs}"
            figures = f"loss {progress.loss:.4f}  accuracy {progress.accuracy:.2%}"
        left = _duration(progress.remaining_s)
        if self.bar.disable and time.monotonic() - self.last_line_s >= self.line_every_s:
            parts = (stage, f"{progress.step:,}/{progress.steps:,}", figures, f"{left} left")
            self.console.print("  ".join(filter(None, parts)), highlight=False)
            self.last_line_s = time.monotonic()
        self.bar.update(
            self.task,
            completed=progress.step,
            total=progress.steps,
            stage=stage,
            figures=figures,
            left=left,
        )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
