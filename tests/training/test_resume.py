"""A stopped training loses nothing, whether killed, interrupted or out of disk space."""

import dataclasses
import functools
import json
import logging.handlers
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support.paths import ROOT, SAMPLE

from fashion_mnist.data import sources
from fashion_mnist.data.splits import Splits, split_dataset
from fashion_mnist.errors import ConfigError
from fashion_mnist.networks import classifiers
from fashion_mnist.training.config import TrainConfig
from fashion_mnist.training.engine import checkpoint_file, loop, state
from fashion_mnist.training.engine.history import History, Progress
from fashion_mnist.training.pipeline import train


@pytest.fixture(scope="module")
def splits() -> Splits:
    return split_dataset(sources.load(str(SAMPLE)), seed=0, limit=300)


def fit(
    splits: Splits, config: TrainConfig, on_progress: object = None
) -> tuple[dict[str, torch.Tensor], History]:
    torch.manual_seed(config.seed)
    statistics = classifiers.pixel_statistics(torch.from_numpy(splits.train.images))
    network = classifiers.build("compact", splits.train.spec, *statistics)
    callback = on_progress if callable(on_progress) else (lambda _: None)
    history = loop.fit(network, splits, config.resolve(), callback, config.checkpoint)
    return network.state_dict(), history


def start_training(folder: Path, *flags: str) -> subprocess.Popen[str]:
    """Start train.py on a part of the sample, seconds per epoch, with its state in `folder`."""
    return subprocess.Popen(
        [sys.executable, "train.py", "--data", str(SAMPLE), "--limit", "300", "--epochs", "4",
         "--batch-size", "16", "--checkpoint", str(folder / "checkpoint.pt"),
         "--output", str(folder / "model"), *flags],
        cwd=ROOT,
        env={**os.environ, "BENTOML_HOME": str(folder / "home")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # a background job ignores SIGINT, and its children inherit that
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def wait_for(process: subprocess.Popen[str], start: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(start):
            return
    raise AssertionError(f"the training ended before {start!r}")


def metrics(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "model" / "model.json").read_text())["metrics"]
    return found


@pytest.mark.slow
def test_killed_in_an_epoch_and_resumed_it_ends_with_the_same_metrics(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    out, _ = start_training(whole).communicate(timeout=120)
    assert "saved fashion_mnist:" in out

    killed = tmp_path / "killed"
    process = start_training(killed)
    wait_for(process, "epoch 2/4")
    process.kill()  # in epoch 3
    process.communicate(timeout=60)
    assert not (killed / "model" / "model.json").exists()
    out, _ = start_training(killed, "--resume").communicate(timeout=120)
    assert "continuing after epoch " in out
    assert metrics(killed) == metrics(whole)
    assert not (killed / "checkpoint.pt").exists()


@pytest.mark.slow
def test_ctrl_c_keeps_the_best_epoch_so_far(tmp_path: Path) -> None:
    process = start_training(tmp_path, "--epochs", "500")
    wait_for(process, "epoch 1/500")
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "interrupted; keeping the best of" in out
    last = out.splitlines()[-1]
    assert re.match(
        r"saved fashion_mnist:\w+\. It is now the latest: .*`make image` packs it\. If it is only a trial",
        last,
    )
    record = json.loads((tmp_path / "model" / "model.json").read_text())
    assert record["training"]["ended"] == "interrupted"


@pytest.mark.slow
def test_a_resumed_training_ends_with_equal_weights(splits: Splits, tmp_path: Path) -> None:
    config = TrainConfig(epochs=3, batch_size=64, checkpoint=tmp_path / "a.pt")
    expected, _ = fit(splits, config)

    class StopError(Exception):
        pass

    def stop_in_epoch_2(progress: Progress) -> None:
        if progress.epoch == 2 and progress.validation_accuracy is None:
            raise StopError

    stopped = config.model_copy(update={"checkpoint": tmp_path / "b.pt"})
    with pytest.raises(StopError):
        fit(splits, stopped, stop_in_epoch_2)
    found, history = fit(splits, stopped.model_copy(update={"resume": True}))
    assert len(history.epochs) == 3
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_another_configuration_or_a_damaged_file_is_not_resumed(splits: Splits, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    fit(splits, TrainConfig(epochs=1, checkpoint=path))
    with pytest.raises(
        ConfigError, match=r"with epochs 1 \(here 2\), learning_rate 0\.1 \(here 0\.2\); .* --from TAG$"
    ):
        fit(splits, TrainConfig(epochs=2, learning_rate=0.2, checkpoint=path, resume=True))
    fewer = dataclasses.replace(splits, train=splits.train[np.arange(200)])
    with pytest.raises(ConfigError, match=r"with other training images; give .*, or train without --resume$"):
        fit(fewer, TrainConfig(epochs=1, checkpoint=path, resume=True))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ConfigError, match="not a checkpoint"):
        fit(splits, TrainConfig(epochs=1, checkpoint=path, resume=True))


@pytest.mark.slow
def test_a_checkpoint_of_release_0_1_0_is_resumed(splits: Splits, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    config = TrainConfig(epochs=1, batch_size=64, checkpoint=path)
    expected, history = fit(splits, config)
    content = checkpoint_file.read(path)
    content["identity"]["choose"] = content["identity"].pop("validation")
    for record in content["records"]:
        for name in ("loss", "accuracy"):
            record[f"choose_{name}"] = record.pop(f"validation_{name}")
    checkpoint_file.write(path, content)
    found, resumed = fit(splits, config.model_copy(update={"resume": True}))
    assert resumed.epochs == history.epochs
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_resume_without_a_checkpoint_starts_from_the_beginning(splits: Splits, tmp_path: Path) -> None:
    _, history = fit(splits, TrainConfig(epochs=1, checkpoint=tmp_path / "none.pt", resume=True))
    assert len(history.epochs) == 1


@pytest.mark.slow
def test_resume_with_other_settings_names_the_checkpoints_there_and_what_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)  # for runs/

    def stop(progress: Progress) -> None:
        if progress.validation_accuracy is not None:
            raise InterruptedError

    config = TrainConfig(data=str(SAMPLE), limit=64, batch_size=32, epochs=2)
    for changes in ({}, {"seed": 1, "flip": False}):
        with pytest.raises(InterruptedError):
            train(config.model_copy(update=changes), stop)
    torch.save(torch.zeros(3), "runs/other.pt")
    Path("runs/broken.pt").write_bytes(b"PK")
    caplog.clear()
    with caplog.at_level(logging.INFO), pytest.raises(InterruptedError):
        train(config.model_copy(update={"epochs": 30, "resume": True}), stop)
    missing, nearest, farther, advice = (r.getMessage() for r in caplog.records if r.name == state.__name__)
    assert "no checkpoint of this training; starting from the beginning" in missing
    name, found = nearest.split(": ")
    assert found == "a checkpoint after epoch 1, of a training with epochs 2 (here 30)"
    assert re.fullmatch(r"runs/compact-\w{12}\.pt", name)
    for difference in ("epochs 2 (here 30)", "flip False (here True)", "seed 1 (here 0)"):
        assert difference in farther
    assert advice.endswith("train its model further with --from TAG")
    assert len(list(Path("runs").glob("compact-*.pt"))) == 3  # it has begun a training of its own


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a device that is always full")
def test_a_full_disk_loses_the_checkpoint_and_not_the_training(splits: Splits, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    config = TrainConfig(epochs=1, checkpoint=checkpoint)
    fit(splits, config)
    before = checkpoint.read_bytes()
    (tmp_path / "checkpoint.pt.part").symlink_to("/dev/full")
    told = logging.handlers.BufferingHandler(10)
    state.logger.addHandler(told)
    try:
        _, history = fit(splits, config)
    finally:
        state.logger.removeHandler(told)
    assert len(history.epochs) == 1
    assert "the checkpoint of epoch 1 cannot be written" in told.buffer[0].getMessage()
    assert checkpoint.read_bytes() == before


def test_patience_ends_a_training_that_no_longer_improves(splits: Splits, tmp_path: Path) -> None:
    config = TrainConfig(epochs=30, learning_rate=1e-9, patience=2, checkpoint=tmp_path / "c.pt")
    _, history = fit(splits, config)
    assert history.ended == "early"
    assert len(history.epochs) < 30
    accuracies = [record.validation_accuracy for record in history.epochs]
    assert accuracies[history.best - 1] == max(accuracies)
    assert max(accuracies[-2:]) <= max(accuracies[:-2])
    _, again = fit(splits, config.model_copy(update={"resume": True}))
    assert again.epochs == history.epochs  # a training that stopped early is not continued
