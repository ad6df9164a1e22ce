"""What a server in the benchmark is: how it is started, asked, and spread over the processors."""

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
    """One way to spread a server over the processors.

    workers: processes that run the model; 0 where the server's own process does. threads: for
    inference, of each; 0 for a server's own defaults. wait_ms: how long a request may wait for a batch
    of `batch` to fill.
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
"""For servers that wait a fixed time for a batch to fill, which their documentation says to find by trial:
a short wait, or a longer one for a batch that 32 connections fill."""


@dataclass(frozen=True)
class Peer:
    """One server.

    command, environment, ready_url: with {python}, {bin}, {folder}, {state}, {port}, {port2}…{port5},
    {workers}, {threads}, {wait_s}, {batch}.
    forms: by kind: `json`, `png`, `npy`. connections: at which JSON is measured. variants: what is tried
    before the rounds, of which the fastest is measured. preparation: a command after the installation.
    ready_text: what the answer of ready_url holds when the server is ready, besides being a 200.
    like: the peer whose server and environment it shares. packages: whose versions the report shows.
    is_server: False for what has no HTTP. java: whether it needs one.
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
        """Name of its folder in servers/."""
        return (self.like or self.name).replace("-", "_")

    @property
    def folder(self) -> Path:
        """Its server and its requirements.txt."""
        return SERVERS / self.module


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
