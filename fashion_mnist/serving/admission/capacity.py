"""Limits on the load of one worker: requests in flight, and the bytes of their bodies."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Final

from fashion_mnist.errors import InputError

SMALL_BYTES: Final = 6_000_000
"""Photographs are smaller."""
LONGEST_WAIT_S: Final = 0.75
"""No more requests are let in than can be answered in this time."""
MIN_IN_FLIGHT: Final = 64
MEMORY: Final = 0.98
"""Weight of the past in the pace, which is measured once a batch."""
REST_S: Final = 0.25
MAX_REST_S: Final = 1.0
REFUSALS: Final = 0.25
"""A refusal takes a third of the time of an answer, so refusals are limited to a part of the answers."""


class Capacity:
    """Requests in flight: at most `max_in_flight`, and no more than are answered in LONGEST_WAIT_S."""

    def __init__(self, max_in_flight: int) -> None:
        self.max_in_flight = max_in_flight
        self.limit = max_in_flight
        self.in_flight = 0
        self.pace_s = 0.0
        self.rests_until = 0.0

    def adapt(self, pace_s: float) -> None:
        """Adapt the limit to the pace of the model under load: seconds per request."""
        # slowly: a burst of refusals delays a few batches, and a limit that fell with them would refuse more
        self.pace_s = MEMORY * self.pace_s + (1 - MEMORY) * pace_s if self.pace_s else pace_s
        self.limit = min(self.max_in_flight, max(MIN_IN_FLIGHT, int(LONGEST_WAIT_S / self.pace_s)))

    def enter(self) -> None:
        """Add a request to the count. Raises InputError: overloaded."""
        if self.in_flight >= self.limit:
            raise InputError("overloaded", f"{self.in_flight} requests are in flight; try again in a moment")
        self.in_flight += 1

    def rest_s(self) -> float:
        """Return how long a refused connection must wait, so that clients come back one after the other."""
        now = monotonic()
        self.rests_until = min(max(self.rests_until + self.pace_s / REFUSALS, now + REST_S), now + MAX_REST_S)
        return self.rests_until - now

    def leave(self) -> None:
        """Remove a request from the count."""
        self.in_flight -= 1


class BodyMemory:
    """Bytes of all bodies in flight, up to `max_bytes`. largest: the largest body, which always fits alone.

    Without it, 1,000 slow bodies of an accepted size would need more memory than a machine has. A quarter is
    kept for bodies up to SMALL_BYTES, so that a few large ones do not lock out photographs.
    """

    def __init__(self, max_bytes: int, largest: int) -> None:
        self.left = max(max_bytes, largest)
        self.kept_for_small = min(self.left // 4, self.left - largest)

    @contextmanager
    def reserve(self) -> Iterator[Callable[[int], None]]:
        """Give one request a function that reserves bytes; leaving the context releases all of them.

        The function raises InputError: overloaded.
        """
        reserved = 0

        def reserve(size: int) -> None:
            nonlocal reserved
            kept = self.kept_for_small if reserved + size > SMALL_BYTES else 0
            if size > self.left - kept:
                raise InputError("overloaded", "too many large bodies are in flight; try again in a moment")
            self.left -= size
            reserved += size

        try:
            yield reserve
        finally:
            self.left += reserved
