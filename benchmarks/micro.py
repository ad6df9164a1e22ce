"""Times decoding, predicting, encoding and the gate one by one: `python -m benchmarks.micro`.

The second column says what keys, rates, metrics, logs and traces add to a request that passes the bare gate.
CI prints the table, so that a regression shows. It never fails a build, because machines differ.
"""

import asyncio
import functools
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from rich.console import Console
from rich.table import Table

from benchmarks.serving.forms import write_json, write_npy, write_png
from fashion_mnist.inference.predictor import Predictor
from fashion_mnist.registry import provenance
from fashion_mnist.registry.store import BUNDLED_FOLDER
from fashion_mnist.serving.admission import key_file
from fashion_mnist.serving.admission.access import Access
from fashion_mnist.serving.admission.access_log import AccessLog
from fashion_mnist.serving.admission.capacity import Capacity
from fashion_mnist.serving.admission.cors import CorsPolicy
from fashion_mnist.serving.admission.gate import Gate, Ticket
from fashion_mnist.serving.admission.key_file import Key, Role
from fashion_mnist.serving.admission.key_ring import KeyRing
from fashion_mnist.serving.admission.rates import Rate, RateTable
from fashion_mnist.serving.config import ServeConfig
from fashion_mnist.serving.monitoring.line_writer import LineWriter
from fashion_mnist.serving.monitoring.request_metrics import RequestMetrics
from fashion_mnist.serving.monitoring.tracing import Tracer
from fashion_mnist.serving.protocol import bodies, requests
from fashion_mnist.serving.protocol.responses import encode_predictions

SECONDS: Final = 0.4
"""Duration of each measurement."""
LEAST: Final = 20
"""Minimum number of calls per measurement, however long they take."""
BATCHES: Final = (1, 8, 32, 64)
PATH: Final = "/predict"
REQUESTS: Final = 100
"""Requests that pass the gate in one call: about as many as arrive between two writings of a busy log."""


def measure_us(call: Callable[[], object]) -> tuple[float, int]:
    """Return median microseconds and number of calls, without the first, which may fill caches."""
    call()
    taken_ns: list[int] = []
    end_ns = time.perf_counter_ns() + int(SECONDS * 1e9)
    while len(taken_ns) < LEAST or time.perf_counter_ns() < end_ns:
        start_ns = time.perf_counter_ns()
        call()
        taken_ns.append(time.perf_counter_ns() - start_ns)
    return statistics.median(taken_ns) / 1000, len(taken_ns)


def build_calls() -> dict[str, Callable[[], object]]:
    """Return the measured calls by name, in the order of a request. The images are random, seed 0."""
    config = ServeConfig()
    limits = requests.Limits(config.max_body_bytes, config.max_images, config.max_pixels)
    predictor = Predictor(BUNDLED_FOLDER)
    predictor.warm_up()
    spec = predictor.spec
    images = np.random.default_rng(0).integers(0, 256, (1000, *spec.shape), np.uint8)
    rows = json.dumps({"pixels": images[0].tolist()}).encode()
    kinds = {
        "decode JSON, 784 values": (requests.JSON, write_json(images)),
        "decode JSON, 28 rows": (requests.JSON, rows),
        "decode PNG, 28x28": ("image/png", write_png(images)),
        "decode .npy, 1,000 images": (requests.NPY, write_npy(images)),
    }
    calls: dict[str, Callable[[], object]] = {}
    for name, (kind, body) in kinds.items():
        calls[name] = functools.partial(bodies.read_body, kind, body, spec, limits)
    for count in BATCHES:
        calls[f"predict {count}"] = functools.partial(predictor.predict, images[:count])
    for count in (1, 1000):
        request = requests.PredictRequest(images[:count], single=count == 1)
        predictions = predictor.predict(request.images)
        calls[f"encode {count:,}"] = functools.partial(
            encode_predictions, predictions, request, spec, predictor.record.network
        )
    return calls


def build_gates(folder: Path) -> dict[str, Gate]:
    """Return gates by name: the bare one first, then with one thing each, then with all.

    folder: for the file of keys and the buckets of the rates.
    """
    access = Access(KeyRing(folder / "keys.json"), {PATH: Role.PREDICT})
    rates, rate = RateTable(folder / "rates"), Rate(10**9, 1.0)
    metrics = RequestMetrics(paths=[PATH], namespace="benchmark")
    writer = LineWriter(os.open(os.devnull, os.O_WRONLY), lambda lines: None)
    logs = AccessLog(writer, as_json=True)
    gate = functools.partial(Gate, Capacity(10), routes=[PATH])
    return {
        "gate": gate(),
        "gate with CORS": gate(cors=CorsPolicy(["https://a.example"])),
        "gate with keys": gate(access=access),
        "gate with rates": gate(rates=rates, rate=rate),
        "gate with metrics": gate(metrics),
        "gate with JSON logs": gate(access_log=logs),
        "gate with keys, rates, metrics, logs": gate(
            metrics, access=access, rates=rates, rate=rate, access_log=logs
        ),
        "gate with traces, 1 % sampled": gate(tracer=Tracer(TracerProvider(TraceIdRatioBased(0.01)))),
        "gate with traces, all sampled": gate(tracer=Tracer(TracerProvider())),
    }


def pass_gate(gate: Gate, key: bytes) -> None:
    """Take REQUESTS through a gate as the fast path does, then write what it has collected."""
    headers = [(b"host", b"here"), (b"content-type", b"image/png"), (b"origin", b"https://a.example")]
    headers.append((b"authorization", key))
    for _ in range(REQUESTS):
        ticket = gate.admit("POST", PATH, headers, ("127.0.0.1", 1))
        assert isinstance(ticket, Ticket)
        stages = ticket.stages
        stages.decode_at = stages.queue_at = time.perf_counter_ns()
        stages.decode_ns, stages.images, stages.model = 50_000, 1, "bundled"
        stages.add_batch(stages.queue_at, 100_000, 16)
        ticket.finish(200)
    if gate.metrics is not None:
        gate.metrics.flush()
    if gate.access_log is not None:
        gate.access_log.writer.flush()


async def measure_gates(add_row: Callable[..., None]) -> None:
    """Measure the gates inside an event loop: without one, logs and metrics are written one by one."""
    with tempfile.TemporaryDirectory() as folder:
        secret = key_file.new_key()
        with key_file.edit_keys(Path(folder) / "keys.json") as keys:
            keys.append(Key("benchmark", Role.PREDICT, key_file.digest_of(secret), time.time()))
        gates = build_gates(Path(folder))
        bare_us = 0.0
        for name, gate in gates.items():
            batch_us, count = measure_us(functools.partial(pass_gate, gate, f"Bearer {secret}".encode()))
            median_us = batch_us / REQUESTS
            bare_us = bare_us or median_us
            add_row(name, f"{median_us:,.1f}", f"{median_us - bare_us:+.1f}", f"{REQUESTS * count:,}")


def main() -> None:
    """Print the table."""
    machine = provenance.machine()
    title = f"{machine['processor']}, {machine['cpus']} CPUs; random images, seed 0"
    table = Table("part", "median µs", "adds µs", "calls", title=title)
    for name, call in build_calls().items():
        median_us, count = measure_us(call)
        table.add_row(name, f"{median_us:,.1f}", "", f"{count:,}")
    asyncio.run(measure_gates(table.add_row))
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
