"""Settings of the service, read from environment variables."""

import socket
from typing import Any, Final, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from fashion_mnist.cpu import available_cpus
from fashion_mnist.errors import ConfigError

MAX_DEFAULT_WORKERS: Final = 16
"""Cap on the default worker count; each worker takes 200 MB."""


class ServeConfig(BaseSettings):
    """Settings of the service. The field `batch_size` is the variable FASHION_MNIST_BATCH_SIZE."""

    model_config = SettingsConfigDict(env_prefix="FASHION_MNIST_", frozen=True, extra="ignore")

    model: str | None = Field(
        None, description="a tag, a folder or `bundled` (default: latest in the store, else `bundled`)"
    )
    host: str = Field("0.0.0.0", description="address to listen on")  # noqa: S104 - BentoML's default
    port: int = Field(3000, ge=1, le=65535, description="port to listen on")
    workers: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="worker processes, each with its own copy of the model (default: one per CPU, at most "
        f"{MAX_DEFAULT_WORKERS}; the image sets 1)",
    )
    threads: int | None = Field(
        None, ge=1, le=1024, description="inference threads per worker (default: its share of the CPUs)"
    )
    precision: Literal["auto", "int8", "bf16", "fp32"] = Field(
        "auto", description="inference precision; `auto` picks the fastest that model and CPU support"
    )
    batch_size: int = Field(
        16,
        ge=2,
        le=16,
        description="most requests in one batch: 2, 4, 8 or 16; other values are rounded down",
    )
    max_latency_ms: int = Field(
        10_000, ge=1, description="a request that waits longer in the queue is answered 503"
    )
    max_in_flight: int = Field(1024, ge=1, description="requests in flight per worker; more are answered 503")
    max_body_bytes: int = Field(33_554_432, ge=1, description="largest request body")
    max_buffered_bytes: int = Field(
        268_435_456,
        ge=1,
        description="total size of the bodies over 8 KB that a worker holds at once, at least "
        "max_body_bytes; more are answered 503",
    )
    max_images: int = Field(10_000, ge=1, description="most images in one request")
    max_pixels: int = Field(40_000_000, ge=1, le=178_956_970, description="width times height of one picture")
    body_timeout_s: float = Field(20.0, gt=0, le=3600, description="seconds for a request body to arrive")
    cors_origins: str = Field("", description="origins that browsers may call from, comma-separated, or `*`")
    access_log: bool = Field(False, description="log every request")

    @field_validator("host")
    @classmethod
    def _check_host(cls, host: str) -> str:
        try:
            socket.getaddrinfo(host, None)
        except (OSError, UnicodeError) as error:
            raise ValueError(
                f"not an address ({error}); use an address of this machine, such as 127.0.0.1"
            ) from error
        return host

    @property
    def worker_count(self) -> int:
        """Worker processes: as configured, else one per CPU up to MAX_DEFAULT_WORKERS."""
        return self.workers or min(available_cpus(), MAX_DEFAULT_WORKERS)

    @property
    def threads_a_worker(self) -> int:
        """Inference threads per worker."""
        return self.threads or max(1, available_cpus() // self.worker_count)

    @property
    def origins(self) -> list[str]:
        """Origins that browsers may call from; empty if CORS is off."""
        return [origin.strip() for origin in self.cors_origins.split(",") if origin.strip()]

    def bentoml_settings(self) -> dict[str, Any]:
        """Return the arguments of `@bentoml.service`. The gate does CORS and the access log, not BentoML."""
        return {
            "workers": self.worker_count,
            "http": {"host": self.host, "port": self.port},
            "logging": {"access": {"enabled": False}},
        }


def read_serve_config() -> ServeConfig:
    """Read the settings from the environment. Raises ConfigError, which names the variable."""
    try:
        return ServeConfig()
    except ValidationError as error:
        problem = error.errors()[0]
        name = f"FASHION_MNIST_{str(problem['loc'][0]).upper()}"
        raise ConfigError(f"{name}={str(problem['input'])[:200]}: {problem['msg']}") from error
