"""What `bentoml build` packs, and the image it defines; tests/repository/test_image.py builds and runs it."""

import ast
import tomllib
from pathlib import Path

import pytest
import yaml
from support.bentos import build
from support.paths import ROOT

PACKAGE = ROOT / "fashion_mnist"
PINS = [line.split("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines()]


def imported_modules(path: Path) -> set[Path]:
    """Return the files of our modules that this file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "fashion_mnist":
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            found |= {ROOT / f"{name.replace('.', '/')}.py" for name in names}
    return {path for path in found if path.is_file()}


def test_the_bento_has_the_modules_that_serving_imports_and_no_others(bento: Path) -> None:
    needed: set[Path] = set()
    todo = imported_modules(ROOT / "service.py")
    while todo:
        path = todo.pop()
        needed.add(path)
        todo |= imported_modules(path) - needed
    packed = {p.relative_to(bento / "src") for p in (bento / "src" / "fashion_mnist").rglob("*.py")}
    assert {p for p in packed if p.name != "__init__.py"} == {p.relative_to(ROOT) for p in needed}


@pytest.fixture(scope="module")
def bento(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("bento"))


def instructions(bento: Path) -> list[str]:
    return (bento / "env" / "docker" / "Dockerfile").read_text().splitlines()


def requirements(bento: Path) -> list[str]:
    lines = (bento / "env" / "python" / "requirements.txt").read_text().splitlines()
    return [line.split("#")[0].strip() for line in lines]


def test_the_image_installs_the_pinned_packages_and_no_compiler(bento: Path) -> None:
    text = "\n".join(instructions(bento))
    assert "FROM python:3.11-slim" in text
    assert "apt" not in text
    assert {pin for pin in PINS if pin} <= set(requirements(bento))
    assert not [line for line in requirements(bento) if line.startswith(("-", "torch"))]


def test_the_image_has_a_health_check_one_worker_and_a_home_on_the_tmpfs(bento: Path) -> None:
    lines = instructions(bento)
    (check,) = [line for line in lines if line.startswith("HEALTHCHECK")]
    script = "/home/bentoml/bento/src/deploy/healthcheck.sh"
    assert script in check
    assert (bento / "src" / "deploy" / "healthcheck.sh").is_file()
    assert {"ENV FASHION_MNIST_WORKERS=1", "ENV BENTOML_DO_NOT_TRACK=True"} <= set(lines)
    homes = [line for line in lines if line.startswith("ENV BENTOML_HOME=")]
    assert homes[-1] == "ENV BENTOML_HOME=/tmp/bentoml"  # after BentoML's own
    assert "UV_TORCH_BACKEND" not in "".join(lines)


def test_a_bentofile_overrides_the_image_of_the_service(tmp_path: Path) -> None:
    content = yaml.safe_load((ROOT / "bentofile.yaml").read_text())
    content["docker"] = {"base_image": "python:3.12-slim"}
    other = tmp_path / "bentofile.yaml"
    other.write_text(yaml.safe_dump(content))
    lines = instructions(build(tmp_path / "home", "-f", str(other)))
    assert "FROM python:3.12-slim AS base-container" in lines
    assert [line for line in lines if line.startswith("HEALTHCHECK")]  # the rest of the image stays


def test_the_training_bento_has_train_py_and_the_training_packages(tmp_path: Path) -> None:
    bento = build(tmp_path, "-f", "bentofile.train.yaml")
    assert {"train.py", "service.py", "configs", "pyproject.toml"} <= {
        p.name for p in (bento / "src").iterdir()
    }
    packed = bento / "src" / "fashion_mnist"
    assert {p.relative_to(PACKAGE) for p in PACKAGE.rglob("*.py")} == {
        p.relative_to(packed) for p in packed.rglob("*.py")
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(project["optional-dependencies"]["train"]) <= set(requirements(bento))
    assert "ENV UV_TORCH_BACKEND=cpu" in instructions(bento)
