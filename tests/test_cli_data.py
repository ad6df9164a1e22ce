"""The command line on files as people have them: mixed folders, data that is not Fashion-MNIST."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.commands import run
from support.data_files import csv_rows, unpacked, write_class_folder, write_lines
from support.paths import BOOT, ROOT, SAMPLE

from fashion_mnist.data.dataset import Dataset


def test_predict_reads_what_is_a_picture_in_a_folder_and_its_sub_folders(tmp_path: Path) -> None:
    for name in ("noname", "photo.jfif", "more/deep/boot.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(BOOT.read_bytes())
    for name in ("notes.txt", "more/.DS_Store"):
        (tmp_path / name).write_bytes(b"\0")
    code, out, err = run("predict", "--model", "bundled", tmp_path)
    assert (code, out.count("Ankle boot")) == (0, 3)
    assert err == (
        f"fashion-mnist: passed over: 1 hidden or of the system ({tmp_path}/more/.DS_Store), "
        f"1 not a picture ({tmp_path}/notes.txt)\n"
    )
    code, out, err = run("predict", "--model", "bundled", tmp_path / "notes.txt")
    assert (code, out) == (3, "")
    (tmp_path / "none").mkdir()
    code, out, err = run("predict", "--model", "bundled", tmp_path / "none")
    assert (code, out, err) == (2, "", f"fashion-mnist: {tmp_path}/none: no pictures there\n")


@pytest.mark.slow
def test_other_idx_files_are_not_taken_for_fashion_mnist(tmp_path: Path) -> None:
    for path in SAMPLE.iterdir():
        content = bytearray(unpacked(path.stem))
        content[-1] = (content[-1] + 1) % 10
        (tmp_path / path.name).write_bytes(gzip.compress(content, 1))
    code, out, err = run("evaluate", "--model", "bundled", FASHION_MNIST_DATA=str(tmp_path))
    assert (code, out) == (4, "")
    assert err.startswith(f"fashion-mnist: {tmp_path}: the IDX files there are not Fashion-MNIST's")
    code, out, err = run("evaluate", "--model", "bundled", "--data", str(tmp_path))
    assert code == 0
    assert err == f"reading {tmp_path} (label 0 is T-shirt/top, label 9 is Ankle boot)\n"


@pytest.mark.slow
def test_evaluate_finds_the_label_in_the_last_column(tmp_path: Path, sample: Dataset) -> None:
    rows = csv_rows(sample.train[np.arange(200)])
    header = ",".join([*(f"pixel{number}" for number in range(1, 785)), "class"])
    last = [header, *(",".join([*row.split(",")[1:], row.split(",")[0]]) for row in rows)]
    accuracies = set()
    for name, lines in (("first.csv", rows), ("last.csv", last)):
        table, report = write_lines(tmp_path / name, *lines), tmp_path / "report"
        code, _, err = run("evaluate", "--model", "bundled", "--data", table, "--output", report)
        assert code == 0, err
        accuracies.add(json.loads((report / "metrics.json").read_text())["accuracy"])
        assert f"<h1>compact on {table}</h1>" in (report / "index.html").read_text()
    (accuracy,) = accuracies
    assert accuracy > 0.9


@pytest.mark.slow
def test_a_training_names_its_sources_and_counts_what_it_passed_over(tmp_path: Path, sample: Dataset) -> None:
    """Class folders `0` and `1` with a damaged file, tested on a CSV."""
    few = sample.train[np.flatnonzero(sample.train.labels < 2)]
    for label in (0, 1):
        write_class_folder(tmp_path / "pictures" / str(label), few.images[few.labels == label][:20])
    first = (tmp_path / "pictures" / "1" / "0000.png").read_bytes()
    (tmp_path / "pictures" / "1" / "half.png").write_bytes(first[:100])
    write_lines(tmp_path / "test.csv", *csv_rows(few[np.arange(len(few) - 40, len(few))]))
    done = subprocess.run(
        [sys.executable, ROOT / "train.py", "--data", "pictures", "--test-data", "test.csv", "--epochs", "1",
         "--batch-size", "8", "--output", "model"],
        cwd=tmp_path,
        env={**os.environ, "BENTOML_HOME": str(tmp_path / "home"), "COLUMNS": "150"},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    pictures, skipped, table, *_ = done.stderr.splitlines()
    assert pictures == "reading pictures (classes named after its folders)"
    assert skipped == "passed over: 1 damaged (pictures/1/half.png)"
    assert table.startswith("reading test.csv (classes named by number; --classes names them")
    assert "compact on the test images of test.csv: 40 images" in done.stdout
    data = json.loads((tmp_path / "model" / "model.json").read_text())["data"]
    assert (data["name"], data["source"], data["test_source"]) == ("pictures", "pictures", "test.csv")
    assert (data["skipped"], data["images"]["test"]) == ({"damaged": 1}, 40)
