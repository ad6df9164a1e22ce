"""The page at /docs: it works offline, and asks nobody but the service."""

import shutil
import subprocess
from pathlib import Path

import httpx
import pytest
from support.servers import Server

from fashion_mnist.serving.endpoints import documentation


def test_the_front_page_leads_to_the_documentation(client: httpx.Client) -> None:
    answer = client.get("/")
    assert (answer.status_code, answer.headers["location"]) == (307, "docs")  # relative: behind a prefix too
    page = client.get("/", follow_redirects=True)
    assert "text/html" in page.headers["content-type"]
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http" not in page.text.replace("<!doctype html>", "")


@pytest.mark.parametrize("path", sorted(documentation.OPEN_PATHS - {"/"}))
def test_every_asset_is_served(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    kinds = {"css": "text/css", "js": "javascript", "png": "image/png", "/docs": "text/html"}
    assert answer.status_code == 200
    assert kinds[path.rpartition(".")[2]] in answer.headers["content-type"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "server" not in answer.headers


@pytest.mark.parametrize(
    "path", ["/static_content/index.html", "/docs/", "/docs/index.html", "/docs/..%2fserver.py", "/docs/x"]
)
def test_nothing_else_of_that_folder_is(client: httpx.Client, path: str) -> None:
    assert client.get(path).json()["code"] == "not_found"


def test_a_malformed_host_does_not_change_the_answer(client: httpx.Client) -> None:
    for host in ("a/predict?", "[", "x:99999", "evil.example#"):
        assert client.get("/docs", headers={"Host": host}).status_code in (200, 400)
        assert client.get("/nope", headers={"Host": host}).status_code in (404, 400)


def test_a_browser_without_a_network_shows_the_operations(service: Server, tmp_path: Path) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium: apt-get install chromium")
    log = tmp_path / "net.json"
    done = subprocess.run(
        [
            chromium,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            f"--user-data-dir={tmp_path / 'profile'}",
            f"--log-net-log={log}",
            "--virtual-time-budget=8000",
            "--dump-dom",
            f"{service.url}/docs",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert 'data-path="/predict"' in done.stdout
    assert "Content Security Policy" not in done.stderr
