"""BentoML's private names: each one in use is still as it was when it was read."""

import ast
import inspect
from pathlib import Path

import bentoml
import bentoml.serving
import pytest
from support.paths import ROOT

from fashion_mnist import bentoml_internals
from fashion_mnist.bentoml_internals import (
    BentoMLContainer,
    IORootModel,
    RunnerTrafficMetricsMiddleware,
    Service,
    ServiceAppFactory,
    server_context,
)


def parameters(function: object) -> list[str]:
    return list(inspect.signature(function).parameters)  # type: ignore[arg-type]


def test_the_version_is_the_one_whose_source_was_read() -> None:
    assert bentoml.__version__ == "1.4.39"


@pytest.mark.parametrize("name", bentoml_internals.HOMES)
def test_every_name_still_exists(name: str) -> None:
    assert getattr(bentoml_internals, name) is not None


def test_an_unlisted_name_is_not_found() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Anything'"):
        _ = bentoml_internals.Anything


def test_only_bentoml_internals_imports_private_names() -> None:
    private = ("_bentoml_impl", "_bentoml_sdk", "bentoml._internal", "bentoml.serving")
    paths = [ROOT / "service.py", ROOT / "train.py", *(ROOT / "fashion_mnist").rglob("*.py")]
    users = set()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if any(name.startswith(private) for name in names):
                users.add(path)
    assert users == {Path(bentoml_internals.__file__)}


def test_the_service_and_its_factory_are_unchanged() -> None:
    assert parameters(Service.to_asgi) == ["self", "is_main"]
    assert parameters(Service.inject_config) == ["self"]
    assert "model_json_schema" in dir(IORootModel)
    assert parameters(ServiceAppFactory.create_instance) == ["self", "app"]
    assert isinstance(ServiceAppFactory.routes, property)
    assert isinstance(ServiceAppFactory.middlewares, property)
    source = inspect.getsource(ServiceAppFactory)
    assert "_service_instance" in inspect.getsource(ServiceAppFactory.create_instance)
    assert "self.openapi_spec_view" in inspect.getsource(ServiceAppFactory.__call__)
    for name in ("self.enable_metrics", "self.service", "def adaptive_batch_size_hist"):
        assert name in source
    assert "self.timeout" in inspect.getsource(ServiceAppFactory.__mro__[1])


def test_the_request_metrics_are_unchanged() -> None:
    made = RunnerTrafficMetricsMiddleware(app=None, namespace="n", skip_paths=["/livez"])  # type: ignore[arg-type]
    assert (made.namespace, made.skip_paths, made._is_setup) == ("n", ["/livez"], False)
    setup = inspect.getsource(RunnerTrafficMetricsMiddleware._setup)
    for name in ("request_duration", "request_total", "request_in_progress", "last_request_timestamp"):
        assert f"self.metrics_{name} = " in setup
    for label in ("endpoint", "service_name", "service_version", "http_response_code", "runner_name"):
        assert f'"{label}"' in setup


def test_the_container_and_the_context_are_unchanged() -> None:
    assert Path(BentoMLContainer.model_store_dir.get()).name == "models"
    assert callable(BentoMLContainer.metrics_client.get().Counter)
    assert BentoMLContainer.tracing.exporter_type.get() is None
    for name in ("worker_index", "bento_name", "bento_version", "service_name"):
        assert hasattr(server_context, name)


def test_dead_workers_are_replaced_in_images_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENTOML_CONTAINERIZED", "true")
    monkeypatch.setattr(bentoml.serving, "running_inside_container", lambda: True)
    assert "respawn=not running_inside_container()" in inspect.getsource(bentoml.serving.create_watcher)
    bentoml_internals.replace_dead_workers_in_images()
    assert bentoml.serving.running_inside_container() is False
