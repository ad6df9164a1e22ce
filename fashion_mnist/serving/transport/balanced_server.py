"""Accepting connections: each worker takes an equal share of them.

Workers share one listening socket. The kernel wakes all of them for a connection and the quickest takes it:
of 32 connections opened at once, one of two workers gets 22 and the other 10, and half a CPU idles.
Here a worker asks the kernel how many connections wait, accepts an equal share of them at once, and then
leaves the socket to the others for a time proportional to what it took. Workers share no state: all accept
at the same pace, and a busy or dead worker holds up no other. A lone worker accepts all waiting connections
at once, where libuv accepts one between two batches.
docs/performance.md has the figures.
"""

import asyncio
import errno
import logging
import socket
import struct
from typing import Any, Final

import uvicorn

logger = logging.getLogger("bentoml.service")

PACE_S: Final = 0.001
"""Pause per accepted connection: longer than accepting takes, so that the others catch up. Two workers
accept 32 connections within 16 ms."""
MAX_PAUSE_S: Final = 0.05
"""Bound on the pause after hundreds of connections: a newcomer waits no longer than this."""
EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
EXHAUSTED_PAUSE_S: Final = 1.0
"""Pause before the next attempt when descriptors or memory for a connection ran out, as in asyncio."""
TCP_INFO_WAITING: Final = struct.Struct("=24xI")
"""tcpi_unacked of Linux's tcp_info: for a listening socket, the connections that wait to be accepted."""


class BalancedServer(uvicorn.Server):
    """A Uvicorn server that accepts connections itself. workers: processes that share its sockets."""

    def __init__(self, config: uvicorn.Config, workers: int) -> None:
        super().__init__(config)
        self.workers = workers
        self.listening: set[socket.socket] = set()
        self.opening: set[asyncio.Task[None]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        loop = asyncio.get_running_loop()
        await super().startup(sockets=[])  # everything but listening
        for listener in sockets or []:
            listener.setblocking(False)
            self.listening.add(listener)
            loop.add_reader(listener, self._accept_share, listener)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        loop = asyncio.get_running_loop()
        for listener in self.listening:
            loop.remove_reader(listener)
        self.listening.clear()
        await super().shutdown(sockets)

    def _accept_share(self, listener: socket.socket) -> None:
        """Accept this worker's share of the waiting connections, and leave the rest to the others."""
        share = -(-count_waiting(listener) // self.workers)
        for _ in range(share):
            if not self._accept(listener):
                return
        if self.workers > 1:
            self._pause(listener, min(MAX_PAUSE_S, share * PACE_S))

    def _pause(self, listener: socket.socket, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(listener)

        def resume() -> None:
            if listener in self.listening:  # else the server is shutting down
                loop.add_reader(listener, self._accept_share, listener)

        loop.call_later(seconds, resume)

    def _accept(self, listener: socket.socket) -> bool:
        """Accept one connection; return False if there is none, or no descriptor for it."""
        try:
            connection, _ = listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False  # another worker has it, or its client has left
        except OSError as error:
            if error.errno not in EXHAUSTED:
                raise
            # the socket stays readable: without a pause the loop would spin
            logger.error("cannot accept connections: %s", error.strerror)
            self._pause(listener, EXHAUSTED_PAUSE_S)
            return False
        connection.setblocking(False)
        # the event loop keeps only weak references to tasks
        task = asyncio.get_running_loop().create_task(self._open(connection))
        self.opening.add(task)
        task.add_done_callback(self.opening.discard)
        return True

    async def _open(self, connection: socket.socket) -> None:
        make: Any = self.config.http_protocol_class
        protocol = make(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: protocol, connection, ssl=self.config.ssl
            )
        except OSError:  # the client has left, or does not speak TLS: ssl.SSLError is an OSError
            connection.close()


def count_waiting(listener: socket.socket) -> int:
    """Return how many connections wait to be accepted, at least 1; 1 if the system does not report it."""
    try:
        info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_WAITING.size)
        (waiting,) = TCP_INFO_WAITING.unpack(info)
        return max(1, int(waiting))
    except (AttributeError, OSError, struct.error):  # not Linux
        return 1
