"""Read metrics that the workers write in batches."""

import time
from collections.abc import Callable
from typing import TypeVar

from fashion_mnist.serving.monitoring.tallies import FLUSH_S

T = TypeVar("T")


def settled(read: Callable[[], T]) -> T:
    """Return what `read` returns as soon as it no longer changes: every worker has written its numbers."""
    before, now = None, read()
    while before != now:
        time.sleep(2 * FLUSH_S)
        before, now = now, read()
    return now
