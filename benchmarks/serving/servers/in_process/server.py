"""Not a server: call the Predictor in a loop and print the loads as JSON. `python -m … SECONDS`."""

import json
import resource
import sys
import time

import numpy as np

from benchmarks.serving.servers.shared import load_predictor
from fashion_mnist.inference.predictor import Predictor


def measure(predictor: Predictor, count: int, seconds: float) -> dict[str, float]:
    """Call the predictor with `count` random images for `seconds`; latencies are per call."""
    images = np.random.default_rng(0).integers(0, 256, (count, *predictor.spec.shape), np.uint8)
    latencies_ms: list[float] = []
    cpu_s = cpu_time_s()
    start = time.perf_counter()
    while (now := time.perf_counter()) - start < seconds:
        predictor.predict(images)
        latencies_ms.append((time.perf_counter() - now) * 1000)
    elapsed_s = time.perf_counter() - start
    p50, p95, p99 = np.percentile(latencies_ms, [50, 95, 99]).tolist()
    calls = len(latencies_ms)
    cpu_ms = (cpu_time_s() - cpu_s) * 1000 / calls
    return {
        "requests": calls,
        "requests_per_s": calls / elapsed_s,
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
        "cpu_ms": cpu_ms,
        "images": count,
    }


def cpu_time_s() -> float:
    """Return the user and system time of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    model = load_predictor()
    seconds = float(sys.argv[1])
    print(json.dumps({"npy@1": measure(model, 1000, seconds), "image@1": measure(model, 1, seconds)}))
