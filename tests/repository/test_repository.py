"""Promises of the repository: small files, one source of versions, helpful scripts."""

import re
import shutil
import socket
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from support.paths import ROOT

import fashion_mnist
from fashion_mnist.registry import model_folder, store


def size(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def test_the_bundled_model_is_small_complete_and_accurate() -> None:
    record = model_folder.read_record(store.BUNDLED_FOLDER)
    assert set(record.checksums) == set(model_folder.READ)
    assert (store.BUNDLED_FOLDER / "network.onnx").stat().st_size <= 4_000_000
    assert size(store.BUNDLED_FOLDER) <= 8_000_000
    assert not (store.BUNDLED_FOLDER / "report").exists()
    assert record.metrics is not None
    assert record.metrics["n"] == 10_000
    assert record.metrics["accuracy"] >= 0.95
    assert record.command is not None
    assert record.command in (store.BUNDLED_FOLDER / "README.md").read_text()


def test_the_sample_is_small_and_names_its_licence() -> None:
    assert size(ROOT / "tests" / "samples" / "fashion-mnist-sample") <= 2_000_000
    assert "MIT licence" in (ROOT / "tests" / "samples" / "README.md").read_text()


def test_serving_versions_are_written_once_and_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["setuptools"]["dynamic"]["dependencies"] == {"file": ["requirements.txt"]}
    bento = yaml.safe_load((ROOT / "bentofile.yaml").read_text())
    assert bento["python"]["requirements_txt"] == "requirements.txt"
    pins = re.findall(r"^([\w-]+)==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    extras = project["project"]["optional-dependencies"]
    names = {name for name, _ in pins}
    assert {"bentoml", "openvino"} <= names
    assert not names & {"torch", "pandas"}
    for requirement in [*extras["train"], *extras["dev"]]:
        assert requirement.split("==")[0] not in names
    for name, version in pins:
        assert metadata.version(name) == version


def test_the_version_is_written_once() -> None:
    assert metadata.version("fashion-mnist") == fashion_mnist.__version__
    assert f'"{fashion_mnist.__version__}"' not in (ROOT / "pyproject.toml").read_text()


def test_check_start_names_a_taken_port() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [sys.executable, "scripts/check_start.py", "127.0.0.1"]
        done = subprocess.run([*command, str(port)], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert f"port {port} is taken" in done.stderr
    done = subprocess.run([*command, "many"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "PORT=many is not a port" in done.stderr


@pytest.mark.parametrize("variables", [{"HOME": "/proc/none"}, {"BENTOML_HOME": "/dev/null"}])
def test_check_start_names_a_home_that_cannot_be_written_to(variables: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "scripts/check_start.py", "127.0.0.1", "0"],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    (folder,) = variables.values()
    assert done.stderr.startswith(f"error: BentoML cannot create {folder}")
    assert "set BENTOML_HOME to a folder that you can write to" in done.stderr


def test_a_clone_with_autocrlf_has_the_same_bytes(tmp_path: Path) -> None:
    origin, clone = tmp_path / "origin", tmp_path / "clone"
    folders = ("scripts", "deploy", ".ci", "examples", "fashion_mnist/weights")
    for folder in folders:
        shutil.copytree(ROOT / folder, origin / folder)
    shutil.copy(ROOT / ".gitattributes", origin)
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "core.autocrlf=true"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "test"]):
        subprocess.run([*git, *command], cwd=origin, capture_output=True, check=True)
    subprocess.run([*git, "clone", "-q", origin, clone], check=True)
    files = [path.relative_to(origin) for folder in folders for path in (origin / folder).rglob("*.*")]
    assert len(files) > 20
    for file in files:
        assert (clone / file).read_bytes() == (ROOT / file).read_bytes(), file


def test_make_help_is_aligned() -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) > 10
    assert len({re.match(r"[a-z-]+ +", line).end() for line in lines}) == 1  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("exit 1", "is too old; install Python 3.11 or newer"),
        ('case "$2" in *sys*) exit 0;; *) exit 1;; esac', "has no venv module"),
        (None, "is not installed"),
    ],
)
def test_the_environment_script_says_what_is_missing(
    tmp_path: Path, script: str | None, message: str
) -> None:
    python = tmp_path / "python"
    if script is not None:
        python.write_text(f"#!/bin/sh\n{script}\n")
        python.chmod(0o755)
    done = subprocess.run(
        ["sh", "scripts/environment.sh", str(tmp_path / "venv"), "."],
        cwd=ROOT,
        env={"PYTHON": str(python), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert message in done.stderr
    assert not (tmp_path / "venv").exists()
