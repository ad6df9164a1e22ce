"""Saving a model: killed at any moment, or on a full disk, it leaves no half model."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore
from support.disks import fill, small_disk
from support.paths import ROOT

from fashion_mnist.errors import ModelError
from fashion_mnist.registry import atomic_store, model_folder, store

SIZE = sum(-(-path.stat().st_size // 4096) * 4096 for path in store.BUNDLED_FOLDER.iterdir())
KILLED_AT_EACH_EVENT = """
import os, signal, sys
from fashion_mnist.registry import atomic_store, model_folder, store

FILES = ("open", "os.", "shutil.", "tempfile.")  # what Python tells its audit hooks about files

def save(moment):
    left = moment
    def count(event, _):
        nonlocal left
        if event.startswith(FILES):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(count)
    store.save(store.BUNDLED_FOLDER)

store.save(store.BUNDLED_FOLDER)
moment, step, complete = 1, int(sys.argv[1]), 1
while True:
    process = os.fork()
    if process == 0:
        save(moment)
        os._exit(0)
    _, status = os.waitpid(process, 0)
    models = [model for model in store.list_models() if model.name != "bundled"]
    assert all(model.network == "compact" for model in models), (moment, models)
    assert len(models) - complete in (0, 1), moment
    complete = len(models)
    model_folder.read_record(store.choose(None).folder)
    if os.waitstatus_to_exitcode(status) == 0:
        break
    assert os.WTERMSIG(status) == signal.SIGKILL
    moment += step
print(moment // step, complete)
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point BentoML's store to an empty home for one test."""
    models = tmp_path / "home" / "models"
    models.mkdir(parents=True)
    monkeypatch.setitem(vars(BentoMLContainer.model_store), "_override", ModelStore(models))
    monkeypatch.setitem(vars(BentoMLContainer.model_store_dir), "_override", str(models))
    return models.parent


def leftovers(home: Path) -> list[Path]:
    return list(home.rglob(f"{atomic_store.PREFIX}*"))


@pytest.mark.parametrize("step", [6, pytest.param(1, marks=pytest.mark.slow)])
def test_a_save_that_is_killed_at_any_moment_leaves_no_half_model(tmp_path: Path, step: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED_AT_EACH_EVENT, str(step)],
        cwd=ROOT,
        env={**os.environ, "BENTOML_HOME": str(tmp_path), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    moments, models = map(int, done.stdout.split())
    assert moments >= 20
    assert models >= 2


def test_a_save_on_a_full_disk_leaves_nothing_and_says_what_to_do(home: Path) -> None:
    with small_disk(home, 16_000_000):
        first = store.save(store.BUNDLED_FOLDER)
        for left in (0, 4096, 1_000_000, 4_000_000, SIZE - 65_536):
            fill(home, left)
            with pytest.raises(
                ModelError,
                match=r"the model is not saved \(([^ ]*: )?No space left on device\); make room, .*--resume$",
            ):
                store.save(store.BUNDLED_FOLDER)
            assert not leftovers(home)
            assert [model.name for model in store.list_models()] == [first, "bundled"]
        fill(home, SIZE + 65_536)
        second = store.save(store.BUNDLED_FOLDER)
        assert store.choose(None).name == second


def test_what_a_killed_save_left_is_removed_later(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draft = home / "tmp" / f"{atomic_store.PREFIX}x"
    latest = home / "models" / store.NAME / f"{atomic_store.PREFIX}latest"
    draft.mkdir(parents=True)
    latest.parent.mkdir()
    latest.write_text("y")
    store.save(store.BUNDLED_FOLDER)
    assert leftovers(home)  # perhaps of another training that is saving now
    monkeypatch.setattr(atomic_store, "ABANDONED_S", 0.0)
    store.save(store.BUNDLED_FOLDER)
    assert not leftovers(home)


def test_models_on_a_disk_of_their_own_are_saved(home: Path) -> None:
    with small_disk(home / "models", 16_000_000):
        tag = store.save(store.BUNDLED_FOLDER)
        model_folder.read_record(store.choose(tag).folder)
        assert store.choose(None).name == tag
    assert not leftovers(home)


def test_a_read_only_store_without_a_latest_model_says_what_to_do(home: Path) -> None:
    with small_disk(home, 16_000_000):
        tag = store.save(store.BUNDLED_FOLDER)
        (home / "models" / store.NAME / "latest").unlink()
        subprocess.run(["mount", "-o", "remount,ro", str(home)], check=True)
        with pytest.raises(ModelError, match=f"Read-only file system.*; choose one with .*_MODEL: {tag}$"):
            store.choose(None)
        assert store.choose(tag).name == tag
