"""Accepting connections: each worker as many as the others.

Workers share one listening socket. The system wakes them all for a connection, and the quickest takes it;
a client that opens 32 at once leaves 22 with one of two workers and 10 with the other, and half of a
processor idle. Here a worker that holds more than another waits before it takes one more. The counts are
in a file that all of them map; a count that is wrong, as that of a worker that died, costs only the wait.
docs/performance.md has the figures.
"""

import asyncio
import errno
import functools
import logging
import mmap
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import uvicorn

logger = logging.getLogger("bentoml.service")

WAIT_S: Final = 0.002
"""How long a connection is left to the others."""
EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
EXHAUSTED_WAIT_S: Final = 1.0
"""As asyncio: without files or memory for a connection, wait before the next attempt."""


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

    @property
    def fewest(self) -> int:
        """Of the worker with the fewest."""
        return min(self._numbers)


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
        self.opening = Watched(self._count)

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
        """A connection is there: take it, or leave it to another worker for a while."""
        if self.counts.mine <= self.counts.fewest:
            self._accept(listener)
        else:
            self._pause(listener, WAIT_S, accept=True)

    def _pause(self, listener: socket.socket, seconds: float, *, accept: bool = False) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(listener)

        def go_on() -> None:
            if listener in self.listening:
                loop.add_reader(listener, self._take_turns, listener)
                if accept:
                    self._accept(listener)

        loop.call_later(seconds, go_on)

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # another worker has it, or it is gone
        except OSError as error:
            if error.errno not in EXHAUSTED:
                raise
            logger.error("no connection can be accepted: %s", error.strerror)
            self._pause(listener, EXHAUSTED_WAIT_S)
            return
        connection.setblocking(False)
        task = asyncio.get_running_loop().create_task(self._open(connection))
        self.opening.add(task)
        task.add_done_callback(self.opening.discard)

    async def _open(self, connection: socket.socket) -> None:
        make: Any = self.config.http_protocol_class  # a class, once the configuration is loaded
        protocol = functools.partial(
            make, config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                protocol, connection, ssl=self.config.ssl
            )
        except OSError:  # gone, or no TLS; ssl.SSLError is one
            connection.close()

    def _count(self) -> None:
        self.counts.mine = len(self.opening) + len(self.server_state.connections)
