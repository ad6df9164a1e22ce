"""Write TorchServe's configuration, then replace this process by TorchServe."""

import json
import os
import tempfile
from pathlib import Path

from benchmarks.serving.servers.shared import BATCH, PORT, WAIT_S, WORKERS

OTHERS = ("management_address", "metrics_address")
GRPC = ("grpc_inference_port", "grpc_management_port")


def write_configuration(folder: Path, archive: Path) -> Path:
    """Write config.properties for one model, on the ports in $BENCH_PORTS."""
    ports = os.environ["BENCH_PORTS"].split()
    model = {
        "defaultVersion": True,
        "marName": archive.name,
        "minWorkers": WORKERS,
        "maxWorkers": WORKERS,
        "batchSize": BATCH,
        "maxBatchDelay": round(WAIT_S * 1000),
        "responseTimeout": 120,
    }
    lines = [
        f"inference_address=http://127.0.0.1:{PORT}",
        *[f"{name}=http://127.0.0.1:{port}" for name, port in zip(OTHERS, ports[:2], strict=True)],
        *[f"{name}={port}" for name, port in zip(GRPC, ports[2:], strict=True)],
        f"model_store={archive.parent}",
        "load_models=fashion-mnist.mar",
        f"models={json.dumps({'fashion-mnist': {'1.0': model}})}",
        "job_queue_size=1000",  # the default of 100 refuses some of what 128 connections send at once
        "async_logging=true",
        "disable_system_metrics=true",
        "install_py_dep_per_model=false",
    ]
    path = folder / "config.properties"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


if __name__ == "__main__":
    state = Path(tempfile.mkdtemp(dir=os.environ["BENCH_FOLDER"]))
    settings = write_configuration(state, Path(os.environ["BENCH_ARCHIVE"]))
    os.chdir(state)  # it writes its logs to the current folder
    options = ["--foreground", "--no-config-snapshots", "--disable-token-auth", "--ts-config", str(settings)]
    os.execvp("torchserve", ["torchserve", "--start", *options])  # noqa: S606, S607 - from this environment
