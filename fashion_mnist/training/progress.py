"""Progress of a training: one line per epoch and, on a terminal, a bar with loss, accuracy and time left."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar

from fashion_mnist.training.engine.history import Progress


class TrainingBar:
    """Shows progress; use as `with TrainingBar(console) as bar: fit(..., on_progress=bar)`."""

    def __init__(self, console: Console) -> None:
        self.console = console
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
            return
        stage, figures = "features", ""
        if progress.epoch > 0:
            stage = f"epoch {progress.epoch}/{progress.epochs}"
            figures = f"loss {progress.loss:.4f}  accuracy {progress.accuracy:.2%}"
        self.bar.update(
            self.task,
            completed=progress.step,
            total=progress.steps,
            stage=stage,
            figures=figures,
            left=_duration(progress.remaining_s),
        )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
