"""The serving benchmark, on real servers for one second, and its arithmetic."""

import ast
import re
import shutil
import string
import sys
from dataclasses import replace
from importlib.metadata import packages_distributions
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.serving import environments, forms, load, measure, network, report, server, tables
from benchmarks.serving.check import build_reference, check_answers
from benchmarks.serving.errors import BenchmarkError
from benchmarks.serving.peer import ONE_SMALL, ROOT, Peer, Variant
from benchmarks.serving.peers import PEERS, choose
from benchmarks.serving.results import Load, Results, Visit
from fashion_mnist.inference.predictor import Predictor
from fashion_mnist.registry import model_folder, provenance

PYTHON = Path(sys.executable)
WRK = pytest.mark.skipif(
    shutil.which("wrk") is None,
    reason="wrk is NOT INSTALLED, so the benchmark is NOT TESTED: apt install wrk",
)


def peer(name: str) -> Peer:
    return next(peer for peer in PEERS if peer.name == name)


def loaded(requests_per_s: float, p50_ms: float = 1.0) -> Visit:
    figures = Load(
        requests=100, requests_per_s=requests_per_s, p50_ms=p50_ms, p95_ms=2, p99_ms=3, cpu_ms=0.5, errors=1
    )
    return Visit(ready_s=2.0, loads={"json@32": figures})


def plan_of(peers: list[Peer], predictor: Predictor, images: NDArray[np.uint8]) -> measure.Plan:
    """Plan one short round in this environment."""
    return measure.Plan(
        peers=peers,
        pythons={peer.name: PYTHON for peer in peers},
        images=images,
        reference=build_reference(predictor, images[:100]),
        rounds=1,
        seconds=1,
        trials=1,
        bulk_images=64,
        held_images=64,
    )


@pytest.fixture
def results() -> Results:
    """Three rounds; a peer failed in the last one."""
    return Results(
        date="2026-01-01",
        machine={"processor": "a processor", "cpus": 2, "system": "Linux"},
        settings={"seconds": 1},
        multiply_adds=52_000_000,
        missing={"torchserve": "no Java\nhere"},
        rounds=[
            {"ours": loaded(100), "echo": loaded(1000)},
            {"ours": loaded(50), "echo": loaded(1000)},
            {"ours": loaded(10)},
        ],
    )


def test_the_output_of_wrk_is_parsed() -> None:
    line = (
        'RESULT {"requests": 110, "duration_us": 2000000, "p50_us": 1500, "p95_us": 2500, "p99_us": 3500, '
        '"status_errors": 10, "socket_errors": 3, "timeouts": 1}'
    )
    traffic = load.read_wrk(f"Running 2s test\n  1 threads\nRequests/sec: 55\n{line}\n")
    assert (traffic.requests, traffic.errors, traffic.elapsed_s) == (100, 14, 2.0)
    assert (traffic.p50_ms, traffic.p95_ms, traffic.p99_ms) == (1.5, 2.5, 3.5)


def test_wrk_without_a_result_is_an_error() -> None:
    with pytest.raises(BenchmarkError, match="no RESULT line"):
        load.read_wrk("Running 2s test\n")


def test_ratios_are_taken_within_rounds(results: Results) -> None:
    assert results.ratios("echo", "json@32", "requests_per_s") == [10, 20]
    assert results.ratios("ours", "json@32", "requests_per_s") == [1, 1, 1]
    assert results.ratios("echo", "png@32", "requests_per_s") == []
    assert results.ready_ratios("ours", "echo") == [1, 1]
    assert tables.show_ratios([20, 10, 12]) == "12 (10 to 20)"


def test_the_table_has_each_measured_peer_with_the_work_of_its_network(results: Results) -> None:
    lines = tables.write_load(results, "json@32").splitlines()
    assert lines[2] == "| this service | 52.0 M | 50 | 1 (1 to 1) | 1 | 2 | 3 | 0.5 | 3 |"
    assert lines[3] == "| Starlette echo | none | 1,000 | 15 (10 to 20) | 1 | 2 | 3 | 0.5 | 2 |"
    assert len(lines) == 4
    assert "**TorchServe** is missing: no Java here" in tables.write_missing(results)


def test_a_stopped_run_keeps_its_results(results: Results, tmp_path: Path) -> None:
    path = report.results_path(tmp_path)
    results.save(path)
    kept = Results.load(path)
    assert kept == results
    assert {p.name for p in report.write(kept, tmp_path)} == {p.name for p in tmp_path.iterdir()} - {
        path.name
    }
    page = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    assert "3 interleaved rounds" in page
    for picture in re.findall(r"\]\(([\w-]+\.png)\)", page):
        assert (tmp_path / picture).is_file()


def test_the_page_can_be_written_before_the_first_round(results: Results) -> None:
    page = report.write_page(results.model_copy(update={"rounds": []}))
    assert "Nothing was measured." in page
    names = string.Template(report.TEMPLATE.read_text(encoding="utf-8")).get_identifiers()
    assert {"json", "png", "bulk", "resources", "missing"} <= set(names)


def test_the_multiply_adds_are_those_of_the_network(bundled: Predictor) -> None:
    count = network.count_multiply_adds(bundled.folder / model_folder.ONNX, bundled.spec.shape)
    assert 51.5e6 < count < 52.5e6


@pytest.mark.parametrize("name", [peer.name for peer in PEERS])
def test_every_peer_has_its_server_and_pinned_versions(name: str, tmp_path: Path) -> None:
    folder = peer(name).folder
    wanted = (folder / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert wanted
    for line in wanted:
        assert re.match(r"[\w\[\]-]+==\S+|-r \S+requirements\.txt$", line), line
    launch = server.fill_in(peer(name), peer(name).variants[0], PYTHON, server.free_ports(5), tmp_path)
    assert not re.search(r"[{}]", " ".join([*launch.command, launch.ready_url]))


def imported_at_once(path: Path) -> set[str]:
    """Return the full names of what a file imports at module level, not within functions."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def file_of(module: str) -> Path:
    return ROOT / (module.replace(".", "/") + ".py")


@pytest.mark.parametrize("name", [peer.name for peer in PEERS])
def test_every_peer_installs_what_our_modules_import(name: str) -> None:
    folder = peer(name).folder
    files, seen = set(folder.glob("*.py")), set()
    packages = set()
    while files:
        file = files.pop()
        seen.add(file)
        for module in imported_at_once(file):
            if module.startswith(("fashion_mnist", "benchmarks")):
                files |= {file_of(module)} - seen if file_of(module).is_file() else set()
            elif file.is_relative_to(ROOT / "fashion_mnist"):
                packages.add(module.partition(".")[0])
    packages -= set(sys.stdlib_module_names)
    named = packages_distributions()
    wanted = environments._read_requirements(folder / "requirements.txt").lower()
    for package in packages:
        assert any(f"{dist}==".lower() in wanted for dist in named[package]), package


def test_an_unknown_peer_is_refused() -> None:
    assert [peer.name for peer in choose("echo,ours")] == ["ours", "echo"]
    with pytest.raises(ValueError, match="unknown peer 'flask'; choose from ours, "):
        choose("flask")


def test_the_error_for_a_server_that_ends_includes_its_log(tmp_path: Path) -> None:
    broken = replace(peer("echo"), command=("{python}", "-c", "raise SystemExit('there is no model')"))
    with (
        pytest.raises(BenchmarkError, match="echo ended; its log ends with:\nthere is no model"),
        server.start(broken, ONE_SMALL, PYTHON, tmp_path),
    ):
        pass


def test_a_failed_environment_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "ENVIRONMENTS", tmp_path)
    impossible = replace(peer("echo"), preparation=("{python}", "-c", "raise SystemExit('no disk')"))
    requirements = (impossible.folder / "requirements.txt").read_text(encoding="utf-8")
    (tmp_path / "echo" / "bin").mkdir(parents=True)
    (tmp_path / "echo" / "bin" / "python").symlink_to(PYTHON)
    (tmp_path / "echo" / environments.STAMP).write_text(requirements, encoding="utf-8")
    with pytest.raises(BenchmarkError, match="the environment of echo cannot be created: no disk"):
        environments.prepare(impossible)


def test_wrong_answers_are_refused(
    tmp_path: Path, bundled: Predictor, test_images: NDArray[np.uint8]
) -> None:
    reference = build_reference(bundled, test_images[:100])
    with server.start(peer("echo"), ONE_SMALL, PYTHON, tmp_path) as echo:
        check_answers(echo.url, forms.ECHO["json"], "json", reference)
        with pytest.raises(BenchmarkError, match="json, image 0: cannot be read"):
            check_answers(echo.url, forms.plain_forms()["json"], "json", reference)
        constant = forms.Form("/predict", forms.JSON, forms.write_json, lambda _: np.full((1, 10), 0.1))
        with pytest.raises(BenchmarkError, match="json, image 0: class 0, expected"):
            check_answers(echo.url, constant, "json", reference)
        with pytest.raises(BenchmarkError, match="status 405, expected 200"):
            check_answers(echo.url, replace(constant, path="/healthz"), "json", reference)


def test_a_peer_without_a_working_variant_is_missing(
    tmp_path: Path, bundled: Predictor, test_images: NDArray[np.uint8]
) -> None:
    command = ("{python}", "-c", "raise SystemExit('not with {workers}')")
    broken = replace(peer("echo"), command=command, variants=(Variant(1, 1), Variant(2, 1)))
    kept = Results(date="", machine={}, settings={}, multiply_adds=1)
    measure.run(plan_of([broken], bundled, test_images), kept, lambda _: None, lambda _: None)
    assert [problem.partition(":")[0] for problem in kept.problems] == [
        "trial of echo, 1 worker, 1 thread each",
        "trial of echo, 2 workers, 1 thread each",
    ]
    assert "not with 2" in kept.missing["echo"]
    assert kept.rounds == [{}]


@pytest.mark.slow
@WRK
def test_a_round_of_real_servers(tmp_path: Path, bundled: Predictor, test_images: NDArray[np.uint8]) -> None:
    peers = [replace(peer("ours"), connections=(32,)), peer("echo"), peer("in-process")]
    kept = Results(date="", machine=provenance.machine(), settings={}, multiply_adds=1)
    path = report.results_path(tmp_path)
    told: list[str] = []
    measure.run(plan_of(peers, bundled, test_images), kept, lambda now: now.save(path), told.append)
    assert not kept.problems
    assert not kept.missing
    (visits,) = Results.load(path).rounds
    assert set(visits) == {"ours", "echo", "in-process"}
    assert set(visits["ours"].loads) == {"json@32", "png@32", "npy@4"}
    for visit in visits.values():
        for one in visit.loads.values():
            assert one.errors == 0
            assert one.requests > 0
            assert 0 < one.p50_ms <= one.p95_ms <= one.p99_ms
            assert one.cpu_ms is not None
            assert one.cpu_ms > 0
    burst, held = visits["ours"].burst, visits["ours"].held
    assert burst is not None
    assert (burst.first_status, burst.requests, burst.errors) == (200, 512, 0)
    assert held is not None
    assert held.errors == 0
    assert 50e6 < held.worker_bytes < 500e6
    assert told[0] == "round 1 of 1: ours"
    assert report.write(kept, tmp_path)
