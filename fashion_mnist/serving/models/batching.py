"""Adaptive batching: what waits goes into the model together, as soon as the model is free.

BentoML's own controller waits for company as long as earlier batches have waited, and looks at its queue
once a millisecond. After a busy minute a lone client waits 13 ms for requests that never come, and under
load the model idles while answers are written. Here a batch starts when the model is free and the event
loop has read all that has come: one request alone at no load, a full batch at full load; nobody waits on
purpose. A batch has a size that the model runs in one call: 13 that wait are 8, and the other 5 with those
who come meanwhile.
docs/performance.md has the figures.
"""

import asyncio
import functools
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, NamedTuple, Protocol, TypeVar

from fashion_mnist.errors import InputError

logger = logging.getLogger("bentoml.service")

In = TypeVar("In")
Out = TypeVar("Out")
Answer = TypeVar("Answer", contravariant=True)


class Waiter(Protocol[Answer]):
    """Who waits for an answer. An asyncio.Future is one."""

    def done(self) -> bool:
        """Whether nobody waits any more."""

    def set_result(self, result: Answer | Exception, /) -> None:
        """Take the answer, or the exception in its place; called once, in the event loop."""


class Job(NamedTuple, Generic[In, Out]):
    """since: seconds of time.monotonic() at which it was put."""

    since: float
    item: In
    waiter: Waiter[Out]


class BatchQueue(Generic[In, Out]):
    """Items that wait for a model that runs one batch at a time.

    run: answers a batch, item by item; what it raises is the answer to all of them. sizes: those of
    batches, falling, the last 1. is_brief: whether a batch is run in the event loop, which stands still
    meanwhile, instead of in a thread. max_wait_s: seconds that an item may wait for a batch that could start;
    one that never ends refuses nobody.
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
        self._busy = False
        self._planned = False
        self._seen = 0

    async def answer(self, item: In) -> Out:
        """Wait for the item's batch; raises what its run raises, and InputError: overloaded."""
        future: asyncio.Future[Out | Exception] = asyncio.get_running_loop().create_future()
        self.put(item, future)
        result = await future
        if isinstance(result, Exception):
            raise result
        return result

    def put(self, item: In, waiter: Waiter[Out]) -> None:
        """Have the item answered; after `max_wait_s`, with InputError: overloaded."""
        self._waiting.append(Job(time.monotonic(), item, waiter))
        self._plan()

    def _plan(self) -> None:
        if self._waiting and not self._busy and not self._planned:
            self._planned = True
            self._seen = 0
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        """Start a batch, unless the event loop is still reading requests that have come."""
        if self._seen < len(self._waiting) < self.sizes[0]:
            self._seen = len(self._waiting)
            asyncio.get_running_loop().call_soon(self._look)
        else:
            self._planned = False
            self._refuse_late()
            if self._waiting:
                self._start()

    def _refuse_late(self) -> None:
        oldest = time.monotonic() - self.max_wait_s
        while self._waiting and self._waiting[0].since < oldest:
            late = f"the request waited longer than {self.max_wait_s:g} s; try again"
            _hand_out([self._waiting.popleft()], [InputError("overloaded", late)])

    def _start(self) -> None:
        size = next(size for size in self.sizes if size <= len(self._waiting))
        jobs = [self._waiting.popleft() for _ in range(size)]
        items = [job.item for job in jobs]
        try:
            brief = self.is_brief(items)
        except Exception as error:  # noqa: BLE001 - handed to those who wait
            _hand_out(jobs, [error] * len(jobs))
            self._plan()
            return
        if brief:
            _hand_out(jobs, self._answers(items))
            self._plan()
            return
        self._busy = True
        future = asyncio.get_running_loop().run_in_executor(self._thread, self._answers, items)
        future.add_done_callback(functools.partial(self._end, jobs))

    def _end(self, jobs: Sequence[Job[In, Out]], future: asyncio.Future[Sequence[Out | Exception]]) -> None:
        self._busy = False
        _hand_out(jobs, future.result())
        self._plan()

    def _answers(self, items: Sequence[In]) -> Sequence[Out | Exception]:
        """One for each item, whatever happens."""
        try:
            results = self.run(items)
            if len(results) != len(items):
                raise RuntimeError(f"{len(results)} answers for {len(items)} items")
        except Exception as error:  # noqa: BLE001 - handed to those who wait
            return [error] * len(items)
        return results


def _hand_out(jobs: Sequence[Job[In, Out]], results: Sequence[Out | Exception]) -> None:
    for job, result in zip(jobs, results, strict=True):
        if job.waiter.done():
            continue
        try:
            job.waiter.set_result(result)
        except Exception:  # the others have their answers all the same
            logger.exception("an answer could not be written")
