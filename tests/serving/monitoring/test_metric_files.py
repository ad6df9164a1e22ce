"""Metric files: a full disk costs series in /metrics, never the process."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.disks import small_disk
from support.paths import ROOT

COUNT = """
import logging, os, sys
from pathlib import Path
kind, when = sys.argv[1:]
logging.basicConfig(format="%(message)s", level="WARNING")
if kind == "allocated":
    from fashion_mnist.serving.monitoring import metric_files
    metric_files.install(None)
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

def fill():
    disk = os.statvfs(folder)
    with (folder / "filler").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, disk.f_bavail * disk.f_frsize)

folder = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
if when == "before":
    fill()
counter = Counter("images", "", ["number"])
counter.labels(0).inc()
if when == "later":
    fill()
for number in range(5000):
    counter.labels(number).inc()
    assert counter.labels(number)._value.get() >= 1
registry = CollectorRegistry()
MultiProcessCollector(registry)
print(generate_latest(registry).decode().count("images_total{"))
"""


def count(folder: Path, kind: str, when: str) -> tuple[int, int, str]:
    """Count 5,000 series in a process of its own; return its exit code, the series shown, and its log."""
    done = subprocess.run(
        [sys.executable, "-c", COUNT, kind, when],
        cwd=ROOT,
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, int(done.stdout or -1), done.stderr


@pytest.mark.parametrize("when", ["before", "later"])
def test_a_full_disk_kills_a_process_with_sparse_metric_files(tmp_path: Path, when: str) -> None:
    """If this fails, prometheus_client has found a way, and monitoring/metric_files.py is not needed."""
    with small_disk(tmp_path, 1_000_000):
        assert count(tmp_path, "sparse", when) == (-signal.SIGBUS, -1, "")


def test_a_disk_that_was_full_before_leaves_a_process_without_metrics(tmp_path: Path) -> None:
    with small_disk(tmp_path, 1_000_000):
        code, series, log = count(tmp_path, "allocated", "before")
    assert (code, series) == (0, 0)
    assert log == "metrics of this worker are missing in /metrics: No space left on device\n"


def test_a_disk_that_is_full_later_keeps_the_series_that_have_room(tmp_path: Path) -> None:
    with small_disk(tmp_path, 1_000_000):
        code, series, log = count(tmp_path, "allocated", "later")
    assert code == 0
    assert 400 < series < 5000
    assert log == "new series are missing in /metrics: No space left on device\n"


def test_files_grow_while_there_is_room(tmp_path: Path) -> None:
    assert count(tmp_path, "allocated", "never") == (0, 5000, "")


def test_a_missing_folder_leaves_a_process_without_metrics(tmp_path: Path) -> None:
    code, _, log = count(tmp_path / "none", "allocated", "never")
    assert "metrics of this worker are missing in /metrics: " in log
    assert "No such file or directory" in log
    assert code == 1  # only the test's own look at the folder fails
