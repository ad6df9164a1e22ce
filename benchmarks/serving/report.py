"""The report: docs/benchmarks.md, written from template.md and the stored results, and its plots."""

from pathlib import Path
from string import Template
from typing import Final

from benchmarks.serving import plots, tables
from benchmarks.serving.results import Results

RESULTS: Final = "serving-benchmark.json"
PAGE: Final = "benchmarks.md"
TEMPLATE: Final = Path(__file__).parent / "template.md"


def results_path(output: Path) -> Path:
    """Return the file in which the results of a run are stored."""
    return output / RESULTS


def write(results: Results, output: Path) -> list[Path]:
    """Write page and plots; return their paths."""
    output.mkdir(parents=True, exist_ok=True)
    figures = {
        "serving-servers.png": plots.plot_servers(results),
        "serving-connections.png": plots.plot_connections(results),
    }
    for name, figure in figures.items():
        figure.savefig(output / name, dpi=110)
    page = output / PAGE
    page.write_text(write_page(results), encoding="utf-8")
    return [page, *(output / name for name in figures)]


def write_page(results: Results) -> str:
    """Return the page: the template filled with the tables of these results."""
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        measured=tables.describe(results),
        promises=tables.write_promises(results),
        json=tables.write_load(results, "json@32"),
        png=tables.write_load(results, "png@32"),
        connections=tables.write_connections(results),
        bulk=tables.write_bulk(results),
        resources=tables.write_resources(results),
        settings=tables.write_settings(results),
        missing=tables.write_missing(results),
    )
