"""Do every fault, print what was promised and seen: `make chaos`, or `python -m benchmarks.chaos`."""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from benchmarks.chaos import faults, overload
from benchmarks.chaos.promise import Promise
from benchmarks.serving.environments import ENVIRONMENTS
from benchmarks.serving.forms import write_json
from benchmarks.serving.peer import ROOT
from fashion_mnist.data import sources
from fashion_mnist.registry import provenance

OUTPUT: Final = ENVIRONMENTS / "chaos.json"
NOT_QUICK: Final = "start"  # takes half a minute
FAULTS: Final[dict[str, Callable[..., Iterator[Promise]]]] = {
    "overload": overload.overload,
    "slow": faults.slow_clients,
    "kill": faults.killed_workers,
    "hang": faults.hanging_worker,
    "start": faults.worker_that_cannot_start,
    "restart": faults.rolling_restarts,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; return 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two minutes instead of ten, with fewer repeats")
    parser.add_argument(
        "--only", choices=FAULTS, action="append", help="do only this fault; may be repeated (default: all)"
    )
    parser.add_argument(
        "--output", type=Path, default=ENVIRONMENTS / "chaos.json", help="file for the results"
    )
    flags = parser.parse_args(arguments)
    start, before = time.monotonic(), os.getloadavg()[0]
    print(f"load average before the start: {before:.1f}")
    sample = sources.load(str(ROOT / "tests" / "samples" / "fashion-mnist-sample"))
    bodies = [write_json(sample.train.images[i : i + 1]) for i in range(500)]
    promises = []
    for name in flags.only or [name for name in FAULTS if not (flags.quick and name == NOT_QUICK)]:
        for promise in FAULTS[name](bodies, quick=flags.quick):
            promises.append(promise)
            verdict = "kept" if promise.kept else "BROKEN"
            print(f"| {promise.done} | {promise.promised} | {promise.seen} | {verdict} |", flush=True)
    took_s = round(time.monotonic() - start)
    flags.output.parent.mkdir(parents=True, exist_ok=True)
    result = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": provenance.machine(),
        "load_average_before": before,
        "quick": flags.quick,
        "took_s": took_s,
        "promises": [asdict(promise) for promise in promises],
    }
    flags.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    broken = sum(not promise.kept for promise in promises)
    print(f"{len(promises)} promises, {broken} broken, {took_s} s; {flags.output}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
