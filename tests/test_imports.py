"""What is imported where: the package loads nothing heavy, and its modules depend one way."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import BOOT, ROOT, StartService

PACKAGE = ROOT / "fashion_mnist"
LAYERS = [
    {"spec", "errors", "processors", "runtime", "packaging"},
    {"provenance"},
    {"config"},
    {"decoder"},
    {
        "pixels",
        "calibration",
        "novelty",
        "download",
        "model_folder",
        "body",
        "multipart",
        "flags",
        "vision",
        "batching",
        "direct",
        "listener",
        "request_metrics",
    },
    {"readers"},
    {"csv_reader"},
    {"data"},
    {"predictor", "backbones", "measuring", "state_file"},
    {"service_metrics"},
    {"evaluation", "augmentation", "muon", "networks", "store", "wire"},
    {"answers"},
    {
        "training_state",
        "export",
        "torch_backend",
        "served",
        "responses",
        "distillation",
        "features",
        "devices",
    },
    {"training"},
    {"quantization", "card", "report", "progress", "openapi", "middleware"},
    {"predict_endpoint"},
    {"pipeline", "http_app", "cli"},
    {"http_service"},
]
"""A module imports only from the layers above its own line."""
TORCH_MODULES = {
    "augmentation",
    "backbones",
    "devices",
    "state_file",
    "distillation",
    "features",
    "measuring",
    "networks",
    "training",
    "training_state",
    "export",
    "muon",
    "torch_backend",
    "vision",
    "pipeline",
}


def imported_at_the_top(path: Path) -> set[str]:
    """Names of all modules that importing this file imports."""
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def own_modules(path: Path) -> set[str]:
    names = {n.split(".")[1] for n in imported_at_the_top(path) if n.startswith("fashion_mnist.")}
    return {n for n in names if (PACKAGE / f"{n}.py").is_file()}


def test_every_module_has_a_layer() -> None:
    modules = {p.stem for p in PACKAGE.glob("*.py")} - {"__init__"}
    assert modules == set().union(*LAYERS)


@pytest.mark.parametrize("depth", range(len(LAYERS)))
def test_arrows_run_one_way(depth: int) -> None:
    above = set().union(*LAYERS[:depth])
    for name in sorted(LAYERS[depth]):
        assert own_modules(PACKAGE / f"{name}.py") <= above, name


def test_only_the_torch_modules_import_torch() -> None:
    users = {
        p.stem
        for p in PACKAGE.glob("*.py")
        if any(n.split(".")[0] == "torch" for n in imported_at_the_top(p))
    }
    assert users == TORCH_MODULES


def test_entry_points_never_import_each_other() -> None:
    for name in ("service.py", "train.py", "fashion_mnist/cli.py"):
        imported = imported_at_the_top(ROOT / name)
        assert not imported & {"service", "train", "fashion_mnist.cli"}


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("fashion_mnist", "torch pandas openvino bentoml PIL numpy"),
        ("fashion_mnist.data", "torch pandas openvino bentoml"),
        ("fashion_mnist.wire", "torch pandas openvino bentoml"),
        ("fashion_mnist.predictor", "torch pandas bentoml"),
        ("fashion_mnist.cli", "torch pandas matplotlib sklearn"),
        ("service", "torch pandas matplotlib sklearn onnx openvino numpy aiohttp uvicorn"),
    ],
)
def test_importing_loads_nothing_heavy(module: str, absent: str) -> None:
    code = f"import sys, {module}; print([m for m in {absent.split()!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_nothing_reports_to_the_makers_of_openvino(tmp_path: Path) -> None:
    code = (
        "import sys; from fashion_mnist.predictor import Predictor; from fashion_mnist.store import *; "
        "Predictor(BUNDLED_FOLDER); print('openvino.tools.ovc.telemetry_stub' in sys.modules)"
    )
    environment = {**os.environ, "HOME": str(tmp_path), "BENTOML_HOME": str(tmp_path / "bentoml")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "True"
    assert {path.name for path in tmp_path.iterdir()} <= {"bentoml"}


def test_a_serving_worker_never_maps_torch_or_pandas(start_service: StartService) -> None:
    import httpx

    with start_service(FASHION_MNIST_WORKERS="1") as server:
        answer = httpx.post(
            f"{server.url}/predict",
            content=BOOT.read_bytes(),
            headers={"Content-Type": "image/png"},
        )
        assert answer.status_code == 200
        (worker,) = server.workers
        mapped = Path(f"/proc/{worker.pid}/maps").read_text(encoding="utf-8")
    assert "openvino" in mapped
    assert "torch" not in mapped
    assert "pandas" not in mapped
