"""`bentoml build` and the Bento served from the store, on an empty model store and after a training."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from support.bentos import build
from support.paths import BIN, BOOT, ROOT
from support.servers import StartService

from fashion_mnist.registry import store


def predict(url: str) -> dict[str, object]:
    answer = httpx.post(f"{url}/predict", content=BOOT.read_bytes(), headers={"Content-Type": "image/png"})
    assert answer.status_code == 200
    content: dict[str, object] = answer.json()
    return content


def store_bundled(home: Path) -> str:
    """Save the bundled model to this home's store, as a training would; return the tag."""
    code = "from fashion_mnist.registry import store; print(store.save(store.BUNDLED_FOLDER))"
    environment = {**os.environ, "BENTOML_HOME": str(home)}
    saved = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return saved.stdout.strip()


@pytest.mark.slow
def test_a_bento_built_from_an_empty_store_serves_the_bundled_model(
    start_service: StartService, tmp_path: Path
) -> None:
    bento = build(tmp_path)
    sources = {str(p.relative_to(bento / "src")) for p in (bento / "src").rglob("*") if p.is_file()}
    assert {
        "service.py",
        "fashion_mnist/serving/protocol/requests.py",
        "fashion_mnist/weights/network.onnx",
    } <= sources
    assert not [s for s in sources if s.startswith(("tests", "data", "benchmarks")) or "torch" in s]
    target = f"{bento.parent.name}:{bento.name}"
    with start_service(target, BENTOML_HOME=str(tmp_path)) as server:
        assert predict(server.url)["model"] == "bundled"


@pytest.mark.slow
def test_a_bento_built_after_a_training_carries_and_serves_that_model(
    start_service: StartService, tmp_path: Path
) -> None:
    tag = store_bundled(tmp_path)
    bento = build(tmp_path)
    newer = store_bundled(tmp_path)
    assert newer != tag
    target = f"{bento.parent.name}:{bento.name}"
    with start_service(target, BENTOML_HOME=str(tmp_path)) as server:
        assert predict(server.url)["model"] == tag
        assert "this Bento was built with it" in server.log
    with start_service(BENTOML_HOME=str(tmp_path)) as server:
        assert predict(server.url)["model"] == newer


def serve_and_fail(home: Path, **environment: str) -> str:
    """Run `bentoml serve`, which must stop by itself; return its standard error."""
    done = subprocess.run(
        [BIN / "bentoml", "serve", "--port", "1"],
        cwd=ROOT,
        env={**os.environ, "BENTOML_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("FASHION_MNIST_MODEL", "fashion_mnist:none", "neither a model folder nor a tag"),
        ("FASHION_MNIST_WORKERS", "0", "FASHION_MNIST_WORKERS=0"),
    ],
)
def test_a_bad_setting_stops_the_start_with_one_sentence(
    tmp_path: Path, name: str, value: str, message: str
) -> None:
    assert message in serve_and_fail(tmp_path, **{name: value})


def test_a_damaged_model_stops_the_start_with_one_sentence(tmp_path: Path) -> None:
    folder = shutil.copytree(store.BUNDLED_FOLDER, tmp_path / "model")
    (folder / "network.onnx").write_bytes(b"damaged")
    assert "the model is damaged" in serve_and_fail(tmp_path, FASHION_MNIST_MODEL=str(folder))


def make_bento(home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `make bento` with the packages of this Python."""
    return subprocess.run(
        ["make", "--assume-old=.venv/.serve", f"BIN={BIN}", "bento"],
        cwd=ROOT,
        env={**os.environ, "BENTOML_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_build_first_says_which_model_it_packs_and_advertises_nothing(tmp_path: Path) -> None:
    tag = store_bundled(tmp_path)
    done = make_bento(tmp_path)
    assert done.returncode == 0
    assert done.stderr.splitlines()[0].startswith(f"packing {tag}, because it is the latest in the store; ")
    (built,) = done.stdout.splitlines()
    assert (tmp_path / "bentos" / built.removeprefix("built ").replace(":", "/")).is_dir()


def test_a_build_refuses_a_model_that_it_would_not_pack(tmp_path: Path) -> None:
    folder = shutil.copytree(store.BUNDLED_FOLDER, tmp_path / "model")
    done = make_bento(tmp_path, FASHION_MNIST_MODEL=str(folder))
    assert done.returncode != 0
    assert f"fashion_mnist: {folder}: a Bento packs a model of the store, or the bundled one" in done.stderr


NOT_ON_LINUX = """
import os, pathlib, socket
del os.sched_getaffinity, os.sched_setaffinity, socket.TCP_INFO
read_text = pathlib.Path.read_text
def read(self, *args, **options):
    if str(self).startswith(("/proc", "/sys")):
        raise FileNotFoundError(2, "No such file or directory", str(self))
    return read_text(self, *args, **options)
pathlib.Path.read_text = read
"""


@pytest.mark.slow
def test_the_service_needs_nothing_that_only_linux_has(start_service: StartService, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(NOT_ON_LINUX)
    with start_service(PYTHONPATH=str(tmp_path), FASHION_MNIST_WORKERS="2") as server:
        assert predict(server.url)["prediction"] == "Ankle boot"
        assert "int8" not in server.log  # nothing says that the CPU has fast int8
        assert "Traceback" not in server.log
