"""Adaptive batching: BentoML's queue, emptied into the model as soon as the model is free.

BentoML's own controller waits for company as long as earlier batches have waited, and looks at its queue
once a millisecond. After a busy minute a lone client waits 13 ms for requests that never come, and under
load the model idles while answers are written. Here a batch starts when the model is free and the event
loop has read all that has come: one request alone at no load, `max_batch_size` at full load; nobody waits
on purpose. A batch has a size that the model runs in one call: 13 that wait are 8, and the other 5 with
those who come meanwhile.
docs/performance.md has the figures.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

from bentoml._internal.marshal.dispatcher import CorkDispatcher, Job

In = TypeVar("In")
Out = TypeVar("Out")
Answer = TypeVar("Answer", contravariant=True)


class Waiter(Protocol[Answer]):
    """Who waits for an answer. An asyncio.Future is one; none of these may raise."""

    def done(self) -> bool:
        """Whether nobody waits any more."""

    def set_result(self, result: Answer | Exception, /) -> None:
        """The answer, or why there is none."""

    def cancel(self) -> Any:
        """There will be no answer: the service stops."""


class BatchQueue(CorkDispatcher[In, Out]):
    """CorkDispatcher of bentoml 1.4.39 without its controller; queue and limits are BentoML's.

    run: answers a batch; what it raises is the answer to each of its items. sizes: those of batches,
    falling, the last 1; none is larger than `max_batch_size`. here: whether a batch is run in the event
    loop, which stands still meanwhile, instead of in a thread.
    """

    def __init__(
        self,
        run: Callable[[Sequence[In]], Sequence[Out]],
        sizes: Sequence[int],
        here: Callable[[Sequence[In]], bool],
        **limits: Any,
    ) -> None:
        super().__init__(get_batch_size=lambda item: 1, **limits)  # a batch is counted in requests
        self.run = run
        self.sizes = [size for size in sizes if size <= self.max_batch_size]
        self.here = here
        self._thread = ThreadPoolExecutor(1, "model")
        self._planned = False
        self._seen = 0

    async def answer(self, item: In) -> Out:
        """Wait for the item's batch; raises what its run raises, or `fallback`, see `put`."""
        future: asyncio.Future[Out | Exception] = self._loop.create_future()
        self.put(item, future)
        result = await future
        if isinstance(result, Exception):
            raise result
        return result

    def put(self, item: In, waiter: Waiter[Out]) -> None:
        """Have the item answered. One that waits longer than `max_latency` gets what `fallback` raises."""
        self._queue.append(Job(time.time(), item, waiter))  # type: ignore[arg-type]
        self._plan()

    def _plan(self) -> None:
        if not self._planned and self._queue and not self._sema.is_locked():  # type: ignore[no-untyped-call]
            self._planned = True
            self._seen = 0
            self._loop.call_soon(self._look)

    def _look(self) -> None:
        """Start a batch, unless the event loop is still reading requests that have come."""
        if self._seen < len(self._queue) < self.max_batch_size:
            self._seen = len(self._queue)
            self._loop.call_soon(self._look)
        else:
            self._planned = False
            self._start_batch()

    def _start_batch(self) -> None:
        oldest = time.time() - self.max_latency
        while self._queue and self._queue[0].enqueue_time < oldest:
            self._expire(self._queue.popleft())
        size = next((size for size in self.sizes if size <= len(self._queue)), 0)
        jobs = tuple(self._get_inputs(size))
        if not jobs:
            return
        self._sema.acquire()  # type: ignore[no-untyped-call]
        items = [job.data for job in jobs]
        if self.here(items):
            results = self._run(items)
            self._sema.release()  # type: ignore[no-untyped-call]
            _hand_out(jobs, results)
            self._plan()
            return

        def end(future: asyncio.Future[Sequence[Out | Exception]]) -> None:
            self._sema.release()  # type: ignore[no-untyped-call]
            if self._queue:
                self._start_batch()  # before the answers are written, so that the model has work meanwhile
            _hand_out(jobs, future.result())

        self._loop.run_in_executor(self._thread, self._run, items).add_done_callback(end)

    def _run(self, items: Sequence[In]) -> Sequence[Out | Exception]:
        try:
            return self.run(items)
        except Exception as error:  # noqa: BLE001 - raised to those who wait
            return [error] * len(items)

    def _expire(self, job: Job[In, Out]) -> None:
        try:
            self.fallback()
        except Exception as error:  # noqa: BLE001 - raised to the one who waits
            _hand_out([job], [error])


def _hand_out(jobs: Sequence[Job[In, Out]], results: Sequence[Out | Exception]) -> None:
    for job, result in zip(jobs, results, strict=True):
        if not job.future.done():
            job.future.set_result(result)
