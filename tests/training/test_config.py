"""Settings of the service, one environment variable each, and settings of a training."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from fashion_mnist.cpu import available_cpus
from fashion_mnist.errors import ConfigError
from fashion_mnist.serving.config import ServeConfig, read_serve_config
from fashion_mnist.training.config import TrainConfig


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("model", "fashion_mnist:latest", "fashion_mnist:latest"),
        ("host", "127.0.0.1", "127.0.0.1"),
        ("port", "8080", 8080),
        ("workers", "2", 2),
        ("threads", "1", 1),
        ("precision", "fp32", "fp32"),
        ("batch_size", "8", 8),
        ("max_latency_ms", "500", 500),
        ("max_in_flight", "8", 8),
        ("max_body_bytes", "1000", 1000),
        ("max_buffered_bytes", "1000", 1000),
        ("max_images", "5", 5),
        ("max_pixels", "784", 784),
        ("body_timeout_s", "0.5", 0.5),
        ("keep_alive_s", "620", 620),
        ("cors_origins", "https://a.example", "https://a.example"),
        ("access_log", "true", True),
        ("access_log", "errors", "errors"),
        ("access_log", "0.01", 0.01),
        ("log_format", "json", "json"),
    ],
)
def test_a_variable_sets_its_field_only(
    name: str, text: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read_serve_config()
    monkeypatch.setenv(f"FASHION_MNIST_{name.upper()}", text)
    assert read_serve_config() == before.model_copy(update={name: value})
    assert getattr(before, name) != value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("PORT", "70000"),
        ("PORT", "http"),
        ("WORKERS", "0"),
        ("THREADS", "-1"),
        ("THREADS", "100000"),
        ("WORKERS", "100000"),
        ("HOST", "no host!"),
        ("HOST", "a" * 300),
        ("HOST", "256.1.1.1"),
        ("BODY_TIMEOUT_S", "inf"),
        ("BODY_TIMEOUT_S", "nan"),
        ("PRECISION", "fp8"),
        ("BATCH_SIZE", "1.5"),
        ("BATCH_SIZE", "64"),
        ("KEEP_ALIVE_S", "0"),
        ("MAX_BODY_BYTES", "32 MB"),
        ("MAX_PIXELS", "178956971"),  # one above Pillow's own limit
        ("BODY_TIMEOUT_S", "0"),
        ("ACCESS_LOG", "maybe"),
        ("ACCESS_LOG", "1.5"),
        ("ACCESS_LOG", "-0.1"),
        ("ACCESS_LOG", "nan"),
        ("LOG_FORMAT", "xml"),
    ],
)
def test_a_bad_variable_is_named_with_its_value(
    name: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"FASHION_MNIST_{name}", text)
    with pytest.raises(ConfigError, match=f"^FASHION_MNIST_{name}={text[:200]}: "):
        read_serve_config()


def test_unrelated_variables_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = read_serve_config()
    for name in ("PORT", "WORKERS", "MODEL", "FASHION_MNIST_DATA", "FASHION_MNIST_UNKNOWN"):
        monkeypatch.setenv(name, "7")
    assert read_serve_config() == before


def test_workers_share_the_cpus() -> None:
    cpus = available_cpus()
    assert ServeConfig(workers=1).threads_a_worker == cpus
    assert ServeConfig(workers=2).threads_a_worker == max(1, cpus // 2)
    assert ServeConfig(workers=10 * cpus).threads_a_worker == 1
    assert ServeConfig(workers=2, threads=5).threads_a_worker == 5


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        ("", []),
        (" , ", []),
        ("*", ["*"]),
        ("https://a.example, http://localhost:5173,", ["https://a.example", "http://localhost:5173"]),
    ],
)
def test_cors_allows_only_the_given_origins(text: str, origins: list[str]) -> None:
    assert ServeConfig(cors_origins=text).origins == origins


def test_one_worker_for_each_cpu() -> None:
    cpus = available_cpus()
    assert ServeConfig().worker_count == min(16, cpus)
    assert ServeConfig().threads_a_worker == max(1, cpus // 16)
    assert ServeConfig(workers=1).threads_a_worker == cpus
    assert ServeConfig(workers=3).worker_count == 3


def test_bentoml_gets_address_and_workers_and_logs_no_requests_itself() -> None:
    settings = ServeConfig(host="::1", port=81, workers=3, access_log=True).bentoml_settings()
    assert settings["workers"] == 3
    assert (settings["http"]["host"], settings["http"]["port"]) == ("::1", 81)
    assert settings["logging"] == {"access": {"enabled": False}}


def test_the_shape_of_pictures_follows_size_and_color() -> None:
    assert TrainConfig().shape == (28, 28)
    assert TrainConfig(input_size=32, color=True).shape == (32, 32, 3)


def test_settings_of_a_training_are_frozen_and_unknown_ones_are_refused() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        TrainConfig().epochs = 3  # type: ignore[misc]
    with pytest.raises(ValidationError, match="Extra inputs"):
        TrainConfig.model_validate({"epoch": 3})
    assert TrainConfig(output=Path("a")).model_dump(mode="json")["output"] == "a"
