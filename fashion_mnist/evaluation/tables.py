"""Show metrics as a table in the terminal."""

from rich.markup import escape
from rich.table import Table

from fashion_mnist.evaluation.metrics import Metrics


def metrics_table(metrics: Metrics, title: str) -> Table:
    """Build a table with a row for each class, then the macro averages."""
    table = Table(title=escape(f"{title}: {metrics.n:,} images"), min_width=64)
    table.add_column("class")
    for name in ("precision", "recall", "F1", "images"):
        table.add_column(name, justify="right")
    for name, row in metrics.per_class.items():
        table.add_row(escape(name), *_percents(row.precision, row.recall, row.f1), f"{row.support:,}")
    table.add_section()
    averages = _percents(metrics.precision, metrics.recall, metrics.f1)
    table.add_row("macro average", *averages, f"{metrics.n:,}")
    table.caption = (
        f"accuracy {metrics.accuracy:.2%}, negative log likelihood {metrics.nll:.4f}, "
        f"calibration error {metrics.ece:.2%}"
        + "".join(
            f"\nprediction sets for {coverage}: {found.describe()}"
            for coverage, found in metrics.sets.items()
        )
    )
    return table


def _percents(*shares: float) -> list[str]:
    return [f"{share:.1%}" for share in shares]
