"""deploy/: Prometheus scrapes the running service with the project's configuration; every query is run."""

import json
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from support.paths import ROOT
from support.servers import Server, StartService, free_port

PROMETHEUS = ROOT / "deploy" / "prometheus"
GRAFANA = ROOT / "deploy" / "grafana"
DASHBOARD = json.loads((GRAFANA / "dashboard.json").read_text(encoding="utf-8"))
ALERTS = {
    rule["alert"]: rule
    for group in yaml.safe_load((PROMETHEUS / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
}
QUERIES = [(panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel["targets"]]
KEY = "a-key-for-metrics"

pytestmark = pytest.mark.skipif(
    shutil.which("promtool") is None or shutil.which("prometheus") is None,
    reason="PROMETHEUS IS NOT INSTALLED: alerts and dashboard are unchecked; apt-get install prometheus",
)


def promtool(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *arguments], cwd=folder, capture_output=True, text=True, check=False)


def configuration(folder: Path, target: str, change: Callable[[str], str] = str) -> Path:
    """Copy the project's configuration, changed only in its target and to scrape once a second."""
    shutil.copytree(PROMETHEUS, folder, dirs_exist_ok=True)
    path = folder / "prometheus.yml"
    text = change(path.read_text(encoding="utf-8"))
    assert text.count('targets: ["service:3000"]') == 1
    text = text.replace("service:3000", target).replace("_interval: 15s", "_interval: 1s")
    path.write_text(text, encoding="utf-8")
    return path


@contextmanager
def run_prometheus(path: Path) -> Iterator[httpx.Client]:
    """Run Prometheus with this configuration; yields a client of its API."""
    port = free_port()
    options = [f"--config.file={path}", f"--storage.tsdb.path={path.parent / 'data'}"]
    options.append(f"--web.listen-address=127.0.0.1:{port}")
    with (path.parent / "log").open("wb") as log:
        process = subprocess.Popen(["prometheus", *options], stdout=log, stderr=subprocess.STDOUT)
    try:
        url = f"http://127.0.0.1:{port}"
        until(lambda: httpx.get(f"{url}/-/ready").status_code == 200, "a Prometheus that is ready")
        with httpx.Client(base_url=f"{url}/api/v1", timeout=10) as api:
            yield api
    finally:
        process.terminate()
        process.wait(timeout=30)


def until(condition: Callable[[], bool], what: str, timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"not within {timeout_s:g} s: {what}")


def ask(api: httpx.Client, query: str) -> list[dict[str, Any]]:
    answer = api.get("/query", params={"query": query}).json()
    assert answer["status"] == "success", answer
    result: list[dict[str, Any]] = answer["data"]["result"]
    return result


def value(api: httpx.Client, query: str) -> float:
    return sum(float(row["value"][1]) for row in ask(api, query))


@pytest.fixture(scope="module")
def watched(start_service: StartService) -> Iterator[Server]:
    with start_service(FASHION_MNIST_WORKERS="2") as server:
        yield server


@pytest.fixture(scope="module")
def api(
    watched: Server, test_images: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """A Prometheus that has scraped the service before and after good and bad requests."""
    path = configuration(tmp_path_factory.mktemp("prometheus"), watched.url.removeprefix("http://"))
    with run_prometheus(path) as api:
        until(lambda: value(api, "count(fashion_mnist_errors_total)") > 0, "a first scrape")
        for image in test_images[:100]:
            httpx.post(f"{watched.url}/predict", json={"pixels": image.tolist()})
        for _ in range(10):
            httpx.post(f"{watched.url}/predict", json={"pixels": [1, 2]})
        refused = 'bentoml_service_request_total{http_response_code="422"}'
        until(lambda: value(api, "fashion_mnist_predictions_total") == 100, "the good requests")
        until(lambda: bool(ask(api, f"rate({refused}[1m])")), "the bad requests, twice")
        yield api


def test_the_configuration_is_valid() -> None:
    done = promtool("check", "config", "prometheus.yml", folder=PROMETHEUS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(ALERTS)} rules found" in done.stdout


def test_each_alert_fires_and_stays_silent_as_it_should() -> None:
    done = promtool("test", "rules", "alerts.test.yml", folder=PROMETHEUS)
    assert done.returncode == 0, done.stdout + done.stderr
    checks = [
        check
        for test in yaml.safe_load((PROMETHEUS / "alerts.test.yml").read_text(encoding="utf-8"))["tests"]
        for check in test["alert_rule_test"]
    ]
    for name in ALERTS:
        fires = {bool(check["exp_alerts"]) for check in checks if check["alertname"] == name}
        assert fires == {True, False}, name


def test_changed_thresholds_fail_the_tests_of_every_alert(tmp_path: Path) -> None:
    shutil.copytree(PROMETHEUS, tmp_path, dirs_exist_ok=True)
    rules = yaml.safe_load((tmp_path / "alerts.yml").read_text(encoding="utf-8"))
    for rule in rules["groups"][0]["rules"]:
        rule["expr"] = re.sub(r"> [\d.]+|== 0", "> 10000", rule["expr"])
    (tmp_path / "alerts.yml").write_text(yaml.safe_dump(rules), encoding="utf-8")
    done = promtool("test", "rules", "alerts.test.yml", folder=tmp_path)
    assert done.returncode != 0
    assert [name for name in ALERTS if name not in done.stdout + done.stderr] == []


@pytest.mark.parametrize(("title", "query"), QUERIES)
def test_each_query_of_the_dashboard_returns_data(api: httpx.Client, title: str, query: str) -> None:
    rows = ask(api, query.replace("$__rate_interval", "1m"))
    assert rows, f"{title}: nothing for {query}"
    assert all(float(row["value"][1]) >= 0 for row in rows), rows  # and not NaN


def test_the_rule_of_the_adapter_returns_each_instance_once(api: httpx.Client) -> None:
    path = ROOT / "deploy" / "kubernetes" / "components" / "saturation" / "adapter.yaml"
    (rule,) = yaml.safe_load(path.read_text(encoding="utf-8"))["rules"]["custom"]
    query = rule["metricsQuery"].replace("<<.GroupBy>>", "instance")
    (row,) = ask(api, query.replace("<<.LabelMatchers>>", 'job="fashion_mnist"'))
    assert 0 < float(row["value"][1]) < 1


def test_the_figures_match_the_traffic(api: httpx.Client, watched: Server) -> None:
    assert value(api, 'fashion_mnist_errors_total{code="wrong_pixel_count"}') == 10
    assert value(api, 'bentoml_service_request_total{http_response_code="200",endpoint="/predict"}') == 100
    (info,) = ask(api, "fashion_mnist_model_info")
    assert info["metric"]["model"] == httpx.get(f"{watched.url}/model").json()["model"] == "bundled"


def test_prometheus_evaluates_every_alert_and_none_fires(api: httpx.Client) -> None:
    def rules() -> list[dict[str, Any]]:
        groups = api.get("/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    until(lambda: all(rule["health"] == "ok" for rule in rules()), "an evaluation of all rules")
    assert {rule["name"] for rule in rules()} == set(ALERTS)
    assert not [rule["name"] for rule in rules() if rule["state"] == "firing"]


@pytest.mark.parametrize("name", [name for name in ALERTS if name != "FashionMnistDown"])
def test_each_alert_compares_metrics_that_the_service_has(api: httpx.Client, name: str) -> None:
    """Without its thresholds each expression returns data, so no name or label is misspelled."""
    query = re.sub(r"\s(>|==) [\d.]+", "", ALERTS[name]["expr"])
    assert ask(api, query), query


@pytest.mark.slow
def test_metrics_behind_a_key_are_scraped_with_it(watched: Server, tmp_path: Path) -> None:
    """Scrape through a proxy that requires a key, with the commented part of prometheus.yml enabled."""

    class Guard(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.headers["Authorization"] == f"Bearer {KEY}"
            body = httpx.get(f"{watched.url}{self.path}").content if known else b""
            self.send_response(200 if known else 401)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    def with_key(text: str) -> str:
        changed = text.replace("# authorization:", "authorization:")
        return changed.replace("#   credentials_file:", "  credentials_file:")

    with ThreadingHTTPServer(("127.0.0.1", 0), Guard) as guard:
        threading.Thread(target=guard.serve_forever, daemon=True).start()
        target = f"127.0.0.1:{guard.server_address[1]}"
        try:
            path = configuration(tmp_path / "with", target, with_key)
            (path.parent / "metrics-key").write_text(KEY, encoding="utf-8")
            with run_prometheus(path) as api:
                until(lambda: value(api, "fashion_mnist_model_info") == 1, "a scrape with the key")
            with run_prometheus(configuration(tmp_path / "without", target)) as api:
                until(lambda: bool(ask(api, ALERTS["FashionMnistDown"]["expr"])), "a refused scrape")
        finally:
            guard.shutdown()


def test_the_dashboard_refers_to_the_data_source_that_grafana_gets() -> None:
    (source,) = yaml.safe_load((GRAFANA / "datasource.yaml").read_text(encoding="utf-8"))["datasources"]
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]} == {source["uid"]}
    assert DASHBOARD["schemaVersion"] >= 39
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
    interval = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8"))["global"]
    assert source["jsonData"]["timeInterval"] == interval["scrape_interval"]
