"""What docs/security.md says of TLS in front, pinned actions, audits and ruff's security rules."""

import io
import os
import re
import shutil
import socket
import ssl
import subprocess
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import psutil
import pytest
import trustme
from PIL import Image
from support.paths import BOOT, ROOT
from support.requests import assert_error
from support.servers import Server, StartService, free_port

PICTURE = BOOT.read_bytes()
PNG = {"Content-Type": "image/png"}
FORGED = {"X-Forwarded-For": "203.0.113.9"}
OTHER = "127.0.0.2"
"""A client's address on the loopback network that is not a trusted proxy."""
PROXIES = ("nginx", "caddy")


@pytest.fixture(scope="module")
def behind(start_service: StartService) -> Iterator[Server]:
    with start_service(FASHION_MNIST_ACCESS_LOG="true", FASHION_MNIST_WORKERS="1") as server:
        yield server


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@dataclass(frozen=True)
class Proxy:
    """A proxy that runs in front of the service."""

    name: str
    port: int
    process: psutil.Process


def write_config(name: str, folder: Path, port: int, server: Server) -> Path:
    """Write a proxy's file of deploy/ with the ports and folders of this test; return its path."""
    file = ROOT / "deploy" / ("nginx.conf" if name == "nginx" else "Caddyfile")
    changes = {"127.0.0.1:3000": urlsplit(server.url).netloc}
    if name == "nginx":
        own = f"access_log off; client_body_temp_path {folder}/bodies; proxy_temp_path {folder}/answers;"
        changes |= {
            "http {\n": f"http {{ {own}\n",
            "443": f"127.0.0.1:{port}",
            "/etc/fashion-mnist": str(folder),
        }
    else:
        own = f"bind 127.0.0.1\n\ttls {folder}/certificate.pem {folder}/key.pem"
        changes["example.com {"] = f"https://localhost:{port} {{\n\t{own}"
    text = file.read_text(encoding="utf-8")
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    (folder / file.name).write_text(text, encoding="utf-8")
    return folder / file.name


def commands(name: str, config: Path) -> tuple[list[str], list[str]]:
    """Return the command that checks a proxy's file, and the one that runs the proxy."""
    if name == "caddy":
        options = ["--config", str(config), "--adapter", "caddyfile"]
        return ["caddy", "validate", *options], ["caddy", "run", *options]
    user = "user root;" if os.getuid() == 0 else ""  # pytest's folders are closed to nginx's own user
    nginx = ["nginx", "-p", str(config.parent), "-e", "stderr", "-c", str(config)]
    settings = f"pid {config.parent}/pid; {user} daemon off;"
    return [*nginx, "-t", "-g", settings], [*nginx, "-g", settings]


@contextmanager
def run_proxy(name: str, folder: Path, server: Server, authority: trustme.CA) -> Iterator[Proxy]:
    """Check a proxy's file in deploy/, and run the proxy by it; stop it at the end."""
    issued = authority.issue_cert("localhost")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    (folder / "certificate.pem").write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    port = free_port()
    check, command = commands(name, write_config(name, folder, port, server))
    environment = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    checked = subprocess.run(check, env=environment, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        _wait_for_port(process, port, folder / "log")
        yield Proxy(name, port, psutil.Process(process.pid))
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait_for_port(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError(log.read_text(encoding="utf-8"))


@pytest.fixture(scope="module", params=PROXIES)
def proxy(
    request: pytest.FixtureRequest,
    behind: Server,
    authority: trustme.CA,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Proxy]:
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed: apt-get install {request.param}")
    folder = tmp_path_factory.mktemp(request.param)
    with run_proxy(request.param, folder, behind, authority) as process:
        yield process


@pytest.fixture
def https(proxy: Proxy, authority: trustme.CA) -> Iterator[httpx.Client]:
    """A client of the proxy whose address the service does not trust."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    transport = httpx.HTTPTransport(verify=context, local_address=OTHER)
    base = f"https://localhost:{proxy.port}"
    with httpx.Client(base_url=base, transport=transport, timeout=30) as client:
        yield client


def logged_client(server: Server, path: str) -> str:
    """Return the address that the access log has for a path, which only one request used."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if found := re.search(rf"\[access\] (\S+):\d+ \(method=GET,path={path}\)", server.log):
            return found[1]
        time.sleep(0.02)  # the log is written after 30 ms
    raise AssertionError(server.log)


def test_a_prediction_over_tls(https: httpx.Client, behind: Server) -> None:
    answer = https.post("/predict", content=PICTURE, headers=PNG)
    assert answer.status_code == 200, answer.text
    assert answer.json() == httpx.post(f"{behind.url}/predict", content=PICTURE, headers=PNG).json()


def test_connections_to_the_service_are_kept(https: httpx.Client, proxy: Proxy, behind: Server) -> None:
    for _ in range(5):
        assert https.post("/predict", content=PICTURE, headers=PNG).status_code == 200
    port = urlsplit(behind.url).port
    open_ones = [
        connection
        for process in (proxy.process, *proxy.process.children(recursive=True))
        for connection in process.net_connections("tcp")
        if connection.raddr and connection.raddr.port == port and connection.status == psutil.CONN_ESTABLISHED
    ]
    assert len(open_ones) == 1


def test_a_client_cannot_choose_its_address(https: httpx.Client, proxy: Proxy, behind: Server) -> None:
    path = f"/forged-{proxy.name}"
    https.get(path, headers=FORGED)
    assert logged_client(behind, path) == OTHER


def test_only_a_trusted_proxy_is_believed(behind: Server) -> None:
    with httpx.Client(transport=httpx.HTTPTransport(local_address=OTHER)) as client:
        client.get(f"{behind.url}/from-a-stranger", headers=FORGED)
    httpx.get(f"{behind.url}/from-a-proxy", headers=FORGED)
    assert logged_client(behind, "/from-a-stranger") == OTHER
    assert logged_client(behind, "/from-a-proxy") == FORGED["X-Forwarded-For"]


def test_large_bodies_reach_the_service(https: httpx.Client) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3200, 3200, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "png", compress_level=0)
    assert file.tell() > 30_000_000
    answer = https.post("/predict", content=file.getvalue(), headers=PNG)
    assert answer.status_code == 200, answer.text
    assert_error(https.post("/predict", content=bytes(33_554_433), headers=PNG), 413, "body_too_large")


def test_actions_are_pinned_by_commit() -> None:
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        for line in path.read_text(encoding="utf-8").splitlines():
            if "uses:" in line:
                assert re.search(r"uses: [\w/-]+@[0-9a-f]{40} # v?\d+\.\d+\.\d+$", line), line


def test_the_packages_of_the_service_are_audited() -> None:
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    assert re.search(r"pip-audit --strict -r requirements\.txt", workflow)  # else what is unknown passes
    required = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert all(re.match(r"[\w.-]+==[\w.]+(\s|$)", row) for row in required.splitlines() if row[0] != "#")


def test_security_rules_apply_everywhere() -> None:
    ruff = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]["lint"]
    assert "S" in ruff["select"]
    assert "S" not in [rule for rules in ruff["per-file-ignores"].values() for rule in rules]
