"""How many connections each worker has open, in a file that all workers map.

Without the counts, each worker accepting at the same pace, fewer lines do nearly as well for connections
that stay; but a pace fast enough for clients that connect for each request is too fast for an even spread
(23 of 32 on one worker). A wrong count, such as that of a worker that died, only costs the wait.
"""

import logging
import mmap
from pathlib import Path

from fashion_mnist.errors import describe
from fashion_mnist.mapped_files import map_file

logger = logging.getLogger("bentoml.service")


class ConnectionCounts:
    """Open connections of all workers, in a file: one number each, written by its worker only."""

    def __init__(self, path: Path | None, workers: int, index: int) -> None:
        self._numbers = memoryview(_map(path, 4 * workers)).cast("i")
        self._index = index % workers
        self.mine = 0

    @property
    def mine(self) -> int:
        """Connections open in this worker."""
        return self._numbers[self._index]

    @mine.setter
    def mine(self, count: int) -> None:
        self._numbers[self._index] = count

    def equal_share(self, waiting: int) -> int:
        """Return the waiting connections divided by the workers, at least 1."""
        return max(1, -(-waiting // len(self._numbers)))

    def fair_share(self, waiting: int) -> int:
        """Return this worker's part of the waiting connections, if each goes to the emptiest worker."""
        numbers = sorted(self._numbers)
        level, total = 0, waiting
        for filled, number in enumerate(numbers, 1):  # the waiting ones fill the emptiest up to `level`
            total += number
            level = -(-total // filled)
            if filled < len(numbers) and numbers[filled] >= level:
                break
        return max(0, level - self.mine)


def _map(path: Path | None, size: int) -> mmap.mmap:
    """Map a file; without one, or where the disk is full, memory of this worker alone."""
    if path is not None:
        try:
            return map_file(path, size)
        except OSError as error:
            logger.warning("connections are spread unevenly over the workers: %s", describe(error))
    return mmap.mmap(-1, size)
