"""The README is accurate: commands run, answers match, and its tables and those it links to are complete."""

import json
import re
import shlex
import subprocess
import sys
from typing import Any

import pytest
from support.paths import ROOT
from support.servers import Server

from fashion_mnist.errors import HTTP_ERRORS
from fashion_mnist.serving.config import ServeConfig
from fashion_mnist.serving.protocol.requests import CONTENT_TYPES

README = (ROOT / "README.md").read_text(encoding="utf-8")
HTTP_API = (ROOT / "docs" / "http-api.md").read_text(encoding="utf-8")
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
COMMANDS = [line for kind, text in BLOCKS if kind == "sh" for line in text.splitlines()]
CURL_AND_ANSWER = [
    (text.strip(), json.loads(BLOCKS[i + 1][1]))
    for i, (kind, text) in enumerate(BLOCKS)
    if kind == "sh" and text.startswith("curl")
]


def run(command: list[str]) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def approximately(shown: Any) -> Any:
    """Return the value with tolerances as large as the differences between CPUs."""
    if isinstance(shown, dict):
        return {key: approximately(value) for key, value in shown.items()}
    if isinstance(shown, list):
        return [approximately(value) for value in shown]
    if isinstance(shown, float):
        return pytest.approx(shown, abs=0.02, rel=0.05)
    return shown


@pytest.mark.parametrize(("command", "shown"), CURL_AND_ANSWER)
def test_curl_prints_the_answer_that_is_shown(service: Server, command: str, shown: Any) -> None:
    command = command.replace("http://localhost:3000", service.url)
    assert json.loads(run([*shlex.split(command), "-sS"])) == approximately(shown)


def test_there_are_three_curl_calls() -> None:
    assert len(CURL_AND_ANSWER) == 3


def test_the_python_example_runs(service: Server) -> None:
    example = next(text for kind, text in BLOCKS if kind == "python")
    example = example.replace("http://localhost:3000", service.url)
    out = run([sys.executable, "-c", example])
    first, blank_is_known, count = out.splitlines()
    assert (first, count) == ("Ankle boot", "1000")
    assert blank_is_known in ("True", "False")


def test_the_example_for_images_of_ones_own_prints_the_class(service: Server) -> None:
    """tests/training/test_own_images.py also runs the training above it."""
    _, example = [text for kind, text in BLOCKS if kind == "python"]
    example = example.replace("http://localhost:3000", service.url)
    example = example.replace("seven.png", "examples/ankle-boot.png")
    assert run([sys.executable, "-c", example]) == "Ankle boot\n"


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith(".venv/bin/fashion-mnist")])
def test_the_command_line_examples_run(command: str) -> None:
    arguments = shlex.split(command)[1:]
    assert run([sys.executable, "-m", "fashion_mnist.cli", *arguments])


@pytest.mark.parametrize("target", sorted(set(re.findall(r"make ([a-z-]+)", README))))
def test_the_make_targets_exist(target: str) -> None:
    run(["make", "--dry-run", target])


@pytest.mark.parametrize("page", [README, HTTP_API], ids=["README.md", "http-api.md"])
def test_every_error_code_and_content_type_is_listed(page: str) -> None:
    for code in HTTP_ERRORS:
        assert f"`{code}`" in page
    for content_type in CONTENT_TYPES:
        assert f"`{content_type}`" in page


def test_each_error_code_is_listed_with_its_status() -> None:
    rows = re.findall(r"^\| (\d{3}) \| `(\w+)` \|", HTTP_API, re.MULTILINE)
    assert {code: int(status) for status, code in rows} == {
        code: status for code, (status, _) in HTTP_ERRORS.items()
    }


def test_every_setting_is_listed_with_its_default() -> None:
    for name, field in ServeConfig.model_fields.items():
        assert f"`FASHION_MNIST_{name.upper()}`" in CONFIGURATION
        if field.default not in (None, "", False) and name not in (
            "host",
            "port",
            "body_timeout_s",
        ):
            row = next(r for r in CONFIGURATION.splitlines() if f"FASHION_MNIST_{name.upper()}`" in r)
            assert str(field.default) in row, row


def test_the_readme_names_every_sub_package() -> None:
    for init in (ROOT / "fashion_mnist").rglob("*/__init__.py"):
        assert f"{init.parent.name}/`" in README, init
