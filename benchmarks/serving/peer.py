"""A server in the benchmark: how to start it, call it, and spread it over the CPUs."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.serving.forms import Form

ROOT: Final = Path(__file__).parent.parent.parent
SERVERS: Final = Path(__file__).parent / "servers"
CPUS: Final = len(os.sched_getaffinity(0))
SHALLOW: Final = (32,)
DEEP: Final = (1, 8, 32, 128)
LOCAL: Final = "127.0.0.1"


@dataclass(frozen=True)
class Variant:
    """One way to spread a server over the CPUs.

    workers: processes that run the model; 0 if the server's main process does. threads: inference threads
    of each; 0 for the server's defaults. wait_ms: how long a request may wait for a batch of `batch` to
    fill.
    """

    workers: int
    threads: int
    wait_ms: int = 0
    batch: int = 64

    def __str__(self) -> str:
        if not self.threads:
            return "its defaults"
        where = _count(self.workers, "worker") if self.workers else "no worker processes"
        wait = f", {self.wait_ms} ms for a batch of {self.batch}" if self.wait_ms else ""
        return f"{where}, {_count(self.threads, 'thread')} each{wait}"


DEFAULTS: Final = Variant(0, 0)
ONE_BIG: Final = Variant(1, CPUS)
MANY_SMALL: Final = Variant(CPUS, 1)
ONE_SMALL: Final = Variant(1, 1)
BATCHING: Final = tuple(
    Variant(*spread, wait_ms, batch)
    for spread in ((1, CPUS), (CPUS, 1))
    for wait_ms, batch in ((1, 64), (5, 16))
)
"""For servers that wait a fixed time for a batch to fill; their documentation says to find the time by trial.
Tried are a short wait, and a longer one for a batch that 32 connections can fill."""


@dataclass(frozen=True)
class Peer:
    """One server.

    command, environment, ready_url: may contain {python}, {bin}, {folder}, {state}, {port},
    {port2}…{port5}, {workers}, {threads}, {wait_s}, {batch}.
    forms: kind (`json`, `png`, `npy`) -> form. connections: counts at which JSON is measured. variants:
    tried before the rounds; the fastest is measured. preparation: command to run after the installation.
    ready_text: text that the 200 answer of ready_url contains once the server is ready.
    like: name of the peer whose server and environment it shares. packages: the report shows their versions.
    is_server: False if it does not speak HTTP. java: True if it needs Java.
    """

    name: str
    title: str
    command: tuple[str, ...]
    like: str = ""
    network: str = "OpenVINO bf16"
    forms: Mapping[str, Form] = field(default_factory=dict)
    ready_url: str = "http://127.0.0.1:{port}/healthz"
    ready_text: str = ""
    variants: tuple[Variant, ...] = (ONE_BIG, MANY_SMALL)
    connections: tuple[int, ...] = SHALLOW
    environment: Mapping[str, str] = field(default_factory=dict)
    preparation: tuple[str, ...] = ()
    is_server: bool = True
    java: bool = False
    packages: tuple[str, ...] = ()
    note: str = ""

    @property
    def module(self) -> str:
        """Return the name of its folder in servers/."""
        return (self.like or self.name).replace("-", "_")

    @property
    def folder(self) -> Path:
        """Return the folder with its server and requirements.txt."""
        return SERVERS / self.module


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
