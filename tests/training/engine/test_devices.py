"""A training shared by processes, started as users start it; GPUs are not tested."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from support.paths import ROOT, SAMPLE

from fashion_mnist.errors import ConfigError
from fashion_mnist.registry.model_folder import read_record
from fashion_mnist.training.engine.devices import Devices

LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]


def command(folder: Path, *flags: str) -> list[str]:
    fixed = ["--data", str(SAMPLE), "--output", str(folder / "model"), "--checkpoint", str(folder / "c.pt")]
    return ["train.py", *fixed, "--batch-size", "64", "--limit", "600", *flags]


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "BENTOML_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1"}


def train(launcher: list[str], folder: Path, *flags: str) -> str:
    done = subprocess.run(
        [*launcher, *command(folder, *flags)],
        cwd=ROOT, env=environment(folder), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.full
def test_two_processes_train_to_the_same_accuracy_within_noise(tmp_path: Path) -> None:
    flags = ("--epochs", "3", "--limit", "1800")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    train([sys.executable], tmp_path / "one", *flags)
    out = train(LAUNCH, tmp_path / "two", *flags)
    assert out.count("epoch 3/3") == 1  # one process reports
    records = [read_record(tmp_path / name / "model") for name in ("one", "two")]
    assert [record.training["processes"] for record in records] == [1, 2]
    accuracies = [record.metrics["accuracy"] for record in records if record.metrics]
    assert min(accuracies) > 0.6  # three epochs of 1,800 images; chance is 0.1
    assert accuracies[1] == pytest.approx(accuracies[0], abs=0.06)


@pytest.mark.slow
def test_two_processes_resume_after_being_killed(tmp_path: Path) -> None:
    flags = ("--epochs", "3", "--resume")
    process = subprocess.Popen(
        [*LAUNCH, *command(tmp_path, *flags)], cwd=ROOT, env=environment(tmp_path), stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "c.pt").is_file():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    for child in psutil.Process(process.pid).children(recursive=True):
        child.send_signal(signal.SIGKILL)
    process.wait(60)
    out = train(LAUNCH, tmp_path, *flags)
    assert "epoch 3/3" in out
    assert "epoch 1/3" not in out
    assert read_record(tmp_path / "model").training["processes"] == 2
    assert not (tmp_path / "c.pt").exists()


def test_processes_share_whole_batches_only() -> None:
    alone = Devices()
    assert (alone.count, alone.is_main, alone.device.type) == (1, True, "cpu")
    assert [alone.steps(count, 10) for count in (9, 10, 11, 12)] == [1, 1, 1, 2]
    shared = Devices()
    shared.count, shared.index = 2, 1
    assert [shared.steps(count, 10) for count in (10, 19, 20)] == [1, 1, 2]
    assert shared.share(torch.arange(6)).tolist() == [1, 3, 5]
    drawn = [torch.rand(8, generator=torch.Generator().manual_seed(d.seed(5))) for d in (alone, shared)]
    assert not torch.equal(*drawn)  # torch uses only the lowest 32 bits of a seed
    for count, batch_size in ((20, 5), (20, 2), (9, 10)):
        with pytest.raises(ConfigError, match="2 processes share each batch"):
            shared.steps(count, batch_size)


def test_processes_that_resume_at_different_epochs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    helper = Devices("fp32")
    helper.check_agreement(3)
    monkeypatch.setattr(helper, "agree", lambda values: [0.0, values[1]])  # the first process's values
    with pytest.raises(ConfigError, match="resumes after 3 epochs in fp32, the first after 0"):
        helper.check_agreement(3)
