"""Signs of life: a table that the workers of a service write and the process that starts them reads."""

import asyncio
import contextlib
import os
import struct
import sys
from pathlib import Path
from time import monotonic
from typing import Final, NamedTuple

from fashion_mnist.mapped_files import map_file

BEAT_S: Final = 0.5
SPARE: Final = 2
"""Rows a worker: while workers are replaced one by one, the old and the new ones run together."""
ROW: Final = struct.Struct("=qd")


class Row(NamedTuple):
    """The state of one worker.

    pid: 0 for an unused row. beat: time.monotonic() of its last sign of life; 0 while it starts, negative
    when it stops: then it must have ended by time.monotonic() == -beat.
    """

    pid: int
    beat: float


class Heartbeats:
    """The table, in a file that all processes map. Each worker writes its own row."""

    def __init__(self, path: Path, workers: int) -> None:
        self._count = workers * SPARE
        self._memory = map_file(path, ROW.size * self._count)

    def rows(self) -> list[Row]:
        """Return all rows."""
        return [self[index] for index in range(self._count)]

    def __getitem__(self, index: int) -> Row:
        return Row(*ROW.unpack_from(self._memory, index * ROW.size))

    def __setitem__(self, index: int, row: Row) -> None:
        ROW.pack_into(self._memory, index % self._count * ROW.size, *row)


class Heartbeat:
    """The row of the current worker. index: of the worker, from 1."""

    def __init__(self, table: Heartbeats, index: int) -> None:
        self.table = table
        self.index = index
        self.stopping = False
        self._write(0.0)

    def start(self) -> None:
        """Beat from now on, as long as the event loop runs."""
        if not self.stopping:
            self._write(monotonic())
            asyncio.get_running_loop().call_later(BEAT_S, self.start)

    def stop(self, limit_s: float) -> bool:
        """Stop beating: this process ends within `limit_s`. Return whether all other workers stop too."""
        self.stopping = True
        self._write(-(monotonic() + limit_s))
        return all(row.beat < 0 for row in self.table.rows() if row.pid)

    def _write(self, beat: float) -> None:
        self.table[self.index] = Row(os.getpid(), beat)


def is_alive(pid: int) -> bool:
    """Return whether a child of this process still runs; a zombie does not."""
    with contextlib.suppress(OSError):
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
        return state not in "ZX" and int(parent) == os.getpid()
    if sys.platform == "linux":
        return False
    with contextlib.suppress(OSError):
        os.kill(pid, 0)
        return True
    return False
