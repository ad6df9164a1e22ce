"""The measured peers: this service, other servers, and the limits of the HTTP stack and of the model."""

from typing import Final

from benchmarks.serving import forms
from benchmarks.serving.peer import (
    BATCHING,
    CPUS,
    DEEP,
    DEFAULTS,
    LOCAL,
    MANY_SMALL,
    ONE_BIG,
    ONE_SMALL,
    Peer,
    Variant,
)


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


AS_SERVED: Final = "OpenVINO, int8 if the CPU supports it"

PEERS: Final = (
    Peer(
        name="ours",
        title="this service",
        command=_bentoml("service:FashionMnist"),
        network=AS_SERVED,
        forms={**forms.plain_forms(), **forms.NPY},
        ready_url=_url("/readyz"),
        variants=(DEFAULTS,),  # not tuned for the benchmark
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
        name="fastapi-openvino-int8",
        title="FastAPI, OpenVINO, our int8 network",
        command=_uvicorn("fastapi_openvino"),
        like="fastapi-openvino",
        network=AS_SERVED,
        forms={**forms.plain_forms(), **forms.NPY},
        variants=(ONE_SMALL, MANY_SMALL),
        connections=DEEP,
        environment={"BENCH_PRECISION": "auto"},
        note="the hand-tuned service with the quantized network of this project",
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
            "RAY_SERVE_ENABLE_HA_PROXY": "1",  # both from its guide to high throughput
            "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
            "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",  # the default, 5 s, aborts on a busy machine
            "RAY_USAGE_STATS_ENABLED": "0",
            "OMP_NUM_THREADS": "{threads}",
        },
        packages=("ray", "openvino"),
        note="behind its HAProxy, in its high-throughput mode",
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
        note="Open Inference Protocol; PNG as base64",
        packages=("mlserver", "openvino"),
    ),
    Peer(
        name="torchserve",
        title="TorchServe",
        command=_python("torchserve"),
        forms=forms.plain_forms("/predictions/fashion-mnist"),
        ready_url="http://127.0.0.1:{port2}/models/fashion-mnist",  # /ping answers before the model is loaded
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
        note="only its start is measured",
        packages=("bentoml",),
    ),
    Peer(
        name="echo",
        title="Starlette echo",
        command=_uvicorn("echo"),
        network="none",
        forms=forms.ECHO,
        variants=(ONE_SMALL,),
        note="orjson in and out, no model: the limit of Python's HTTP stack in one process",
        packages=("starlette", "uvicorn"),
    ),
    Peer(
        name="in-process",
        title="Predictor in process",
        command=_python("in_process"),
        network=AS_SERVED,
        environment={"BENCH_PRECISION": "auto"},
        variants=(ONE_BIG,),
        is_server=False,
        note="no HTTP: the limit of the model, with as many threads as this service",
        packages=("openvino",),
    ),
)


def choose(names: str | None) -> tuple[Peer, ...]:
    """Return the peers of a comma-separated list, in the order of PEERS; all for None. Raises ValueError."""
    known = [peer.name for peer in PEERS]
    wanted = known if names is None else [name.strip() for name in names.split(",")]
    if unknown := [name for name in wanted if name not in known]:
        raise ValueError(f"unknown peer {unknown[0]!r}; choose from {', '.join(known)}")
    return tuple(peer for peer in PEERS if peer.name in wanted)
