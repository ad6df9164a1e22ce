"""Times decoding, predicting and encoding one by one: `python -m benchmarks.micro`.

CI prints the table, so that a regression shows. It never fails a build, because machines differ.
"""

import functools
import json
import statistics
import time
from collections.abc import Callable
from typing import Final

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.serving.forms import write_json, write_npy, write_png
from fashion_mnist.inference.predictor import Predictor
from fashion_mnist.registry import provenance
from fashion_mnist.registry.store import BUNDLED_FOLDER
from fashion_mnist.serving.admission.capacity import Capacity
from fashion_mnist.serving.admission.cors import CorsPolicy
from fashion_mnist.serving.admission.gate import Gate, Ticket
from fashion_mnist.serving.config import ServeConfig
from fashion_mnist.serving.protocol import bodies, requests
from fashion_mnist.serving.protocol.responses import encode_predictions

SECONDS: Final = 0.4
"""Duration of each measurement."""
LEAST: Final = 20
"""Minimum number of calls per measurement, however long they take."""
BATCHES: Final = (1, 8, 32, 64)


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
    gate = Gate(Capacity(10), cors=CorsPolicy(["https://a.example"]))
    headers = [(b"host", b"here"), (b"content-type", b"image/png"), (b"origin", b"https://a.example")]

    def pass_gate() -> None:
        ticket = gate.admit("POST", "/predict", headers, ("127.0.0.1", 1))
        assert isinstance(ticket, Ticket)
        ticket.finish(200)

    calls["gate, with CORS, without metrics"] = pass_gate
    return calls


def main() -> None:
    """Print the table."""
    machine = provenance.machine()
    title = f"{machine['processor']}, {machine['cpus']} CPUs; random images, seed 0"
    table = Table("part", "median µs", "calls", title=title)
    for name, call in build_calls().items():
        median_us, count = measure_us(call)
        table.add_row(name, f"{median_us:,.1f}", f"{count:,}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
