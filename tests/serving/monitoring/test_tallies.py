"""Tallies give Prometheus the same histogram as single observations do."""

import asyncio

from prometheus_client import CollectorRegistry, Histogram

from fashion_mnist.serving.monitoring.prediction_metrics import BUCKETS_S
from fashion_mnist.serving.monitoring.tallies import FLUSH_S, Flusher, Tally


def test_a_tally_equals_single_observations() -> None:
    registry = CollectorRegistry()
    one_by_one, together = (Histogram(n, "?", buckets=BUCKETS_S, registry=registry) for n in ("a", "b"))
    tally = Tally(together)
    values = [0.0, 0.0001, 0.00011, 0.05, 9.9, 10.0, 10.1, 1e9, 0.05]
    for round_values in (values, values[:3], []):
        for value in round_values:
            one_by_one.observe(value)
            tally.add(value)
        assert tally.flush() == len(round_values)
        found = {m.name: [(s.labels, s.value) for s in m.samples if "created" not in s.name]
                 for m in registry.collect()}  # fmt: skip
        assert found["a"] == found["b"]
    assert registry.get_sample_value("b_count") == len(values) + 3


def test_plans_made_together_flush_once() -> None:
    flushed: list[float] = []

    async def run() -> None:
        flusher = Flusher(lambda: flushed.append(loop.time()))
        loop = asyncio.get_running_loop()
        start = loop.time()
        for count in (1, 2):
            for _ in range(3):
                flusher.plan()
            while len(flushed) < count:
                await asyncio.sleep(FLUSH_S / 10)
        assert len(flushed) == 2
        assert flushed[0] >= start + FLUSH_S * 0.9

    asyncio.run(asyncio.wait_for(run(), 10))


def test_without_an_event_loop_a_plan_flushes_at_once() -> None:
    flushed: list[int] = []
    Flusher(lambda: flushed.append(1)).plan()
    assert flushed == [1]
