"""Adaptive batching: waiting requests enter the model together, as soon as the model is free.

BentoML's own dispatcher holds a request back for as long as earlier batches have waited, and looks at its
queue once a millisecond. After a busy minute a lone client waits 13 ms for requests that never come, and
under load the model idles while responses are written. Here a batch starts when the model is free and the
event loop has read everything that has arrived: one request alone at no load, a full batch at full load;
nothing waits on purpose. A batch has a size that the model runs in one call: of 13 waiting items 8 start, and
the other 5 join those that arrive meanwhile.
docs/performance.md has the figures.
"""

import asyncio
import functools
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from fashion_mnist.errors import InputError

logger = logging.getLogger("bentoml.service")

MEMORY: Final = 0.9
"""Weight of the past in moving averages."""
MAX_JUMP: Final = 4.0
"""Cap on a new value, in multiples of the average: one interrupted batch moves the average by 30 % at most
and does not send the next one to the thread; a lasting slowdown by 20 times is noticed within 12 batches."""

In = TypeVar("In")
Out = TypeVar("Out")
Result = TypeVar("Result", contravariant=True)


class Waiter(Protocol[Result]):
    """Receives one result."""

    def has_left(self) -> bool:
        """Return whether nobody is waiting for the result any more."""

    def set_result(self, result: Result | Exception, /) -> None:
        """Receive the result, or the exception in its place; called once, in the event loop."""


class FutureWaiter(Generic[Out]):
    """Hands the result to a future. left: returns whether the client has left, None if that is unknown."""

    def __init__(self, future: "asyncio.Future[Out | Exception]", left: Callable[[], bool] | None) -> None:
        self.future = future
        self.left = left

    def has_left(self) -> bool:
        """Return whether the task was cancelled, or its client has left."""
        return self.future.done() or (self.left is not None and self.left())

    def set_result(self, result: Out | Exception, /) -> None:
        """Set the future's result."""
        if not self.future.done():
            self.future.set_result(result)


class Job(NamedTuple, Generic[In, Out]):
    """An item in the queue. until: the time.monotonic() at which it is refused with the code `late`."""

    until: float
    late: str
    item: In
    waiter: Waiter[Out]


class BatchQueue(Generic[In, Out]):
    """Items that wait for a model that runs one batch at a time.

    run: returns one result for each item of a batch; what it raises is the result of all of them.
    is_brief: whether a batch runs in the event loop, which is blocked meanwhile, or in a thread.
    sizes: allowed batch sizes in descending order, ending with 1. max_wait_s: seconds that an item may wait;
    then its result is InputError: overloaded. This is checked between batches only, not while one hangs.
    pace_s: seconds per item while full batches wait, a moving average; on_pace is called with it.
    """

    def __init__(
        self,
        run: Callable[[Sequence[In]], Sequence[Out]],
        is_brief: Callable[[Sequence[In]], bool],
        sizes: Sequence[int],
        max_wait_s: float,
    ) -> None:
        self.run = run
        self.is_brief = is_brief
        self.sizes = sizes
        self.max_wait_s = max_wait_s
        self._waiting: deque[Job[In, Out]] = deque()
        self._thread = ThreadPoolExecutor(1, "model")
        self._busy = False  # a batch runs in the thread
        self._planned = False  # `_look` is scheduled
        self._seen = 0
        self.pace_s = 0.0
        self.on_pace: Callable[[float], None] | None = None
        self._started_at: float | None = None  # the last batch, if another full one was waiting then
        self._started = 0  # items in it

    async def submit(
        self, item: In, deadline: float | None = None, left: Callable[[], bool] | None = None
    ) -> Out:
        """Enqueue an item and wait for its result; see `enqueue` and FutureWaiter.

        Raises what `run` raises, and InputError: overloaded, deadline_exceeded.
        """
        future: asyncio.Future[Out | Exception] = asyncio.get_running_loop().create_future()
        self.enqueue(item, FutureWaiter(future, left), deadline)
        result = await future
        if isinstance(result, Exception):
            raise result
        return result

    def enqueue(self, item: In, waiter: Waiter[Out], deadline: float | None = None) -> None:
        """Queue an item; its waiter receives a result, or InputError after `max_wait_s` or the deadline.

        deadline: a time.monotonic(); an item that can hardly meet it is refused at once.
        """
        now = time.monotonic()
        until, late = now + self.max_wait_s, "overloaded"
        if deadline is not None and deadline < until:
            until, late = deadline, "deadline_exceeded"
            if now + len(self._waiting) * self.pace_s >= deadline:
                waiter.set_result(_too_late(late))
                return
        self._waiting.append(Job(until, late, item, waiter))
        self._plan()

    def _plan(self) -> None:
        if self._waiting and not self._busy and not self._planned:
            self._planned = True
            self._seen = 0
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        """Start a batch, unless the event loop is still reading requests that have arrived.

        call_soon runs after the loop has polled its sockets once more. As long as that brings new items,
        look again: starting at once would run 32 simultaneous requests as 32 batches of one.
        """
        if self._seen < len(self._waiting) < self.sizes[0]:
            self._seen = len(self._waiting)
            asyncio.get_running_loop().call_soon(self._look)
        else:
            self._planned = False
            self._start_batch()

    def _take(self) -> list[Job[In, Out]]:
        """Take the next batch from the queue; refuse what is too late, drop what nobody waits for."""
        now = time.monotonic()
        jobs: list[Job[In, Out]] = []
        while self._waiting and len(jobs) < self.sizes[0]:
            job = self._waiting.popleft()
            if job.until > now and not job.waiter.has_left():
                jobs.append(job)
            else:
                _hand_out([job], [_too_late(job.late)])
        if jobs:
            size = next(size for size in self.sizes if size <= len(jobs))
            self._waiting.extendleft(reversed(jobs[size:]))
            del jobs[size:]
        self._measure(now, len(jobs))
        return jobs

    def _measure(self, now: float, size: int) -> None:
        """Update the pace: how fast items pass while the queue is never empty."""
        if self._started_at is not None:
            took_s = (now - self._started_at) / self._started
            self.pace_s = smooth(self.pace_s, took_s) if self.pace_s else took_s
            if self.on_pace is not None:
                self.on_pace(self.pace_s)
        self._started_at = now if size == self.sizes[0] <= len(self._waiting) else None
        self._started = size

    def _start_batch(self) -> None:
        jobs = self._take()
        if not jobs:
            return
        items = [job.item for job in jobs]
        try:
            brief = self.is_brief(items)
        except Exception as error:  # noqa: BLE001 - the waiters receive it
            _hand_out(jobs, [error] * len(jobs))
            self._plan()
            return
        if brief:
            # `_plan` comes after: the loop reads what arrived during the batch before the next one starts
            _hand_out(jobs, self._results(items))
            self._plan()
            return
        self._busy = True
        future = asyncio.get_running_loop().run_in_executor(self._thread, self._results, items)
        future.add_done_callback(functools.partial(self._end_batch, jobs))

    def _end_batch(
        self, jobs: Sequence[Job[In, Out]], future: asyncio.Future[Sequence[Out | Exception]]
    ) -> None:
        self._busy = False
        _hand_out(jobs, future.result())
        self._plan()

    def _results(self, items: Sequence[In]) -> Sequence[Out | Exception]:
        """Return one result for each item, whatever happens: a lost result would hang its client."""
        try:
            results = self.run(items)
            if len(results) != len(items):
                raise RuntimeError(f"{len(results)} results for {len(items)} items")
        except Exception as error:  # noqa: BLE001 - the waiters receive it
            return [error] * len(items)
        return results


def smooth(average: float, new: float) -> float:
    """Return a moving average with another value."""
    return MEMORY * average + (1 - MEMORY) * min(new, MAX_JUMP * average)


def _hand_out(jobs: Sequence[Job[In, Out]], results: Sequence[Out | Exception]) -> None:
    for job, result in zip(jobs, results, strict=True):
        try:
            job.waiter.set_result(result)
        except Exception:  # a failing waiter must not cost the others their results
            logger.exception("a response could not be written")


def _too_late(code: str) -> InputError:
    return InputError(code, "the request would wait, or has waited, too long for the model; try again later")
