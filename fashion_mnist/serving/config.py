"""Settings of the service, read from environment variables."""

import difflib
import os
import re
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import AliasChoices, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from fashion_mnist.cpu import available_cpus
from fashion_mnist.errors import ConfigError
from fashion_mnist.serving.admission.client_address import TrustedProxies
from fashion_mnist.serving.admission.rates import read_rate

MAX_DEFAULT_WORKERS: Final = 16
"""Cap on the default worker count; each worker takes 210 MB."""
PREFIX: Final = "FASHION_MNIST_"
ELSEWHERE: Final = ("DATA",)
"""Variables with our prefix that other parts read."""
ORIGIN: Final = re.compile(r"([a-z][a-z0-9+.-]*)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?/?")
"""What a browser sends as Origin, in lower case and with the slash that people add."""
DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


class ServeConfig(BaseSettings):
    """Settings of the service. The field `batch_size` is the variable FASHION_MNIST_BATCH_SIZE."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

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
    refuse: float = Field(
        0.01,
        ge=0.001,
        le=0.05,
        description="share of pictures like the training images that may count as out-of-distribution",
    )
    batch_size: int = Field(16, description="most requests in one batch: 2, 4, 8 or 16")
    max_latency_ms: int = Field(
        10_000, ge=1, description="a request that waits longer in the queue is answered 503"
    )
    max_in_flight: int = Field(
        4096,
        ge=1,
        description="requests in flight per worker, if they can be answered in 0.75 s; more are answered 503",
    )
    max_body_bytes: int = Field(33_554_432, ge=1, description="largest request body")
    max_buffered_bytes: int = Field(
        134_217_728,
        ge=1,
        description="total size of the bodies over 8 KB that a worker holds at once, at least "
        "max_body_bytes; more are answered 503",
    )
    max_images: int = Field(10_000, ge=1, description="most images in one request")
    max_pixels: int = Field(40_000_000, ge=1, le=178_956_970, description="width times height of one picture")
    max_decode_bytes: int = Field(
        402_653_184, ge=1, description="memory for decoding pictures, in each worker"
    )
    max_decode_s: float = Field(
        6.0, gt=0, description="estimated CPU seconds to decode the pictures of one request"
    )
    body_timeout_s: float = Field(20.0, gt=0, le=3600, description="seconds for a request body to arrive")
    keep_alive_s: int = Field(
        75, ge=1, le=3600, description="seconds that an idle connection stays open; longer than a proxy's"
    )
    drain_s: float = Field(
        0.0,
        ge=0,
        le=3600,
        description="seconds that a service told to stop goes on serving, while /readyz answers 503",
    )
    cors_origins: str = Field("", description="origins that browsers may call from, comma-separated, or `*`")
    access_log: bool | Literal["errors"] | float = Field(
        False, description="requests to log: true, false, `errors`, or a share of them such as 0.01"
    )
    log_format: Literal["text", "json"] = Field("text", description="form of the log")
    api_keys_file: Path | None = Field(
        None, description="file of API keys, from `fashion-mnist keys` (default: none, every path is open)"
    )
    require_auth: bool = Field(False, description="refuse to start without API keys")
    rate_limit: str = Field(
        "",
        description="images per key, or client address without one: 100/s, 600/min or 5000/h (default: none)",
    )
    forwarded_allow_ips: str = Field(
        "127.0.0.1,::1",
        validation_alias=AliasChoices(f"{PREFIX}FORWARDED_ALLOW_IPS", "FORWARDED_ALLOW_IPS"),
        description="proxies whose X-Forwarded-For is believed: addresses, networks, or `*`",
    )

    @model_validator(mode="before")
    @classmethod
    def _ignore_blanks(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Strip whitespace, such as the carriage return of a Windows .env file; a blank value is unset."""
        stripped = {name: v.strip() if isinstance(v, str) else v for name, v in values.items()}
        return {name: value for name, value in stripped.items() if value != ""}

    @field_validator("batch_size")
    @classmethod
    def _check_batch_size(cls, size: int) -> int:
        if size not in (2, 4, 8, 16):
            raise ValueError("expected 2, 4, 8 or 16: the network is compiled for these sizes")
        return size

    @field_validator("access_log", mode="wrap")
    @classmethod
    def _check_access_log(cls, value: Any, read: Callable[[Any], Any]) -> Any:
        try:
            which = read(value)
        except ValidationError:
            which = None
        if which is None or (which != "errors" and not 0 <= which <= 1):
            raise ValueError("expected true, false, errors, or a share of the requests such as 0.01")
        return which

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, text: str) -> str:
        return ",".join(_as_sent(origin.strip()) for origin in text.split(",") if origin.strip())

    @field_validator("rate_limit")
    @classmethod
    def _check_rate(cls, text: str) -> str:
        if text:
            read_rate(text)
        return text

    @field_validator("forwarded_allow_ips")
    @classmethod
    def _check_proxies(cls, text: str) -> str:
        TrustedProxies(text)
        return text

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
        """Origins that browsers may call from, as they send them; empty if CORS is off."""
        return self.cors_origins.split(",") if self.cors_origins else []

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
        name = PREFIX + str(problem["loc"][0]).upper().removeprefix(PREFIX)
        message = problem["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{name}={str(problem['input'])[:200]}: {message}") from error


def unknown_variables(names: Iterable[str] = os.environ) -> list[str]:
    """Return a sentence for each variable that has our prefix but is no setting."""
    known = [name.upper() for name in (*ServeConfig.model_fields, *ELSEWHERE)]
    sentences = []
    for name in sorted(names):
        setting = name.upper().removeprefix(PREFIX)
        if setting == name.upper() or setting in known:
            continue
        nearest = difflib.get_close_matches(setting, known, 1)
        hint = f"did you mean {PREFIX}{nearest[0]}?" if nearest else "docs/configuration.md lists them"
        sentences.append(f"{name} is not a setting and is ignored; {hint}")
    return sentences


def _as_sent(origin: str) -> str:
    """Return an origin as browsers send it: in lower case, without a slash or default port."""
    if origin in ("*", "null"):  # browsers send `null` for files and sandboxed frames
        return origin
    match = ORIGIN.fullmatch(origin.lower())
    if match is None:
        raise ValueError(
            f"{origin[:200]!r} is not an origin; expected scheme, host and perhaps port, without a path, "
            "such as https://example.com or http://localhost:5173"
        )
    scheme, host, port = match.groups()
    return f"{scheme}://{host}{'' if port in (None, DEFAULT_PORTS.get(scheme)) else port}"
