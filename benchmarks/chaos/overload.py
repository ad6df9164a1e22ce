"""More load than one worker on one CPU can answer, from another CPU."""

import os
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

from benchmarks.chaos.generator import OVERLOADED, Load, after, count, drive, goodput, p99_ms
from benchmarks.chaos.promise import Promise
from benchmarks.chaos.services import Service, serve

CONNECTIONS: Final = 3000
STEADY_S: Final = 2.0
"""The first seconds of an overload are left out: thousands of connections open at once."""
DEADLINE_MS: Final = 60
QUICK_SLACK: Final = 3
"""The quick form runs for seconds on shared machines: it accepts longer times, and a third of the goodput."""


class Excess(NamedTuple):
    """times: the rate, in peaks; None for a closed loop. least: of the peak. pause_s: see Load."""

    done: str
    times: float | None
    least: float
    pause_s: float


EXCESSES: Final = (
    Excess("3 times the capacity", 3, 0.9, 1),
    Excess("10 times the capacity", 10, 0.5, 1),
    Excess("3,000 connections, closed loop", None, 0.9, 1),
    Excess("3,000 connections that ask again at once", None, 0.9, 0),
)


def overload(bodies: Sequence[bytes], *, quick: bool) -> Iterator[Promise]:
    """Measure the peak before each load, so that both see the same machine."""
    seconds, slack = (3.0, QUICK_SLACK) if quick else (8.0, 1)
    with _on_one_cpu() as cpus, serve(cpus=cpus, FASHION_MNIST_WORKERS="1") as service:
        drive(Load(service.url, bodies, 32), 2)  # to warm up
        tails = []
        for _ in range(1 if quick else 5):
            peak = _peak(service, bodies, seconds / 2)
            calm = drive(Load(service.url, bodies, 256, 0.7 * peak), seconds / 2 + 1)
            tails.append(p99_ms(after(calm, 1), from_due=True))
        tail, limit = statistics.median(tails), 100 if quick else 10
        seen = f"{tail:.1f} ms (rounds {min(tails):.1f} to {max(tails):.1f})"
        yield Promise("load at 70 % of the peak", f"p99 at most {limit} ms", seen, tail <= limit)
        before = service.memory_mb()
        for excess in EXCESSES:
            yield from _exceed(service, bodies, excess, seconds, slack)
        grown = service.memory_mb() - before
        yield Promise("memory of the worker", "grows by less than 100 MB", f"{grown:.0f} MB", grown < 100)
        yield _deadlines(service, bodies, seconds, slack)


def _peak(service: Service, bodies: Sequence[bytes], seconds: float) -> float:
    return goodput(drive(Load(service.url, bodies, 64), seconds), skip_s=0.5)


def _exceed(
    service: Service, bodies: Sequence[bytes], excess: Excess, seconds: float, slack: int
) -> Iterator[Promise]:
    peak, least = _peak(service, bodies, seconds / 2), excess.least / slack
    rate = None if excess.times is None else excess.times * peak
    answers = drive(Load(service.url, bodies, CONNECTIONS, rate, pause_s=excess.pause_s), seconds + STEADY_S)
    good, tail = goodput(answers, STEADY_S) / peak, p99_ms(after(answers, STEADY_S))
    limit_s = slack * (1 if excess.pause_s else 2)  # those who ask again at once wait up to 1 s longer
    yield Promise(
        excess.done,
        f"goodput at least {least:.0%} of the peak, p99 of the answers below {limit_s} s",
        f"{good:.0%} of {peak:.0f}/s, p99 {tail:.0f} ms; {count(answers)}",
        good >= least and tail < 1000 * limit_s,
    )
    start = time.monotonic()
    probes = drive(Load(service.url, bodies, 1, 50), 3)
    late = [p.ended - start for p in probes if p.status != 200 or p.ended - p.sent > 0.1 * slack]
    back = max(late, default=0.0)
    yield Promise(f"{excess.done}: afterwards", "answers at once after 2 s", f"after {back:.1f} s", back < 2)


def _deadlines(service: Service, bodies: Sequence[bytes], seconds: float, slack: int) -> Promise:
    peak = _peak(service, bodies, seconds / 2)
    header = f"X-Request-Timeout-Ms: {DEADLINE_MS}\r\n"
    answers = after(drive(Load(service.url, bodies, 1000, headers=header), seconds + 1), 1)
    good, tail = goodput(answers) / peak, p99_ms(answers)
    limit, least = 2 * DEADLINE_MS * slack, 0.5 / slack
    return Promise(
        f"deadlines of {DEADLINE_MS} ms, 1,000 connections",
        f"503, or an answer within {limit} ms; goodput at least {least:.0%} of the peak",
        f"{good:.0%} of {peak:.0f}/s, p99 {tail:.0f} ms; {count(answers)}",
        tail < limit and good > least and any(answer.status == OVERLOADED for answer in answers),
    )


@contextmanager
def _on_one_cpu() -> Iterator[set[int]]:
    """Keep this process on one CPU; yield another for the service, or the same if there is only one."""
    everything = os.sched_getaffinity(0)
    first, *others = sorted(everything)
    os.sched_setaffinity(0, {first})
    try:
        yield {others[0] if others else first}
    finally:
        os.sched_setaffinity(0, everything)
