"""Shared by all tests: real data, a really trained model, the real service. State lives in tmp."""

import atexit
import fcntl
import os
import pickle
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
import torch
from numpy.typing import NDArray

ROOT = Path(__file__).parent.parent
SAMPLE = ROOT / "tests" / "data" / "fashion-mnist-sample"
"""2,000 training and 1,000 test images of Fashion-MNIST."""
BOOT = ROOT / "examples" / "ankle-boot.png"

# before bentoml is imported, which reads its home once
_HOME = tempfile.mkdtemp(prefix="fashion-mnist-tests-")
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
for _name in [name for name in os.environ if name.startswith(("FASHION_MNIST_", "BENTOML_"))]:
    del os.environ[_name]
os.environ["BENTOML_HOME"] = _HOME
os.environ["BENTOML_DO_NOT_TRACK"] = "True"
if "PYTEST_XDIST_WORKER" in os.environ:  # several at once: with all threads each they would stand still
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import bentoml  # noqa: E402

from fashion_mnist import data, store  # noqa: E402
from fashion_mnist.config import TrainConfig  # noqa: E402
from fashion_mnist.data import Dataset  # noqa: E402
from fashion_mnist.pipeline import Trained, train  # noqa: E402
from fashion_mnist.predictor import Predictor  # noqa: E402
from fashion_mnist.spec import ModelSpec  # noqa: E402


@dataclass(frozen=True)
class Server:
    """A running service. log: what it printed so far."""

    url: str
    process: subprocess.Popen[bytes]
    log_path: Path

    @property
    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8")

    @property
    def workers(self) -> list[psutil.Process]:
        """The serving processes that live."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        living = [p for p in children if p.status() != psutil.STATUS_ZOMBIE]
        return [p for p in living if any("_bentoml_impl" in part for part in p.cmdline())]


StartService = Callable[..., AbstractContextManager[Server]]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def _run_service(
    folder: Path,
    target: str = ".",
    *,
    arguments: Sequence[str] = (),
    verify: ssl.SSLContext | None = None,
    **environment: str,
) -> Iterator[Server]:
    """`bentoml serve TARGET ARGUMENTS` on a free port until it is ready; stopped at the end.

    verify: where it serves TLS, what trusts it, under the name localhost.
    """
    port = free_port()
    home = folder / "bentoml-home"
    home.mkdir(parents=True, exist_ok=True)
    log_path = folder / f"serve-{port}.log"
    command = [str(Path(sys.executable).parent / "bentoml"), "serve", target, "--port", str(port), *arguments]
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                "BENTOML_HOME": str(home),
                "BENTOML_HOST": "127.0.0.1",
                **environment,
            },
        )
    url = f"http://127.0.0.1:{port}" if verify is None else f"https://localhost:{port}"
    server = Server(url, process, log_path)
    try:
        _wait_until_ready(server, verify)
        yield server
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait_until_ready(server: Server, verify: ssl.SSLContext | None, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            break
        try:
            if httpx.get(f"{server.url}/readyz", verify=verify or True).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError(f"the service did not become ready:\n{server.log}")


@pytest.fixture(scope="session")
def start_service(tmp_path_factory: pytest.TempPathFactory) -> StartService:
    """Start a service with the variables given as keywords, on an empty store unless they say where."""

    def start(target: str = ".", **options: Any) -> AbstractContextManager[Server]:
        return _run_service(tmp_path_factory.mktemp("service"), target, **options)

    return start


@pytest.fixture(scope="session")
def service(start_service: StartService) -> Iterator[Server]:
    """The service with the bundled model and default settings, shared by all tests."""
    with start_service() as server:
        yield server


@pytest.fixture
def client(service: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=30) as http:
        yield http


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Threads that wait for each other are slow where another program runs too."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def sample() -> Dataset:
    return data.load(str(SAMPLE))


@pytest.fixture(scope="session")
def test_images(sample: Dataset) -> NDArray[np.uint8]:
    """1,000 test images of Fashion-MNIST: uint8 (1000, 28, 28)."""
    assert sample.test is not None
    return sample.test.images


@pytest.fixture(scope="session")
def spec(sample: Dataset) -> ModelSpec:
    return sample.train.spec


@pytest.fixture(scope="session")
def bundled() -> Predictor:
    return Predictor(store.BUNDLED_FOLDER)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trained, Path]:
    """A model trained on the sample for three epochs; the second value is its folder outside the store.

    Once for all processes of the tests: the others wait, and import it into their stores.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder = shared / "trained" / "model"
    exported, result = shared / "trained.bentomodel", shared / "trained.pickle"
    with (shared / "trained.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if result.exists():
            found = pickle.loads(result.read_bytes())
            assert isinstance(found, Trained), f"the training failed in another process: {found}"
            bentoml.models.import_model(str(exported))
            return found, folder
        config = TrainConfig(
            data=str(SAMPLE), epochs=3, output=folder, checkpoint=shared / "trained-checkpoint.pt"
        )
        try:
            trained = train(config, command="tests")
            bentoml.models.export_model(trained.tag, str(exported))
        except Exception as error:
            result.write_bytes(pickle.dumps(repr(error)))
            raise
        result.write_bytes(pickle.dumps(trained))
        return trained, folder
