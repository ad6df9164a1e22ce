"""Clients generated from the running service's /docs.json: openapi-python-client and openapi-typescript."""

import json
import shutil
import subprocess
import venv
from pathlib import Path

import httpx
import pytest
from support.paths import BOOT
from support.servers import Server

pytestmark = pytest.mark.slow

PYTHON_TRIAL = """
import base64, sys
from pathlib import Path
from generated import Client
from generated.api.model import model
from generated.api.predict import predict
from generated.models import Batch, Error, Files, Form, Images, Model, Prediction
from generated.types import File

client, boot = Client(sys.argv[1]), Path(sys.argv[2])
text = base64.b64encode(boot.read_bytes()).decode()
served = model.sync(client=client)
assert isinstance(served, Model) and served.limits.images > 1, served
assert served.classes[9] == "Ankle boot" and served.metrics.accuracy > 0.9

def ask(body, **query):
    return predict.sync(client=client, body=body, **query)

for body in (
    Images(image=text),
    File(boot.open("rb")),
    Files([File(boot.open("rb"), "boot.png", "image/png")]),
):
    answer = ask(body, top=2)
    assert isinstance(answer, Prediction), (body, answer)
    assert (answer.prediction, answer.in_distribution) == ("Ankle boot", True)
    assert len(answer.probabilities.additional_properties) == 2
for body in (Images(pixels=[0] * 784), Images(pixels=[[0] * 28] * 28), Form(str([0] * 784))):
    assert isinstance(ask(body), Prediction), body
batch = ask(Images(image=[text, text]))
assert isinstance(batch, Batch) and [p.class_id for p in batch.predictions] == [9, 9]
error = ask(Images(pixels=[0] * 783))
assert isinstance(error, Error) and error.code == "wrong_pixel_count", error
"""

TYPESCRIPT_TRIAL = """
import type { components, paths } from "./api";
type Model = components["schemas"]["Model"];
type Body = paths["/predict"]["post"]["requestBody"]["content"]["application/json"];
type Answer = paths["/predict"]["post"]["responses"][200]["content"]["application/json"];
export const one: Body = { image: "data:image/png;base64,AAAA" };
export const many: Body = { image: ["AAAA", "BBBB"] };
export const numbers: Body = { pixels: [[0, 13], [255, 0]] };
export const side = (model: Model): number => model.input_shape[0] + (model.metrics?.accuracy ?? 0);
export const name = (answer: Answer): string =>
  "predictions" in answer ? answer.predictions[0].prediction : answer.prediction;
"""


def install(command: list[str], folder: Path) -> None:
    """Run a package manager; skip the test if it cannot get the package."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"{command[-1]} cannot be installed here: {done.stderr.strip()[-200:]}")


def run(command: list[str | Path], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def document(client: httpx.Client, tmp_path: Path) -> Path:
    path = tmp_path / "docs.json"
    path.write_bytes(client.get("/docs.json").content)
    return path


def test_a_generated_python_client_works(service: Server, document: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    programs = tmp_path / "venv" / "bin"
    install([str(programs / "pip"), "install", "--quiet", "openapi-python-client"], tmp_path)
    options = ["--meta", "none", "--output-path", "generated"]
    run([programs / "openapi-python-client", "generate", "--path", document, *options], tmp_path)
    run([programs / "python", "-c", PYTHON_TRIAL, service.url, BOOT], tmp_path)


def test_generated_typescript_types_describe_the_service(document: Path, tmp_path: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    (tmp_path / "package.json").write_text(json.dumps({"private": True}))
    install(["npm", "install", "--silent", "typescript@5", "openapi-typescript"], tmp_path)
    programs = tmp_path / "node_modules" / ".bin"
    run([programs / "openapi-typescript", document, "-o", "api.d.ts"], tmp_path)
    (tmp_path / "trial.ts").write_text(TYPESCRIPT_TRIAL)
    run([programs / "tsc", "--strict", "--noEmit", "trial.ts"], tmp_path)
