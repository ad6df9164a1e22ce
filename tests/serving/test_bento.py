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
