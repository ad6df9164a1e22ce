"""Fixtures for all tests: real data, a trained model, the real service. State lives in tmp."""

import atexit
import fcntl
import os
import pickle
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

# set before bentoml is imported, which reads its home only once
_HOME = tempfile.mkdtemp(prefix="fashion-mnist-tests-")
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
for _name in [
    name for name in os.environ if name.startswith(("FASHION_MNIST_", "BENTOML_", "MAKE", "MFLAGS"))
]:
    del os.environ[_name]
os.environ["BENTOML_HOME"] = _HOME
os.environ["BENTOML_DO_NOT_TRACK"] = "True"
if "PYTEST_XDIST_WORKER" in os.environ:  # parallel workers, each with all threads, would stall each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import bentoml  # noqa: E402
from support.paths import SAMPLE  # noqa: E402
from support.servers import Server, StartService, run_service  # noqa: E402

from fashion_mnist.data import sources  # noqa: E402
from fashion_mnist.data.dataset import Dataset  # noqa: E402
from fashion_mnist.inference.predictor import Predictor  # noqa: E402
from fashion_mnist.registry import store  # noqa: E402
from fashion_mnist.spec import ModelSpec  # noqa: E402
from fashion_mnist.training.config import TrainConfig  # noqa: E402
from fashion_mnist.training.pipeline import Trained, train  # noqa: E402


@pytest.fixture(scope="session")
def start_service(tmp_path_factory: pytest.TempPathFactory) -> StartService:
    """Return a function that starts a service with the given variables, by default on an empty store."""

    def start(target: str = ".", **options: Any) -> AbstractContextManager[Server]:
        return run_service(tmp_path_factory.mktemp("service"), target, **options)

    return start


@pytest.fixture(scope="session")
def service(start_service: StartService) -> Iterator[Server]:
    """Run one service with the bundled model and default settings for all tests."""
    with start_service() as server:
        yield server


@pytest.fixture
def client(service: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=30) as http:
        yield http


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Limit torch to one thread: threads wait for each other when other programs use the CPUs."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def sample() -> Dataset:
    return sources.load(str(SAMPLE))


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
    """Train a model on the sample for three epochs; the second value is its folder outside the store.

    One test process trains; the others wait, then import the model into their stores.
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
