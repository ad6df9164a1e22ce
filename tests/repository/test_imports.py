"""Imports: the package loads nothing heavy, and its modules depend on each other in one direction."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import BOOT, ROOT
from support.servers import StartService

PACKAGE = ROOT / "fashion_mnist"
GROUND = "errors spec cpu checksums mapped_files bentoml_internals"
MAY_IMPORT = {
    "imaging": "",
    "registry": "",
    "networks.catalog": "",
    "networks": "networks.catalog",
    "data": "imaging",
    "inference": "registry",
    "evaluation": "data inference registry",
    "export": "data inference networks registry",
    "training.config": "networks.catalog registry",
    "training.engine": "data export inference networks registry training.config",
    "training": "data evaluation export inference networks networks.catalog registry training.config "
    "training.engine",
    "commands": "imaging registry serving.admission.key_file serving.admission.rates serving.config",
    "cli": "commands data evaluation imaging inference registry serving.config",
    "serving.admission.client_address": "",
    "serving.admission.key_file": "serving.admission.rates",
    "serving.admission.key_ring": "serving.admission.key_file",
    "serving.admission.rates": "",
    "serving.config": "serving.admission.client_address serving.admission.rates",
    "serving.monitoring": "inference",
    "serving.protocol": "imaging inference serving.monitoring",
    "serving.admission": "serving.admission.client_address serving.admission.key_file "
    "serving.admission.key_ring serving.admission.rates serving.monitoring serving.protocol",
    "serving.models": "imaging inference registry serving.config serving.monitoring serving.protocol",
    "serving.transport": "serving.admission serving.protocol",
    "serving.endpoints": "imaging inference serving.admission serving.config serving.models serving.protocol "
    "serving.transport",
    "serving": "serving.admission serving.admission.client_address serving.admission.key_file "
    "serving.admission.key_ring serving.admission.rates serving.config registry "
    "serving.endpoints serving.models serving.monitoring "
    "serving.protocol serving.transport",
}
"""Sub-package -> sub-packages it may import, besides itself and GROUND, which imports none of them."""
TORCH = {"networks", "export", "training", "training.engine"}


def sub_package(name: str) -> str:
    """Return the row of MAY_IMPORT for a module named within fashion_mnist, or its own name."""
    while name not in MAY_IMPORT and "." in name:
        name = name.rpartition(".")[0]
    return name


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def modules() -> list[Path]:
    return [path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"]


def imported(path: Path) -> set[str]:
    """Return the names of everything this file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def own_modules(path: Path) -> set[str]:
    """Return our modules that this file imports, by their names within fashion_mnist."""
    names = {n.removeprefix("fashion_mnist.") for n in imported(path) if n.startswith("fashion_mnist.")}
    return {n for n in names if (PACKAGE / f"{n.replace('.', '/')}.py").is_file()}


@pytest.mark.parametrize("path", modules(), ids=module_name)
def test_modules_import_only_what_their_row_allows(path: Path) -> None:
    own = sub_package(module_name(path))
    if own in GROUND.split():
        allowed = set(GROUND.split())
    else:
        allowed = {own, *GROUND.split(), *MAY_IMPORT[own].split()}
    assert {sub_package(name) for name in own_modules(path)} <= allowed


def test_the_table_has_no_cycle() -> None:
    left = {name: set(row.split()) for name, row in MAY_IMPORT.items()}
    while left:
        free = [name for name, row in left.items() if not row & set(left)]
        assert free, left
        for name in free:
            del left[name]


def test_torch_is_imported_only_where_allowed() -> None:
    users = {
        sub_package(module_name(path))
        for path in modules()
        if any(name.split(".")[0] == "torch" for name in imported(path))
    }
    assert users == TORCH


@pytest.mark.parametrize("path", modules(), ids=module_name)
def test_admission_models_and_monitoring_import_no_web_framework(path: Path) -> None:
    if sub_package(module_name(path)) in ("serving.admission", "serving.models", "serving.monitoring"):
        assert not {name.split(".")[0] for name in imported(path)} & {"starlette", "uvicorn", "httptools"}


def test_entry_points_never_import_each_other() -> None:
    for name in ("service.py", "train.py", "fashion_mnist/cli.py"):
        assert not imported(ROOT / name) & {"service", "train", "fashion_mnist.cli"}


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("fashion_mnist", "torch pandas openvino bentoml PIL numpy"),
        ("fashion_mnist.data.sources", "torch pandas openvino bentoml"),
        ("fashion_mnist.serving.protocol.requests", "torch pandas openvino bentoml"),
        ("fashion_mnist.inference.predictor", "torch pandas bentoml"),
        ("fashion_mnist.cli", "torch pandas matplotlib sklearn"),
        ("service", "torch pandas matplotlib sklearn onnx openvino numpy aiohttp uvicorn"),
    ],
)
def test_importing_loads_nothing_heavy(module: str, absent: str) -> None:
    code = f"import sys, {module}; print([m for m in {absent.split()!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_openvinos_telemetry_stays_off(tmp_path: Path) -> None:
    code = (
        "import sys; from fashion_mnist.inference.predictor import Predictor; "
        "from fashion_mnist.registry.store import BUNDLED_FOLDER; "
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
