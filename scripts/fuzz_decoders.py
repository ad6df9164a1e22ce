"""Fuzz the decoders, guided by coverage: fuzz_decoders.py SECONDS PROCESSES. Needs `pip install atheris`.

SECONDS: CPU time of each process. Bodies that crash or hang a decoder, or break a rule of `judge` in
tests/support/fuzzing.py, are kept in tests/imaging/cases for the tests. Ctrl-C ends it with the summary.
"""

import contextlib
import json
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import atheris

ROOT = Path(__file__).resolve().parent.parent
CASES = ROOT / "tests/imaging/cases"
OPTIONS = ("-max_len=3500", "-len_control=0", "-timeout=300", "-report_slow_units=300", "-rss_limit_mb=2000")
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]


def fuzz(folder: Path) -> None:
    """Fuzz in this process until it crashes or is killed; write figures to a file every second."""
    logging.disable()
    with atheris.instrument_imports(include=["PIL", "fashion_mnist", "python_multipart"]):
        from support import fuzzing

        seeds = fuzzing.seeds()
        for number, body in enumerate(seeds):
            fuzzing.judge(body)  # imports the rest
            (folder / "corpus" / f"seed-{number}").write_bytes(body)
    counts: Counter[str] = Counter()
    worst, written = (0.0, 0), 0.0

    def run(body: bytes) -> None:
        nonlocal worst, written
        try:
            judged = fuzzing.judge(body)
            worst = max(worst[0], judged.cpu_s), max(worst[1], judged.peak_bytes)
            counts[" ".join(judged.outcomes)] += 1
        except Exception as error:  # noqa: BLE001 - any but InputError is what is searched for
            place = traceback.extract_tb(error.__traceback__)[-1]
            case = CASES / f"{type(error).__name__}-{Path(place.filename).stem}-{place.lineno}"
            if not case.exists() or len(body) < case.stat().st_size:
                case.write_bytes(body)
            counts[f"FAILED {case.name}"] += 1
        if time.monotonic() - written > 1:
            written = time.monotonic()
            new = folder / str(os.getpid())
            new.write_text(json.dumps({"cpu_s": time.process_time(), "worst": worst, "counts": counts}))
            new.replace(new.with_suffix(".json"))  # at once: the other process never reads half of it

    def mutate(body: bytes, most: int, seed: int) -> bytes:
        rng = random.Random(seed)  # noqa: S311
        changed = fuzzing.damage(body, rng, seeds) if rng.randrange(4) else atheris.Mutate(body, most)
        return fuzzing.seal(changed)[:most]

    arguments = [__file__, *OPTIONS, f"-artifact_prefix={CASES}/", str(folder / "corpus")]
    atheris.Setup(arguments, run, custom_mutator=mutate)
    atheris.Fuzz()


def supervise(seconds: float, processes: int) -> None:
    """Keep processes running until they have used their time; print the summary."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    (folder / "corpus").mkdir()
    running, figures, starts, cpu_s = [], [], 0, 0.0
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        while starts < 100 and cpu_s < seconds * processes:
            running = [child for child in running if child.poll() is None]
            while len(running) < processes:
                command = [sys.executable, "-Wignore", __file__, "--child", str(folder)]
                with (folder / "log").open("ab") as log:
                    running.append(subprocess.Popen(command, stdout=log, stderr=log))  # noqa: S603
                starts += 1
            time.sleep(1)
            figures = [json.loads(path.read_text()) for path in folder.glob("*.json")]
            cpu_s = sum(each["cpu_s"] for each in figures)
    for child in running:
        child.kill()
    counts = sum((Counter(each["counts"]) for each in figures), Counter())
    slowest, largest = (max((each["worst"][at] for each in figures), default=0) for at in (0, 1))
    print(f"{counts.total()} executions in {cpu_s:.0f} s of CPU time, {starts} starts; see {folder}")
    print(f"slowest {slowest:.2f} s, largest {largest / 1e6:.1f} MB, {len(counts)} distinct outcomes")
    print("\n".join(f"{name}: {count}" for name, count in counts.items() if name.startswith("FAILED")))


if __name__ == "__main__":
    if sys.argv[1] == "--child":
        fuzz(Path(sys.argv[2]))
    else:
        supervise(float(sys.argv[1]), int(sys.argv[2]))
