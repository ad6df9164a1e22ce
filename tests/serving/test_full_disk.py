"""A service whose BENTOML_HOME is full, and later read-only."""

import subprocess
from collections.abc import Iterator

import httpx
import pytest
from support.disks import fill, small_disk
from support.paths import BOOT
from support.servers import Server, StartService, wait_for


@pytest.fixture(scope="module")
def full(start_service: StartService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a service whose home is full when it starts, and read-only since."""
    home = tmp_path_factory.mktemp("home")
    with small_disk(home, 1_000_000):
        fill(home)
        with start_service(BENTOML_HOME=str(home), FASHION_MNIST_WORKERS="1") as server:
            subprocess.run(["mount", "-o", "remount,ro", str(home)], check=True)
            yield server


def assert_serves(server: Server) -> None:
    for content, status in ((BOOT.read_bytes(), 200), (b"", 400), (b"\x89PNG", 400)):
        headers = {"content-type": "image/png"}
        assert httpx.post(f"{server.url}/predict", content=content, headers=headers).status_code == status
    metrics = httpx.get(f"{server.url}/metrics").text
    assert 'fashion_mnist_errors_total{code="broken_picture"} 2.0' in metrics
    assert 'http_response_code="400"' in metrics


def test_a_service_with_a_full_home_serves_and_counts(full: Server) -> None:
    assert_serves(full)
    assert "missing" not in full.log


@pytest.mark.slow
def test_a_worker_is_replaced_where_home_is_full_and_read_only(full: Server) -> None:
    before = httpx.get(f"{full.url}/metrics").text.count("fashion_mnist_errors_total")
    (worker,) = full.workers
    worker.kill()
    assert wait_for(lambda: full.log.count("initialized") == 2, 30)
    assert httpx.get(f"{full.url}/metrics").text.count("fashion_mnist_errors_total") == before
    predict = httpx.post(
        f"{full.url}/predict", content=BOOT.read_bytes(), headers={"content-type": "image/png"}
    )
    assert predict.status_code == 200
