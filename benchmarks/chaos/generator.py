"""A load generator on asyncio: at a fixed rate or as fast as answers come.

wrk has no fixed rate; h2load sends in bursts, and does not say on which connection a request failed.
"""

import asyncio
import re
import time
from collections import Counter, deque
from collections.abc import Sequence
from itertools import cycle
from typing import Final, NamedTuple, cast
from urllib.parse import urlsplit

import numpy as np
import uvloop

LENGTH: Final = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
TICK_S: Final = 0.001
LOST: Final = 0
OVERLOADED: Final = 503
RETRY_S: Final = 0.05


class Answer(NamedTuple):
    """What became of one request.

    Times of time.monotonic(): due, when it was to be sent; sent; ended. status: LOST if the connection ended
    or nothing came. port: of the client's side.
    """

    due: float
    sent: float
    ended: float
    status: int
    port: int


class Load:
    """Requests of one kind over a number of connections, each with one request at a time.

    rate: requests a second; None sends the next one as soon as an answer has come. pause_s: what a connection
    waits after a 503, as its Retry-After asks for.
    """

    def __init__(
        self,
        url: str,
        bodies: Sequence[bytes],
        connections: int,
        rate: float | None = None,
        headers: str = "",
        pause_s: float = 1.0,
    ) -> None:
        address = urlsplit(url)
        self.host, self.port = address.hostname or "", address.port or 80
        head = (
            f"POST /predict HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: application/json\r\n{headers}"
        )
        self.requests = cycle(
            [f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body for body in bodies]
        )
        self.connections = connections
        self.rate = rate
        self.pause_s = pause_s
        self.free: deque[Connection] = deque()
        self.busy: set[Connection] = set()
        self.waiting: deque[float] = deque(maxlen=connections)  # due, but no connection is free
        self.answers: list[Answer] = []
        self.running = True
        self.opening: set[asyncio.Task[None]] = set()

    async def run(self, seconds: float, patience_s: float = 15) -> list[Answer]:
        """Send for some seconds, wait for the last answers, and return them all."""
        for _ in range(self.connections):
            self.open()
        start = time.monotonic()
        sent = 0
        while self.running and (now := time.monotonic()) < start + seconds:
            if self.rate is not None:
                while sent < (now - start) * self.rate:
                    self.waiting.append(start + sent / self.rate)
                    sent += 1
                self.send_waiting()
            await asyncio.sleep(TICK_S if self.rate is not None else 0.05)
        self.running = False
        end = time.monotonic() + patience_s
        while self.busy and time.monotonic() < end:
            await asyncio.sleep(0.02)
        for connection in [*self.busy, *self.free]:
            connection.transport.abort()
        await asyncio.sleep(0)
        return self.answers

    def open(self) -> None:
        """Open a connection, again and again until it succeeds."""
        task = asyncio.ensure_future(self._open())
        self.opening.add(task)
        task.add_done_callback(self.opening.discard)

    async def _open(self) -> None:
        while self.running:
            try:
                await asyncio.get_running_loop().create_connection(
                    lambda: Connection(self), self.host, self.port
                )
            except OSError:
                await asyncio.sleep(RETRY_S)
            else:
                return

    def ready(self, connection: "Connection") -> None:
        """Use a connection that is free."""
        if not self.running or connection.transport.is_closing():
            return
        if self.rate is None:
            connection.send(time.monotonic())
        else:
            self.free.append(connection)
            self.send_waiting()

    def send_waiting(self) -> None:
        """Send what is due on the connections that are free."""
        while self.waiting and self.free:
            self.free.popleft().send(self.waiting.popleft())


class Connection(asyncio.Protocol):
    """One connection."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.due: float | None = None
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self.port = transport.get_extra_info("sockname")[1]
        self.load.ready(self)

    def send(self, due: float) -> None:
        """Send a request."""
        self.due, self.sent = due, time.monotonic()
        self.load.busy.add(self)
        self.transport.write(next(self.load.requests))

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, end, body = self.buffer.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if not end or (length is not None and len(body) < int(length[1])):
            return
        self.buffer = b""
        status = int(head[9:12])
        self.finish(status)
        if b"\r\nconnection: close" in head.lower():
            return  # another one takes its place when it has closed
        if status == OVERLOADED and self.load.pause_s:
            asyncio.get_running_loop().call_later(self.load.pause_s, self.load.ready, self)
        else:
            self.load.ready(self)

    def finish(self, status: int) -> None:
        """Record what became of the request."""
        if self.due is not None:
            self.load.answers.append(Answer(self.due, self.sent, time.monotonic(), status, self.port))
            self.due = None
            self.load.busy.discard(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.finish(LOST)
        if self in self.load.free:
            self.load.free.remove(self)
        if self.load.running:
            self.load.open()


def drive(load: Load, seconds: float) -> list[Answer]:
    """Run a load alone in this thread."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(load.run(seconds))


def goodput(answers: Sequence[Answer], skip_s: float = 1.0) -> float:
    """Return the requests answered 200 a second, from `skip_s` after the first to the last that was sent."""
    start = min(answer.sent for answer in answers) + skip_s
    last = max(answer.sent for answer in answers)
    return sum(answer.status == 200 and start < answer.ended <= last for answer in answers) / (last - start)


def p99_ms(answers: Sequence[Answer], *, from_due: bool = False) -> float:
    """Return the 99th percentile of the time until the answer, of those answered 200."""
    times = [a.ended - (a.due if from_due else a.sent) for a in answers if a.status == 200]
    return float(np.percentile(times, 99)) * 1000 if times else float("nan")


def after(answers: Sequence[Answer], skip_s: float) -> list[Answer]:
    """Return the answers to requests sent later than `skip_s` after the first."""
    start = min(answer.sent for answer in answers) + skip_s
    return [answer for answer in answers if answer.sent > start]


def count(answers: Sequence[Answer]) -> str:
    """Return how many answers have each status, as text."""
    counts = Counter(answer.status for answer in answers)
    return ", ".join(f"{number} {'lost' if status == LOST else status}" for status, number in counts.items())
