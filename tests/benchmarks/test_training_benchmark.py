"""The benchmarks of training, heads and networks, on small real trainings."""

import json
from pathlib import Path

import pytest
from support.paths import ROOT, SAMPLE

from benchmarks import classic, head, networks, training
from fashion_mnist.data import sources


@pytest.mark.slow
def test_a_preset_is_trained_once_and_then_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    preset = Path("tiny.yaml")
    preset.write_text(f"data: {SAMPLE}\nlimit: 200\nepochs: 2\n", encoding="utf-8")
    arguments = ["--configs", str(preset), "--classic-steps", "0", "--output", "out"]
    assert training.main(arguments) == 0
    first = json.loads(Path("out/training.json").read_text())
    (row,) = first["rows"]
    assert row["name"] == "tiny"
    assert row["epochs"] == len(row["validation_accuracy"]) == 2
    assert 0 < row["elapsed_s"][0] < row["elapsed_s"][1] == pytest.approx(row["seconds"])
    assert row["test_accuracy"] > 0.1
    assert f"| tiny | 2 | 1,228,394 | {row['seconds'] / 60:.1f} |" in Path("out/training.md").read_text()
    assert Path("out/training-time.png").read_bytes().startswith(b"\x89PNG")

    assert training.main(arguments) == 0
    assert json.loads(Path("out/training.json").read_text())["rows"] == first["rows"]


def test_a_missing_preset_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert training.main(["--configs", "nowhere.yaml"]) != 0
    assert "nowhere.yaml" in capsys.readouterr().err


def test_the_page_in_docs_is_generated_from_its_figures() -> None:
    docs = ROOT / "docs"
    figures = json.loads((docs / "training.json").read_text(encoding="utf-8"))
    assert training.write_table(figures) == (docs / "training.md").read_text(encoding="utf-8")


@pytest.mark.full
def test_a_part_of_the_classic_recipe_is_timed() -> None:
    run = classic.time_classic(sources.load(str(SAMPLE)).train, steps=1)
    assert run.parameters == 134_301_514
    assert run.trained_parameters == 40_970
    assert run.whole_s == pytest.approx(run.seconds / 32 * 100_000)


@pytest.mark.slow
def test_a_new_head_is_timed_with_and_without_cached_features(capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--network", "resnet18", "--input-size", "32", "--limit", "40", "--epochs", "2"]
    assert head.main(["--data", str(SAMPLE), *small, "--batch-size", "20"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(
        "resnet18, 32 px, 40 images for training and 100 for validation, 2 epochs, seed 0: cached features"
    )
    assert head.main(["--data", "nowhere"]) == 4


def test_networks_are_compared(capsys: pytest.CaptureFixture[str]) -> None:
    assert networks.main(["bundled", "--untrained", "compact"]) == 0
    stored, untrained = capsys.readouterr().out.splitlines()[-2:]
    assert stored.startswith("| compact (bundled) | 1.2 M | 52 M | 28 | 95.14% |")
    assert untrained.startswith("| compact (untrained) | 1.2 M | 52 M | 28 | - |")
    assert networks.main(["fashion_mnist:none"]) != 0
