"""Measure the service against its peers and write the report: `python -m benchmarks.serving`."""

import argparse
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.serving import check, environments, measure, report
from benchmarks.serving.errors import BenchmarkError
from benchmarks.serving.network import count_multiply_adds
from benchmarks.serving.peer import ROOT, Peer
from benchmarks.serving.peers import choose
from benchmarks.serving.results import Results
from fashion_mnist.data import sources
from fashion_mnist.errors import FashionMnistError
from fashion_mnist.inference.predictor import Predictor
from fashion_mnist.registry import model_folder, provenance
from fashion_mnist.registry.store import BUNDLED_FOLDER

SAMPLE: Final = ROOT / "tests" / "samples" / "fashion-mnist-sample"
QUICK_OUTPUT: Final = environments.ENVIRONMENTS / "quick"


def read_flags(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds over all peers (default: 5)")
    parser.add_argument("--seconds", type=int, default=4, help="duration of each load (default: 4)")
    parser.add_argument("--only", metavar="NAMES", help="peers to measure, comma-separated (default: all)")
    parser.add_argument("--output", type=Path, help="folder for results and plots (default: docs)")
    parser.add_argument(
        "--quick", action="store_true", help=f"a trial: 1 round of 1 s, into {QUICK_OUTPUT.relative_to(ROOT)}"
    )
    parser.add_argument(
        "--report", action="store_true", help="measure nothing; rewrite the report from the stored results"
    )
    flags = parser.parse_args(arguments)
    if flags.quick:
        flags.rounds, flags.seconds = 1, 1
    if flags.rounds < 1 or flags.seconds < 1:
        parser.error(f"--rounds {flags.rounds} --seconds {flags.seconds}: both must be at least 1")
    flags.output = flags.output or (QUICK_OUTPUT if flags.quick else ROOT / "docs")
    try:
        flags.peers = choose(flags.only)
    except ValueError as error:
        parser.error(str(error))
    return flags


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit code."""
    flags = read_flags(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop the servers too, as Ctrl-C does
    try:
        if not flags.report:
            _measure(flags)
        kept = report.results_path(flags.output)
        if not kept.is_file():
            raise BenchmarkError(f"{kept}: no results; run without --report first")
        results = Results.load(kept)
        for path in report.write(results, flags.output):
            print(path)
    except KeyboardInterrupt:
        print("stopped; run with --report to write the report from what was measured", file=sys.stderr)
        return 130
    except (BenchmarkError, FashionMnistError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _measure(flags: argparse.Namespace) -> None:
    predictor = Predictor(BUNDLED_FOLDER, precision="fp32")
    onnx = BUNDLED_FOLDER / model_folder.ONNX
    results = Results(
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        machine=provenance.machine(),
        settings={"rounds": flags.rounds, "seconds": flags.seconds, "quick": flags.quick},
        multiply_adds=count_multiply_adds(onnx, predictor.spec.shape),
    )
    pythons = _prepare(flags.peers, results)
    images = _load_images()
    plan = measure.Plan(
        peers=[peer for peer in flags.peers if peer.name in pythons],
        pythons=pythons,
        images=images,
        reference=check.build_reference(predictor, images),
        rounds=flags.rounds,
        seconds=flags.seconds,
        trials=min(3, flags.rounds),
        bulk_images=1000,
        held_images=1000 if flags.quick else 10_000,
    )
    path = report.results_path(flags.output)
    measure.run(plan, results, lambda kept: kept.save(path), lambda line: print(line, flush=True))


def _prepare(peers: Sequence[Peer], results: Results) -> dict[str, Path]:
    """Return the interpreter of each installable peer; `results.missing` gets the reasons for the others."""
    absent = environments.install_tools()
    if "wrk" in absent:
        raise BenchmarkError(absent["wrk"])
    pythons: dict[str, Path] = {}
    for peer in peers:
        print(f"preparing the environment of {peer.name}", flush=True)
        try:
            if peer.java and "java" in absent:
                raise BenchmarkError(absent["java"])
            pythons[peer.name] = environments.prepare(peer)
            results.versions[peer.name] = environments.read_versions(peer, pythons[peer.name])
        except BenchmarkError as error:
            results.missing[peer.name] = str(error)
            print(f"  missing: {error}", flush=True)
    return pythons


def _load_images() -> NDArray[np.uint8]:
    """Return the 10,000 test images if they are installed, else the sample's 1,000."""
    installed = Path("/usr/share/datasets/fashion-mnist").is_dir()
    test = sources.load("fashion-mnist" if installed else str(SAMPLE)).test
    assert test is not None
    return test.images


if __name__ == "__main__":
    sys.exit(main())
