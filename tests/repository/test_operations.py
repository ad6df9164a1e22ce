"""What docs/operations.md and docs/scaling.md say is there: variables, alerts, metrics, files, commands."""

import re
from pathlib import Path

import pytest
import yaml
from support.paths import ROOT

from fashion_mnist.training.config import ServeConfig

OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
SCALING = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
VARIABLE = re.compile(r"`?FASHION_MNIST_([A-Z_]+)")
FIELDS = {name.upper() for name in ServeConfig.model_fields}


def test_the_table_of_variables_is_that_of_the_code_and_there_once() -> None:
    rows = [line for line in README.splitlines() if line.startswith("| `FASHION_MNIST_")]
    named = [name for row in rows for name in VARIABLE.findall(row.split("|")[1])]
    assert sorted(named) == sorted(FIELDS)
    assert "(../README.md#settings)" in OPERATIONS
    assert "\n### Settings\n" in README
    assert "| `FASHION_MNIST_" not in OPERATIONS


@pytest.mark.parametrize(
    "path", sorted([*ROOT.glob("deploy/**/*.y*ml"), *ROOT.glob("docs/*.md")]), ids=lambda p: p.name
)
def test_no_variable_is_misspelled_or_gone(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert set(VARIABLE.findall(text)) <= FIELDS | {"DATA"}


def test_every_alert_is_explained_under_its_name() -> None:
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text(encoding="utf-8"))
    alerts = [rule["alert"] for group in rules["groups"] for rule in group["rules"]]
    assert re.findall(r"^### (\w+)$", OPERATIONS, re.MULTILINE) == alerts


def test_links_and_make_targets_exist() -> None:
    for text in (OPERATIONS, SCALING):
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
            assert (ROOT / "docs" / target).exists(), target
        for path in re.findall(r"`((?:deploy|docs)/[\w./-]+)`", text):
            assert (ROOT / path).exists(), path
        for target in re.findall(r"`make ([a-z-]+)", text):
            assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target


@pytest.mark.parametrize(
    "topic",
    [
        "Build",
        "Run",
        "Configure",
        "Upgrade",
        "Roll back",
        "Watch",
        "Alerts",
        "Drain",
        "Clean up",
        "Not tried",
    ],
)
def test_every_topic_has_its_section(topic: str) -> None:
    assert f"\n## {topic}\n" in OPERATIONS
