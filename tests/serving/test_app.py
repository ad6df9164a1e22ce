"""BentoML's metrics and its own client, against the service."""

import subprocess
import sys

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.metrics import settled
from support.paths import BOOT
from support.servers import Server

PNG = {"Content-Type": "image/png"}


def metric(client: httpx.Client, name: str, **labels: str) -> float:
    """Return the sum of a metric's samples with these labels in /metrics."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    return sum(s.value for s in samples if labels.items() <= s.labels.items())


@pytest.fixture(autouse=True)
def _written(client: httpx.Client) -> None:
    """Wait until both workers have written what earlier tests asked them."""
    settled(lambda: metric(client, "bentoml_service_request_total"))


def test_requests_are_counted_by_endpoint_and_status(client: httpx.Client) -> None:
    def count(code: str) -> float:
        return metric(client, "bentoml_service_request_total", endpoint="/predict", http_response_code=code)

    before = count("200"), count("422")
    assert client.post("/predict", content=BOOT.read_bytes(), headers=PNG).status_code == 200
    assert (
        client.post("/predict", content=b"{}", headers={"Content-Type": "application/json"}).status_code
        == 422
    )
    assert (count("200"), count("422")) == (before[0] + 1, before[1] + 1)
    assert metric(client, "bentoml_service_request_duration_seconds_count", endpoint="/predict") > 0
    assert metric(client, "bentoml_service_adaptive_batch_size_count", method_name="predict") > 0
    assert metric(client, "bentoml_service_request_in_progress") == 0


def test_invented_paths_share_one_counter(client: httpx.Client) -> None:
    before = metric(client, "bentoml_service_request_total", endpoint="other")
    for number in range(3):
        assert client.get(f"/invented-{number}").status_code == 404
    assert metric(client, "bentoml_service_request_total", endpoint="other") == before + 3
    assert "invented" not in client.get("/metrics").text


def test_bentomls_client_sends_pixels_files_and_pictures(service: Server) -> None:
    # in a separate process, because BentoML's client leaves files open for the garbage collector
    code = f"""
import bentoml, numpy as np
from pathlib import Path
from PIL import Image
boot = Path({str(BOOT)!r})
with bentoml.SyncHTTPClient({service.url!r}) as client:
    print(client.predict(pixels=np.asarray(Image.open(boot)).reshape(-1).tolist())["prediction"])
    print(client.predict(boot)["prediction"])
    print(client.predict(image=[boot, boot])["predictions"][1]["prediction"])
    print(client.predict(Image.open(boot))["prediction"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["Ankle boot"] * 4, done.stderr
