"""The image, built by `bentoml containerize` and run by Docker, hardened: `make image-test`.

CONTAINERIZE_ARGS: options for `bentoml containerize`, such as `--opt network=host`.
"""

import json
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import httpx
import pytest
from support.bentos import build
from support.paths import BIN, BOOT, ROOT
from support.servers import StartService, free_port

pytestmark = pytest.mark.image

IMAGE = "fashion_mnist:image-test"
MAX_BYTES = 650_000_000
HARDENED = (
    "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
    "--memory", "1g", "--pids-limit", "256",
)  # fmt: skip


def docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"docker {shlex.join(arguments)}: {done.stderr}"
    return done.stdout.strip()


@pytest.fixture(scope="module")
def bento(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def image(bento: Path) -> str:
    target = f"{bento.parent.name}:{bento.name}"
    options = shlex.split(os.environ.get("CONTAINERIZE_ARGS", ""))
    done = subprocess.run(
        [BIN / "bentoml", "containerize", target, "-t", IMAGE, *options],
        cwd=ROOT,
        env={**os.environ, "BENTOML_HOME": str(bento.parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    docker("image", "inspect", IMAGE)  # BentoML reports success even if the build failed
    return IMAGE


@dataclass(frozen=True)
class Container:
    """A running container. start_s: from `docker run` to ready."""

    id: str
    client: httpx.Client
    start_s: float

    def run(self, script: str) -> str:
        """Run a bash script inside; return what it prints."""
        return docker("exec", self.id, "bash", "-c", script)

    def inspect(self, template: str) -> str:
        return docker("inspect", "-f", template, self.id)


@contextmanager
def started(image: str, *options: str) -> Iterator[Container]:
    """Run a container on a free port and wait until it is ready; remove it at the end."""
    start = time.monotonic()
    identity = docker("run", "-d", "-p", "127.0.0.1::3000", *HARDENED, *options, image)
    try:
        port = docker("port", identity, "3000/tcp").rsplit(":", 1)[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            container = Container(identity, client, 0)
            wait_until_ready(container, 60)
            yield Container(identity, client, time.monotonic() - start)
    finally:
        docker("rm", "-f", identity)


def wait_until_ready(container: Container, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            if container.client.get("/readyz", timeout=1).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError(f"not ready after {timeout_s} s:\n{docker('logs', container.id)}")


def wait_until_healthy(container: Container) -> None:
    deadline = time.monotonic() + 40
    while container.inspect("{{.State.Health.Status}}") != "healthy":
        assert time.monotonic() < deadline, container.inspect("{{json .State.Health}}")
        time.sleep(0.5)


@pytest.fixture(scope="module")
def container(image: str) -> Iterator[Container]:
    with started(image) as running:
        yield running


def predict(container: Container, content: bytes, content_type: str) -> httpx.Response:
    return container.client.post("/predict", content=content, headers={"Content-Type": content_type})


def test_the_image_is_small_and_has_no_torch_and_no_compiler(image: str, container: Container) -> None:
    assert int(docker("image", "inspect", "-f", "{{.Size}}", image)) <= MAX_BYTES
    assert container.run("command -v gcc git curl || true") == ""
    assert (
        container.run("ls /app/.venv/lib/python3.11/site-packages | grep -ixE 'torch|pandas' || true") == ""
    )


def test_a_picture_a_json_body_and_a_bad_body_are_answered(container: Container) -> None:
    answer = predict(container, BOOT.read_bytes(), "image/png")
    assert (answer.status_code, answer.json()["prediction"]) == (200, "Ankle boot")
    answer = predict(container, (ROOT / "examples" / "trouser.json").read_bytes(), "application/json")
    assert (answer.status_code, answer.json()["prediction"]) == (200, "Trouser")
    answer = predict(container, b'{"pixels": [1, 2]}', "application/json")
    assert (answer.status_code, answer.json()["code"]) == (422, "wrong_pixel_count")
    assert container.client.get("/model").json()["model"] == "bundled"


def test_it_runs_as_an_unprivileged_user_and_writes_only_to_the_tmpfs(container: Container) -> None:
    assert container.run("id -u") == "1034"
    assert container.run("grep CapEff /proc/self/status").split()[1].strip("0") == ""
    assert container.run("touch /home/bentoml/x 2>/dev/null || echo refused") == "refused"
    assert docker("diff", container.id) == ""
    assert "Traceback" not in docker("logs", container.id)


def test_docker_reports_it_healthy(container: Container) -> None:
    wait_until_healthy(container)


def test_the_health_check_fails_if_nothing_answers(container: Container) -> None:
    script = "/home/bentoml/bento/src/deploy/healthcheck.sh"
    assert container.run(f"bash {script} && echo well") == "well"
    assert container.run(f"PORT=3999 bash {script} 2>/dev/null || echo ill") == "ill"


def test_a_worker_that_dies_is_replaced(image: str) -> None:
    with started(image) as running:
        find = "grep -lsa '[w]orker.service' /proc/[0-9]*/cmdline | cut -d/ -f3"
        (worker,) = running.run(find).split()
        running.run(f"kill -9 {worker}")
        wait_until_ready(running, 30)
        assert predict(running, BOOT.read_bytes(), "image/png").status_code == 200
        assert running.run(find).split() != [worker]


def test_sigterm_stops_it_promptly(image: str) -> None:
    with started(image) as running:
        start = time.monotonic()
        docker("stop", "--time", "30", running.id)
        assert time.monotonic() - start < 10
        assert running.inspect("{{.State.ExitCode}}") == "0"


def test_a_model_from_a_mounted_store_is_served(image: str, tmp_path: Path) -> None:
    code = "from fashion_mnist.registry import store; print(store.save(store.BUNDLED_FOLDER))"
    environment = {**os.environ, "BENTOML_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [BIN / "python", "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    version = done.stdout.strip().split(":")[1]
    models = tmp_path / "home" / "models"
    subprocess.run(["chmod", "-R", "a+rX", models], check=True)  # the container runs as another user
    chosen = f"FASHION_MNIST_MODEL=/models/fashion_mnist/{version}"
    with started(image, "-v", f"{models}:/models:ro", "-e", chosen) as running:
        assert running.client.get("/model").json()["model"] == version
        assert predict(running, BOOT.read_bytes(), "image/png").json()["model"] == version


def test_the_compose_service_runs_and_becomes_healthy(image: str) -> None:
    clients = [c for c in (["docker", "compose"], ["docker-compose"]) if shutil.which(c[0])]
    compose = next((c for c in clients if subprocess.call([*c, "version"]) == 0), None)
    if compose is None:
        pytest.skip("COMPOSE IS NOT INSTALLED: deploy/compose.yaml was not tested")
    command = [*compose, "-p", "image-test", "-f", str(ROOT / "deploy" / "compose.yaml")]
    port = free_port()
    environment = {**os.environ, "IMAGE": image, "PORT": str(port)}
    try:
        subprocess.run([*command, "up", "-d", "--no-deps", "service"], env=environment, check=True)
        identity = docker("ps", "-q", "--filter", "label=com.docker.compose.project=image-test")
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            running = Container(identity, client, 0)
            wait_until_ready(running, 60)
            assert predict(running, BOOT.read_bytes(), "image/png").json()["prediction"] == "Ankle boot"
            wait_until_healthy(running)
    finally:
        subprocess.run([*command, "down"], env=environment, check=False)


def test_it_takes_at_most_twice_as_long_to_start_as_outside(
    image: str, bento: Path, start_service: StartService
) -> None:
    inside, outside = [], []
    for _ in range(3):
        with started(image) as running:
            inside.append(running.start_s)
        start = time.monotonic()
        home = str(bento.parents[2])
        with start_service(f"{bento.parent.name}:{bento.name}", BENTOML_HOME=home, FASHION_MNIST_WORKERS="1"):
            outside.append(time.monotonic() - start)
    print(json.dumps({"start_s": {"image": inside, "outside": outside}}))
    assert median(inside) <= 2 * median(outside)
