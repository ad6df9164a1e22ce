"""Accepting connections: each worker as many as the others.

Workers share one listening socket. The system wakes them all for a connection, and the quickest takes it;
a client that opens 32 at once leaves 22 with one of two workers and 10 with the other, and half of a
processor idle. Here a worker takes its share of those that wait, at once, and leaves the rest to the others
for a while. One alone takes all that wait, where libuv takes one between two batches. The counts are in a
file that all of them map; a count that is wrong, as that of a worker that died, costs only the wait.
docs/performance.md has the figures.
"""

import asyncio
import errno
import logging
import mmap
import os
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import uvicorn

logger = logging.getLogger("bentoml.service")

WAIT_S: Final = 0.01
"""How long connections are left to the others: longer than a batch, in which they cannot take any."""
EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
EXHAUSTED_WAIT_S: Final = 1.0
"""As asyncio: without files or memory for a connection, wait before the next attempt."""
TCP_INFO_WAITING: Final = struct.Struct("=24xI")
"""Of Linux' tcp_info, tcpi_unacked: of a listening socket, the connections that wait to be accepted."""


class Counts:
    """Open connections of all workers, in a file: one number each, written by its worker only."""

    def __init__(self, path: Path, workers: int, index: int) -> None:
        size = 4 * workers
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.truncate(descriptor, size)
            self._numbers = memoryview(mmap.mmap(descriptor, size)).cast("i")
        finally:
            os.close(descriptor)
        self._index = index % workers
        self.mine = 0

    @property
    def mine(self) -> int:
        """Of this worker."""
        return self._numbers[self._index]

    @mine.setter
    def mine(self, count: int) -> None:
        self._numbers[self._index] = count

    def divide(self, waiting: int) -> int:
        """An equal part of so many, at least 1."""
        return max(1, -(-waiting // len(self._numbers)))

    def share(self, waiting: int) -> int:
        """Of so many that wait, those of this worker, if each goes to the worker that has the fewest then."""
        numbers = sorted(self._numbers)
        level, total = 0, waiting
        for filled, number in enumerate(numbers, 1):  # up to `level`, by those that wait
            total += number
            level = -(-total // filled)
            if filled < len(numbers) and numbers[filled] >= level:
                break
        return max(0, level - self.mine)


class Watched(set[Any]):
    """Uvicorn's set of open connections, which tells when it changes."""

    def __init__(self, changed: Callable[[], None]) -> None:
        super().__init__()
        self.changed = changed

    def add(self, item: Any) -> None:
        super().add(item)
        self.changed()

    def discard(self, item: Any) -> None:
        super().discard(item)
        self.changed()


class BalancedServer(uvicorn.Server):
    """A Uvicorn server that accepts by itself. counts: of all workers that listen on the same sockets."""

    def __init__(self, config: uvicorn.Config, counts: Counts) -> None:
        super().__init__(config)
        self.counts = counts
        self.listening: set[socket.socket] = set()
        self.opening: dict[Any, asyncio.Task[None]] = {}
        self.closed_s = 0.0  # when a connection was, last

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        loop = asyncio.get_running_loop()
        await super().startup(sockets=[])  # everything but listening
        self.server_state.connections = Watched(self._count)
        for listener in sockets or []:
            listener.setblocking(False)
            self.listening.add(listener)
            loop.add_reader(listener, self._take_turns, listener)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        loop = asyncio.get_running_loop()
        for listener in self.listening:
            loop.remove_reader(listener)
        self.listening.clear()
        await super().shutdown(sockets)

    def _take_turns(self, listener: socket.socket) -> None:
        """Connections are there: take this worker's share, or leave them to the others for a while."""
        waiting = count_waiting(listener)
        share = self.counts.share(waiting)
        if time.monotonic() - self.closed_s < WAIT_S:
            # others may not have noticed yet that theirs are closed too
            share = min(share, self.counts.divide(waiting))
        for _ in range(share):
            if not self._accept(listener):
                return
        if share < waiting:
            self._pause(listener, WAIT_S, accept=share == 0)

    def _pause(self, listener: socket.socket, seconds: float, *, accept: bool = False) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(listener)

        def go_on() -> None:
            if listener in self.listening:
                loop.add_reader(listener, self._take_turns, listener)
                # the others had their time; one that is gone leaves its share behind
                left = self.counts.divide(count_waiting(listener)) if accept else 0
                while left > 0 and self._accept(listener):
                    left -= 1

        loop.call_later(seconds, go_on)

    def _accept(self, listener: socket.socket) -> bool:
        try:
            connection, _ = listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False  # another worker has it, or it is gone
        except OSError as error:
            if error.errno not in EXHAUSTED:
                raise
            logger.error("no connection can be accepted: %s", error.strerror)
            self._pause(listener, EXHAUSTED_WAIT_S)
            return False
        connection.setblocking(False)
        make: Any = self.config.http_protocol_class  # makes one, once the configuration is loaded
        protocol = make(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)
        task = asyncio.get_running_loop().create_task(self._open(connection, protocol))
        self.opening[protocol] = task
        self._count()
        return True

    async def _open(self, connection: socket.socket, protocol: Any) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: protocol, connection, ssl=self.config.ssl
            )
        except OSError:  # gone, or no TLS; ssl.SSLError is one
            connection.close()
        finally:
            del self.opening[protocol]
            self._count()

    def _count(self) -> None:
        open_ = self.server_state.connections
        count = len(open_) + sum(protocol not in open_ for protocol in self.opening)
        if count < self.counts.mine:
            self.closed_s = time.monotonic()
        self.counts.mine = count


def count_waiting(listener: socket.socket) -> int:
    """Connections that wait to be accepted, at least 1; 1 where the system does not tell."""
    try:
        info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_WAITING.size)
        (waiting,) = TCP_INFO_WAITING.unpack(info)
        return max(1, int(waiting))
    except (AttributeError, OSError, struct.error):  # not Linux
        return 1
