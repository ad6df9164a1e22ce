"""Who is measured: the service, the others, and the limits of stack and model."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.serving import forms
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
    inference, of each. wait_ms: how long a request may wait for a batch of `batch` to fill.
    """

    workers: int
    threads: int
    wait_ms: int = 0
    batch: int = 64

    def __str__(self) -> str:
        where = _count(self.workers, "worker") if self.workers else "no worker processes"
        wait = f", {self.wait_ms} ms for a batch of {self.batch}" if self.wait_ms else ""
        return f"{where}, {_count(self.threads, 'thread')} each{wait}"


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
    packages: whose versions the report shows.
    is_server: False for what has no HTTP. java: whether it needs one.
    """

    name: str
    title: str
    command: tuple[str, ...]
    network: str = "OpenVINO"
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
        return self.name.replace("-", "_")

    @property
    def folder(self) -> Path:
        """Its server and its requirements.txt."""
        return SERVERS / self.module


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _url(path: str) -> str:
    return f"http://{LOCAL}:{{port}}{path}"


def _uvicorn(module: str) -> tuple[str, ...]:
    app = f"benchmarks.serving.servers.{module}.server:app"
    options = ("--host", LOCAL, "--port", "{port}", "--workers", "{workers}", "--log-level", "warning")
    return ("{python}", "-m", "uvicorn", app, *options)


def _bentoml(target: str) -> tuple[str, ...]:
    return ("{python}", "-m", "bentoml", "serve", target, "--host", LOCAL, "--port", "{port}")


def _python(module: str) -> tuple[str, ...]:
    return ("{python}", "-m", f"benchmarks.serving.servers.{module}.server")


PEERS: Final = (
    Peer(
        name="ours",
        title="this service",
        command=_bentoml("service:FashionMnist"),
        forms={**forms.plain_forms(), **forms.NPY},
        ready_url=_url("/readyz"),
        variants=(ONE_BIG,),  # its defaults: it is not tuned for the benchmark
        connections=DEEP,
        environment={"FASHION_MNIST_MODEL": "bundled"},
        note="default settings",
        packages=("bentoml", "openvino", "uvicorn"),
    ),
    Peer(
        name="fastapi-eager",
        title="FastAPI, eager PyTorch",
        command=_uvicorn("fastapi_eager"),
        network="eager torch fp32",
        forms=forms.plain_forms(png_path="/predict/png"),
        variants=(ONE_SMALL, MANY_SMALL),
        connections=DEEP,
        environment={"OMP_NUM_THREADS": "{threads}"},
        note="a typed list of 784 integers; one image at a time",
        packages=("fastapi", "torch", "uvicorn"),
    ),
    Peer(
        name="fastapi-openvino",
        title="FastAPI, OpenVINO, tuned by hand",
        command=_uvicorn("fastapi_openvino"),
        forms={**forms.plain_forms(), **forms.NPY},
        variants=(ONE_SMALL, MANY_SMALL),
        connections=DEEP,
        note="orjson, async, raw bodies",
        packages=("fastapi", "openvino", "uvicorn"),
    ),
    Peer(
        name="litserve",
        title="LitServe",
        command=_python("litserve"),
        forms=forms.LIT,
        ready_url=_url("/health"),
        variants=BATCHING,
        note="PNG as base64 in JSON",
        packages=("litserve", "openvino"),
    ),
    Peer(
        name="ray-serve",
        title="Ray Serve",
        command=_python("ray_serve"),
        forms=forms.plain_forms(),
        ready_url=_url("/predict"),
        variants=BATCHING,
        environment={
            "RAY_SERVE_ENABLE_HA_PROXY": "1",  # both by its guide to high throughput
            "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
            "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",  # its 5 s end the start on a busy machine
            "RAY_USAGE_STATS_ENABLED": "0",
            "OMP_NUM_THREADS": "{threads}",
        },
        packages=("ray", "openvino"),
        note="its HAProxy in front, its high-throughput mode",
    ),
    Peer(
        name="mlserver",
        title="MLServer",
        command=("{bin}/mlserver", "start", "{folder}"),
        forms=forms.INFERENCE,
        ready_url=_url("/v2/models/fashion-mnist/ready"),
        variants=(Variant(0, CPUS, 1, 64), Variant(0, CPUS, 5, 16), *BATCHING),
        environment={
            "MLSERVER_HOST": LOCAL,
            "MLSERVER_HTTP_PORT": "{port}",
            "MLSERVER_GRPC_PORT": "{port2}",
            "MLSERVER_METRICS_PORT": "{port3}",
            "MLSERVER_METRICS_DIR": "{state}/mlserver-metrics",
            "MLSERVER_DEBUG": "false",
            "MLSERVER_PARALLEL_WORKERS": "{workers}",
            "MLSERVER_MODEL_MAX_BATCH_SIZE": "{batch}",
            "MLSERVER_MODEL_MAX_BATCH_TIME": "{wait_s}",
        },
        note="the Open Inference Protocol; PNG as base64 in it",
        packages=("mlserver", "openvino"),
    ),
    Peer(
        name="torchserve",
        title="TorchServe",
        command=_python("torchserve"),
        forms=forms.plain_forms("/predictions/fashion-mnist"),
        ready_url="http://127.0.0.1:{port2}/models/fashion-mnist",  # /ping answers before the model is there
        ready_text='"status": "READY"',
        variants=BATCHING,
        environment={"BENCH_ARCHIVE": "{bin}/../fashion-mnist.mar"},
        preparation=(
            *("{bin}/torch-model-archiver", "--model-name", "fashion-mnist", "--version", "1.0", "--force"),
            *("--handler", "{folder}/handler.py", "--export-path", "{bin}/.."),
        ),
        java=True,
        note="a custom handler",
        packages=("torchserve", "openvino"),
    ),
    Peer(
        name="bentoml-stock",
        title="BentoML as documented",
        command=_bentoml("benchmarks.serving.servers.bentoml_stock.server:FashionMnist"),
        forms=forms.BENTO,
        ready_url=_url("/readyz"),
        note="`batchable=True`, numpy in and out; PNG in a multipart form",
        packages=("bentoml", "openvino"),
    ),
    Peer(
        name="bentoml-hello",
        title="hello-world Bento",
        command=_bentoml("benchmarks.serving.servers.bentoml_hello.server:Hello"),
        network="none",
        ready_url=_url("/readyz"),
        variants=(ONE_SMALL,),
        note="only started",
        packages=("bentoml",),
    ),
    Peer(
        name="echo",
        title="Starlette echo",
        command=_uvicorn("echo"),
        network="none",
        forms=forms.ECHO,
        variants=(ONE_SMALL,),
        note="orjson in and out, no model: the limit of one process of Python's HTTP stack",
        packages=("starlette", "uvicorn"),
    ),
    Peer(
        name="in-process",
        title="Predictor in process",
        command=_python("in_process"),
        variants=(ONE_BIG,),
        is_server=False,
        note="no HTTP: the limit of the model, with the threads of this service",
        packages=("openvino",),
    ),
)


def choose(names: str | None) -> tuple[Peer, ...]:
    """The peers of a list with commas, in the order of the table; all for None. Raises ValueError."""
    known = [peer.name for peer in PEERS]
    wanted = known if names is None else [name.strip() for name in names.split(",")]
    if unknown := [name for name in wanted if name not in known]:
        raise ValueError(f"no peer is called {unknown[0]!r}; there is {', '.join(known)}")
    return tuple(peer for peer in PEERS if peer.name in wanted)
