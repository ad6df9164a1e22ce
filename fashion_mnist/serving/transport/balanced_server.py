"""Accepting connections: each worker takes an equal share of them.

Workers share one listening socket. The kernel wakes all of them for a connection and the quickest takes it:
of 32 connections opened at once, one of two workers gets 22 and the other 10, and half a CPU idles. Here a
worker takes its share of the waiting connections at once, and leaves the rest to the others for a while. A
worker alone takes all that wait, where libuv takes one between two batches.

docs/performance.md has the figures.
"""

import asyncio
import contextlib
import errno
import logging
import resource
import signal
import socket
import struct
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Final, NamedTuple

import uvicorn

from fashion_mnist.serving.admission.gate import Gate
from fashion_mnist.serving.transport.connection_counts import ConnectionCounts
from fashion_mnist.serving.transport.heartbeats import Heartbeat

logger = logging.getLogger("bentoml.service")

WAIT_S: Final = 0.01
"""How long connections are left to the others: longer than a batch, during which they cannot accept."""
MAX_ACCEPTS: Final = 64
"""Connections accepted at once, before requests are answered again: of 3,000 that arrive together, the first
would wait for the last."""
EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
EXHAUSTED_PAUSE_S: Final = 1.0
"""As asyncio: without descriptors or memory for a connection, wait before the next attempt."""
MAX_CONNECTIONS: Final = 16_384
"""Of a worker; each takes about 10 KB."""
OTHER_DESCRIPTORS: Final = 64
"""What a worker opens besides connections: 35 when it serves."""
SURPLUS: Final = 16
"""When a worker is full, one in so many connections is closed."""
END_S: Final = 10.0
"""For a worker to end after its last request."""
TCP_INFO_WAITING: Final = struct.Struct("=24xI")
"""tcpi_unacked of Linux's tcp_info: for a listening socket, the connections that wait to be accepted."""


class ObservedSet(set[Any]):
    """Uvicorn's set of open connections; calls `changed` after each change."""

    def __init__(self, changed: Callable[[], None]) -> None:
        super().__init__()
        self.changed = changed

    def add(self, item: Any) -> None:
        super().add(item)
        self.changed()

    def discard(self, item: Any) -> None:
        super().discard(item)
        self.changed()


class Stopping(NamedTuple):
    """How a worker stops.

    drain_s: seconds that it goes on serving after SIGTERM, while /readyz answers 503. gate: learns of it.
    heartbeat: None if nobody watches this worker.
    """

    drain_s: float
    gate: Gate
    heartbeat: Heartbeat | None


class BalancedServer(uvicorn.Server):
    """A Uvicorn server that accepts connections itself. counts: of all workers that share its sockets."""

    def __init__(self, config: uvicorn.Config, counts: ConnectionCounts, stopping: Stopping) -> None:
        super().__init__(config)
        self.counts = counts
        self.stopping = stopping
        self.stop_at: float | None = None  # time.monotonic() at which draining ends
        self.listening: set[socket.socket] = set()
        self.opening: dict[Any, asyncio.Task[None]] = {}
        self.last_closed_at = 0.0  # time.monotonic() of the last connection that closed
        self.max_connections = max_connections()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        loop = asyncio.get_running_loop()
        await super().startup(sockets=[])  # everything but listening
        self.server_state.connections = ObservedSet(self._count)
        for listener in sockets or []:
            listener.setblocking(False)
            listener.listen(self.config.backlog)  # again, if the workers before have shut it
            self.listening.add(listener)
            loop.add_reader(listener, self._accept_share, listener)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.stopping.gate.draining = True
        if sig == signal.SIGTERM and self.stop_at is None and self.stopping.drain_s > 0:
            self._captured_signals.append(sig)
            self.stop_at = time.monotonic() + self.stopping.drain_s
        else:
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        if self.stop_at is not None and time.monotonic() >= self.stop_at:
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        heartbeat, finish_s = self.stopping.heartbeat, self.config.timeout_graceful_shutdown or 0
        stops_all = heartbeat is not None and heartbeat.stop(finish_s + END_S)
        loop = asyncio.get_running_loop()
        for listener in self.listening:
            loop.remove_reader(listener)
            while self._accept(listener):  # clients that have connected already
                pass
            if stops_all:  # refuse connections; the parent holds the socket until all workers have ended
                with contextlib.suppress(OSError):
                    listener.shutdown(socket.SHUT_RD)
        self.listening.clear()
        if self.opening:  # a client that is silent in its TLS handshake must not hold up the others
            await asyncio.wait(self.opening.values(), timeout=1)
        await super().shutdown(sockets)

    def _accept_share(self, listener: socket.socket) -> None:
        """Accept this worker's share of the waiting connections, or leave them to the others for a while."""
        waiting = count_waiting(listener)
        share = self.counts.fair_share(waiting)
        if time.monotonic() - self.last_closed_at < WAIT_S:
            # after a client closed all its connections, the others may not have noticed yet: their counts
            # are too high, and this worker would take everything
            share = min(share, self.counts.equal_share(waiting))
        for _ in range(min(share, MAX_ACCEPTS)):
            if not self._accept(listener):
                return
        if share < waiting and share <= MAX_ACCEPTS:
            self._pause(listener, WAIT_S, accept=share == 0)

    def _pause(self, listener: socket.socket, seconds: float, *, accept: bool = False) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(listener)

        def resume() -> None:
            if listener not in self.listening:  # the server is shutting down
                return
            loop.add_reader(listener, self._accept_share, listener)
            # the others had their time; a worker that died leaves its share behind
            left = self.counts.equal_share(count_waiting(listener)) if accept else 0
            while left > 0 and self._accept(listener):
                left -= 1

        loop.call_later(seconds, resume)

    def _accept(self, listener: socket.socket) -> bool:
        """Accept one connection; return False if there is none, or no descriptor for it."""
        if self.counts.mine >= self.max_connections:
            self._close_silent()
            self._pause(listener, WAIT_S)
            return False
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
        make: Any = self.config.http_protocol_class
        protocol = make(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)
        # the dictionary also keeps the task alive: the event loop holds only weak references
        self.opening[protocol] = asyncio.get_running_loop().create_task(self._open(connection, protocol))
        self._count()
        return True

    def _close_silent(self) -> None:
        """Make room: close the connections whose clients have kept us waiting longest."""
        connections: Any = self.server_state.connections
        waiting = [protocol for protocol in connections if getattr(protocol, "waits_for_client", False)]
        waiting.sort(key=lambda protocol: protocol.heard)
        for protocol in waiting[: -(-self.max_connections // SURPLUS)]:
            protocol.transport.abort()

    async def _open(self, connection: socket.socket, protocol: Any) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: protocol, connection, ssl=self.config.ssl
            )
        except OSError:  # the client has left, or does not speak TLS: ssl.SSLError is an OSError
            connection.close()
        finally:
            del self.opening[protocol]
            self._count()

    def _count(self) -> None:
        connections = self.server_state.connections
        # a connection that opens is in both for a moment
        count = len(connections) + sum(protocol not in connections for protocol in self.opening)
        if count < self.counts.mine:
            self.last_closed_at = time.monotonic()
        self.counts.mine = count


def max_connections() -> int:
    """Return how many connections a worker may have: fewer than its descriptors, of which it takes more."""
    limit, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + OTHER_DESCRIPTORS
    if limit != resource.RLIM_INFINITY and limit < wanted:
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    if limit == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return min(MAX_CONNECTIONS, max(limit - OTHER_DESCRIPTORS, limit // 2))


def count_waiting(listener: socket.socket) -> int:
    """Return how many connections wait to be accepted, at least 1; 1 where the system does not tell."""
    try:
        info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_WAITING.size)
        (waiting,) = TCP_INFO_WAITING.unpack(info)
        return max(1, int(waiting))
    except (AttributeError, OSError, struct.error):  # not Linux
        return 1
