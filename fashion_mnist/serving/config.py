"""Settings of the service: environment variables."""

import socket
from typing import Any, Final, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from fashion_mnist.cpu import available_cpus
from fashion_mnist.errors import ConfigError

MAX_DEFAULT_WORKERS: Final = 16
"""Cap on the default worker count; each worker takes 200 MB."""


class ServeConfig(BaseSettings):
    """The service. Each field is a variable: `batch_size` is FASHION_MNIST_BATCH_SIZE."""

    model_config = SettingsConfigDict(env_prefix="FASHION_MNIST_", frozen=True, extra="ignore")

    model: str | None = Field(
        None, description="tag, folder or `bundled` (default: latest in the store, else bundled)"
    )
    host: str = Field("0.0.0.0", description="address to listen on")  # noqa: S104 - as BentoML
    port: int = Field(3000, ge=1, le=65535, description="port to listen on")
    workers: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="processes, each with its own copy of the model (default: one a processor; the image "
        "sets 1)",
    )
    threads: int | None = Field(
        None, ge=1, le=1024, description="inference threads a worker (default: its share of the processors)"
    )
    precision: Literal["auto", "int8", "bf16", "fp32"] = Field(
        "auto", description="of inference: auto takes the fastest that model and processor have"
    )
    batch_size: int = Field(
        16,
        ge=2,
        le=16,
        description="requests that one batch may join: 2, 4, 8 or 16; others are rounded down",
    )
    max_latency_ms: int = Field(
        10_000, ge=1, description="a request that has waited longer in the queue is answered 503"
    )
    max_in_flight: int = Field(
        1024, ge=1, description="requests a worker holds at once; more are answered 503"
    )
    max_body_bytes: int = Field(33_554_432, ge=1, description="largest body")
    max_buffered_bytes: int = Field(
        268_435_456,
        ge=1,
        description="bodies over 8 KB that a worker holds at once, together, at least max_body_bytes; more "
        "are answered 503",
    )
    max_images: int = Field(10_000, ge=1, description="images in one request")
    max_pixels: int = Field(40_000_000, ge=1, le=178_956_970, description="width times height of one picture")
    body_timeout_s: float = Field(20.0, gt=0, le=3600, description="time for a body to arrive")
    cors_origins: str = Field(
        "", description="origins that browsers may call from, with commas between them, or `*`"
    )
    access_log: bool = Field(False, description="log each request")

    @field_validator("host")
    @classmethod
    def _check_host(cls, host: str) -> str:
        try:
            socket.getaddrinfo(host, None)
        except (OSError, UnicodeError) as error:
            raise ValueError(f"no address ({error}); give one of this machine, as 127.0.0.1") from error
        return host

    @property
    def worker_count(self) -> int:
        """Processes: as many as asked for, or one a processor."""
        return self.workers or min(available_cpus(), MAX_DEFAULT_WORKERS)

    @property
    def threads_a_worker(self) -> int:
        """Inference threads of each worker."""
        return self.threads or max(1, available_cpus() // self.worker_count)

    @property
    def origins(self) -> list[str]:
        """Origins that browsers may call from; empty without CORS."""
        return [origin.strip() for origin in self.cors_origins.split(",") if origin.strip()]

    def bentoml_settings(self) -> dict[str, Any]:
        """Return what `@bentoml.service` is told. CORS and the access log are the gate's, not BentoML's."""
        return {
            "workers": self.worker_count,
            "http": {"host": self.host, "port": self.port},
            "logging": {"access": {"enabled": False}},
        }


def read_serve_config() -> ServeConfig:
    """Read the environment. Raises ConfigError that names the variable."""
    try:
        return ServeConfig()
    except ValidationError as error:
        problem = error.errors()[0]
        name = f"FASHION_MNIST_{str(problem['loc'][0]).upper()}"
        raise ConfigError(f"{name}={str(problem['input'])[:200]}: {problem['msg']}") from error
