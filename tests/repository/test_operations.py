"""Everything that the pages in docs/ name exists: variables, alerts, files, links, modules, commands."""

import re
from pathlib import Path

import pytest
import yaml
from support.paths import ROOT

from fashion_mnist.serving.config import ServeConfig

OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md")])
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
VARIABLE = re.compile(r"`?FASHION_MNIST_([A-Z_]+)")
FIELDS = {name.upper() for name in ServeConfig.model_fields}


def test_the_table_of_variables_matches_the_code_and_appears_once() -> None:
    rows = [line for line in CONFIGURATION.splitlines() if line.startswith("| `FASHION_MNIST_")]
    named = [name for row in rows for name in VARIABLE.findall(row.split("|")[1])]
    assert sorted(named) == sorted(FIELDS)
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        assert path.name == "configuration.md" or "\n| `FASHION_MNIST_" not in text
    assert "(configuration.md)" in OPERATIONS
    assert "(docs/configuration.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted([*ROOT.glob("deploy/**/*.y*ml"), *PAGES]), ids=lambda p: p.name)
def test_no_variable_is_misspelled_or_removed(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert set(VARIABLE.findall(text)) <= FIELDS | {"DATA"}


def test_every_alert_is_explained_under_its_name() -> None:
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text(encoding="utf-8"))
    alerts = [rule["alert"] for group in rules["groups"] for rule in group["rules"]]
    assert re.findall(r"^### (\w+)$", OPERATIONS, re.MULTILINE) == alerts


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_paths_and_make_targets_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target, section in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", text):
        if target.startswith("https:"):
            continue
        linked = (page.parent / target) if target else page
        assert linked.exists(), target
        if section:
            assert section in sections(linked), f"{target}#{section}"
    for path in re.findall(r"`((?:configs|deploy|docs|fashion_mnist|tests)/[\w./-]+)`", text):
        assert (ROOT / path).exists(), path
    for target in re.findall(r"`make ([a-z-]+)", text):
        assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target


def sections(page: Path) -> set[str]:
    """Return the anchors of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_the_architecture_lists_every_package_and_module() -> None:
    rows = re.findall(r"^\| `(fashion_mnist/[\w/]*)` \| (.*) \|$", ARCHITECTURE, re.MULTILINE)
    listed = {folder.rstrip("/"): set(re.findall(r"`([a-z_]+)`", cell)) for folder, cell in rows}
    del listed["fashion_mnist/weights"]
    found = {
        str(init.parent.relative_to(ROOT)): {p.stem for p in init.parent.glob("*.py")} - {"__init__"}
        for init in (ROOT / "fashion_mnist").rglob("*/__init__.py")
    }
    assert listed == found
    for path in (ROOT / "fashion_mnist").glob("*.py"):
        assert f"| `fashion_mnist/{path.name}` |" in ARCHITECTURE or path.name == "__init__.py"


def test_the_files_named_in_the_architecture_exist() -> None:
    """Shortened names, such as `serving/app.py`, are checked too."""
    files = [*ROOT.glob("*.*"), *(ROOT / "docs").glob("*")]
    files += [path for folder in ("fashion_mnist", "scripts", "tests") for path in (ROOT / folder).rglob("*")]
    for name in re.findall(r"`([\w/.-]+\.(?:py|md|html))`", ARCHITECTURE):
        assert any(str(path).endswith(f"/{name}") for path in files), name


@pytest.mark.parametrize(
    "topic",
    [
        "Build",
        "Run",
        "Configure",
        "Upgrade",
        "Roll back",
        "Monitor",
        "Alerts",
        "Stopping",
        "Workers that hang",
        "Clean up",
        "Not tested",
    ],
)
def test_every_topic_has_its_section(topic: str) -> None:
    assert f"\n## {topic}\n" in OPERATIONS
