"""Limits on the load of one worker: requests in flight, and the bytes of their bodies."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from fashion_mnist.errors import InputError

SMALL_BYTES: Final = 6_000_000
"""Photographs are smaller."""


class Capacity:
    """Requests in flight, up to `max_in_flight`."""

    def __init__(self, max_in_flight: int) -> None:
        self.max_in_flight = max_in_flight
        self.in_flight = 0

    def enter(self) -> None:
        """Add a request to the count. Raises InputError: overloaded."""
        if self.in_flight >= self.max_in_flight:
            raise InputError("overloaded", f"{self.in_flight} requests are in flight; try again in a moment")
        self.in_flight += 1

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
