"""The private side of BentoML that http_service.py uses, and BentoML's own client against it."""

import inspect
import subprocess
import sys

import bentoml
from _bentoml_impl.server.app import ServiceAppFactory
from _bentoml_sdk import Service
from bentoml._internal.marshal.dispatcher import CorkDispatcher, Optimizer
from conftest import BOOT, Server

from fashion_mnist.http_service import LEARNING_DISPATCHES


def test_the_hooks_have_the_form_that_they_were_read_in() -> None:
    def parameters(function: object) -> list[str]:
        return list(inspect.signature(function).parameters)  # type: ignore[arg-type]

    assert bentoml.__version__.startswith("1.4.")
    assert parameters(Service.to_asgi) == ["self", "is_main"]
    assert parameters(ServiceAppFactory.api_endpoint) == ["self", "name", "request"]
    assert parameters(ServiceAppFactory.batch_infer) == [
        "self",
        "name",
        "input_args",
        "input_kwargs",
    ]
    assert parameters(ServiceAppFactory.create_instance) == ["self", "app"]
    assert isinstance(ServiceAppFactory.routes, property)
    assert "_service_instance" in inspect.getsource(ServiceAppFactory.create_instance)
    assert "self.openapi_spec_view" in inspect.getsource(ServiceAppFactory.__call__)


def test_the_dispatcher_learns_in_as_many_batches_as_the_warm_up_sends() -> None:
    source = inspect.getsource(CorkDispatcher.controller)
    assert source.count("train_optimizer(") == 4
    assert "N_SKIPPED_SAMPLE + 6, 1" in source
    assert Optimizer.N_SKIPPED_SAMPLE + 6 + 1 + 1 + 1 < LEARNING_DISPATCHES


def test_bentomls_client_sends_pixels_files_and_pictures(service: Server) -> None:
    # in a process of its own, as users run it: BentoML's client leaves files open for the collector
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
