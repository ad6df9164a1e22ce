"""Writes log lines in a thread, so that whoever reads them, or a full disk, cannot stop the service.

Lines are collected for a while and written together: each writing wakes the thread, which then competes with
the event loop for the GIL. If they come faster than they can be written, the
thread's backlog grows to MAX_LINES; further ones are dropped, and counted.
"""

import os
import queue
import stat
import threading
from collections.abc import Callable, Iterable
from typing import Final

from fashion_mnist.serving.monitoring.tallies import Flusher

MAX_LINES: Final = 20_000
"""Lines that wait to be written: 8 MB."""
PIPE_BYTES: Final = 4096
"""A pipe takes this much in one piece (PIPE_BUF); more could mix with what the other workers write."""
CLOSE_S: Final = 2.0
"""How long stopping waits for the thread."""


class LineWriter:
    """Writes lines to a file descriptor. count_lost: called, also in the thread, with numbers of lines."""

    def __init__(self, fd: int, count_lost: Callable[[int], object]) -> None:
        self.fd = fd
        self.count_lost = count_lost
        self.is_pipe = stat.S_ISFIFO(os.fstat(fd).st_mode)
        self._flusher = Flusher(self.flush, at_once=self.close)
        self._lines: list[bytes] = []
        self._batches: queue.SimpleQueue[list[bytes] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._added = 0  # only the event loop writes it
        self._done = 0  # only the thread writes it

    def add(self, line: bytes) -> None:
        """Write a line, newline included, soon; at once where no event loop runs."""
        if self._added - self._done >= MAX_LINES:
            self.count_lost(1)
            return
        self._added += 1
        self._lines.append(line)
        self._flusher.plan()

    def flush(self) -> None:
        """Hand the collected lines to the thread."""
        lines, self._lines = self._lines, []
        if lines:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                self._thread.start()
            self._batches.put(lines)

    def close(self) -> None:
        """Write what is left, unless that takes longer than CLOSE_S."""
        self.flush()
        if self._thread is not None:
            self._batches.put(None)
            self._thread.join(CLOSE_S)
            self._thread = None

    def _run(self) -> None:
        while (lines := self._batches.get()) is not None:
            for some in _pack(lines) if self.is_pipe else [lines]:
                data = b"".join(some)
                try:
                    while data:
                        data = data[os.write(self.fd, data) :]
                except OSError:  # a full disk, or a pipe that nobody reads
                    self.count_lost(max(1, data.count(b"\n")))
                self._done += len(some)


def _pack(lines: Iterable[bytes]) -> Iterable[list[bytes]]:
    """Divide lines into groups of at most PIPE_BYTES, or of a single longer line."""
    group: list[bytes] = []
    size = 0
    for line in lines:
        if group and size + len(line) > PIPE_BYTES:
            yield group
            group, size = [], 0
        group.append(line)
        size += len(line)
    if group:
        yield group
