"""The service does what its OpenAPI document says: schemathesis derives valid and invalid requests from it.

All its checks are on: valid requests succeed, invalid ones are refused, every status, content type, header
and body is documented, other methods and missing keys are refused, and nothing fails.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.commands import run
from support.paths import BIN, ROOT
from support.servers import Server, StartService

SETTINGS = """
[checks.negative_data_rejection]  # the default does not know 413, and admits 404, 405, 429 and all of 5xx
expected-statuses = ["400", "401", "413", "415", "422"]
[checks.positive_data_acceptance]
expected-statuses = ["200"]
"""


@pytest.fixture(scope="module")
def secured(
    start_service: StartService, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, str]]:
    """Run a service with a key. Few images fit a request, so that schemathesis reaches that limit too."""
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    code, key, errors = run("keys", "add", "tests", "--role", "read", "--file", path)
    assert code == 0, errors
    limits = {"FASHION_MNIST_MAX_IMAGES": "2", "FASHION_MNIST_WORKERS": "1"}
    with start_service(FASHION_MNIST_API_KEYS_FILE=str(path), **limits) as server:
        yield server, key.strip()


@pytest.mark.parametrize("examples", [pytest.param(50, marks=pytest.mark.slow)])
def test_the_service_does_what_its_document_says(
    secured: tuple[Server, str], examples: int, tmp_path: Path
) -> None:
    server, key = secured
    (tmp_path / "schemathesis.toml").write_text(SETTINGS, encoding="utf-8")
    done = subprocess.run(
        [
            *(BIN / "schemathesis", "run", f"{server.url}/docs.json", "--checks", "all", "--no-color"),
            *("--header", f"Authorization: Bearer {key}", "--continue-on-failure", "--seed", "0"),
            *("--max-examples", str(examples)),
        ],
        cwd=tmp_path,
        env={**os.environ, "SCHEMATHESIS_HOOKS": "support.schema_bodies", "PYTHONPATH": str(ROOT / "tests")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "7 selected / 7 total" in done.stdout
    assert "Traceback" not in server.log
