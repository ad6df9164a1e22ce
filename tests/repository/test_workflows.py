"""Compose, GitHub workflows and Dependabot: valid by their schemas, and what they name exists."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.paths import ROOT

GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
COMPOSE = ROOT / "deploy" / "compose.yaml"
SCHEMAS = [
    *[("vendor.github-workflows", path) for path in WORKFLOWS],
    ("vendor.dependabot", GITHUB / "dependabot.yml"),
    ("vendor.compose-spec", COMPOSE),
]


def check(schema: str, path: Path) -> subprocess.CompletedProcess[str]:
    """Validate a file; the schemas are part of the package, nothing is downloaded."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def load(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


def jobs(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = load(path)["jobs"]
    return found


STEPS = [(path.name, step) for path in WORKFLOWS for job in jobs(path).values() for step in job["steps"]]


@pytest.mark.parametrize(("schema", "path"), SCHEMAS, ids=lambda value: Path(value).name)
def test_each_file_is_valid(schema: str, path: Path) -> None:
    done = check(schema, path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("schema", "path", "right", "wrong"),
    [
        ("vendor.github-workflows", WORKFLOWS[0], "runs-on:", "run-on:"),
        ("vendor.github-workflows", WORKFLOWS[-1], "contents: read", "contents: reed"),
        ("vendor.dependabot", GITHUB / "dependabot.yml", "interval: weekly", "interval: always"),
        ("vendor.compose-spec", COMPOSE, "tmpfs:", "tempfs:"),
    ],
)
def test_an_invalid_file_is_rejected(schema: str, path: Path, right: str, wrong: str, tmp_path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert right in text
    (tmp_path / path.name).write_text(text.replace(right, wrong), encoding="utf-8")
    assert check(schema, tmp_path / path.name).returncode == 1


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_has_minimal_permissions_and_timeouts(path: Path) -> None:
    workflow = load(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert "concurrency" in workflow
    assert all("timeout-minutes" in job for job in workflow["jobs"].values())


def test_actions_are_pinned_and_scripts_contain_no_expressions() -> None:
    for name, step in STEPS:
        if "uses" in step:
            assert re.fullmatch(r"[\w-]+/[\w-]+@(v?\d+\.\d+\.\d+|[0-9a-f]{40})", step["uses"]), (name, step)
        assert "${{" not in step.get("run", ""), (name, step)


def test_workflows_call_targets_that_exist() -> None:
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    called = {target for _, step in STEPS for target in re.findall(r"make ([a-z-]+)", step.get("run", ""))}
    assert {"lint", "test", "bento", "image", "image-test"} <= called
    assert called <= known


def test_platforms_that_nobody_has_tried_may_fail() -> None:
    job = jobs(GITHUB / "workflows" / "ci.yml")["elsewhere"]
    assert job["continue-on-error"] is True
    assert {"macos-15", "ubuntu-24.04-arm"} == set(job["strategy"]["matrix"]["runner"])
    assert "tried" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_compose_drops_privileges_and_mounts_existing_files() -> None:
    services = load(COMPOSE)["services"]
    assert set(services) == {"service", "prometheus", "grafana"}
    for name, service in services.items():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (COMPOSE.parent / source).exists() or source in load(COMPOSE)["volumes"], volume
        tag = service["image"].rsplit(":", 1)[1].rstrip("}")
        assert name == "service" or re.fullmatch(r"v?\d+\.\d+\.\d+", tag)
