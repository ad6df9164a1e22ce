"""Observations kept as plain numbers, and moved into Prometheus' histograms in batches.

`Histogram.observe` locks and writes to a shared file several times, 4 µs in all; a request makes several
observations. A tally takes 0.3 µs, and its histogram follows within FLUSH_S.
"""

import asyncio
from bisect import bisect_left
from collections.abc import Callable
from typing import Any, Final

FLUSH_S: Final = 0.1
"""Much shorter than any scrape interval. `kill -9` loses the observations of this time."""


class Tally:
    """Observations that one Prometheus histogram does not have yet. Not safe for threads.

    histogram: of prometheus_client 0.26, with values for all of its labels. Adding many observations at once
    needs its private attributes; tests/serving/monitoring/test_tallies.py checks them.
    """

    def __init__(self, histogram: Any) -> None:
        self.histogram = histogram
        self.bounds: list[float] = histogram._upper_bounds  # ascending, the last one infinite
        self._reset()

    def _reset(self) -> None:
        self.counts = [0] * len(self.bounds)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Note one observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def flush(self) -> int:
        """Move the observations into the histogram; return how many they were."""
        count = sum(self.counts)
        if count:
            for index, found in enumerate(self.counts):
                if found:
                    self.histogram._buckets[index].inc(found)
            self.histogram._sum.inc(self.sum)
            self._reset()
        return count


class Flusher:
    """Calls `flush` FLUSH_S after the first `plan`, once for all plans until then.

    at_once: called where no event loop runs; by default `flush`.
    """

    def __init__(self, flush: Callable[[], None], at_once: Callable[[], None] | None = None) -> None:
        self.flush = flush
        self.at_once = at_once or flush
        self.planned = False

    def plan(self) -> None:
        """See to it that the function is called."""
        if self.planned:
            return
        try:
            asyncio.get_running_loop().call_later(FLUSH_S, self._run)
        except RuntimeError:
            self.at_once()
        else:
            self.planned = True

    def _run(self) -> None:
        self.planned = False
        self.flush()
