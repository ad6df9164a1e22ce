"""Figures that tests measure, kept in docs/figures.json."""

import json
from datetime import UTC, datetime

from fashion_mnist.registry import provenance
from support.paths import ROOT

FIGURES = ROOT / "docs" / "figures.json"


def record(what: str, **figures: object) -> None:
    """Print a figure, and store it with date and hardware in docs/figures.json."""
    values = {
        name: float(f"{value:.5g}") if isinstance(value, float) else value for name, value in figures.items()
    }
    print(f"\nFIGURE {what}: {values}")
    kept = json.loads(FIGURES.read_text()) if FIGURES.is_file() else {}
    kept[what] = {**values, "date": f"{datetime.now(UTC):%Y-%m-%d}", **provenance.machine()}
    FIGURES.write_text(json.dumps(dict(sorted(kept.items())), indent=2) + "\n")
