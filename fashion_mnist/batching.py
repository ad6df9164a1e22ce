"""Adaptive batching: BentoML's queue, emptied into the model as soon as the model is free.

BentoML's own controller waits for company as long as earlier batches have waited, and looks at its queue
once a millisecond. After a busy minute a lone client waits 13 ms for requests that never come, and under
load the model idles while answers are written. Here a batch starts when the model is free, with all that
has come meanwhile: one request alone at no load, `max_batch_size` at full load; nobody waits on purpose.
A batch has a size that the model runs in one call: 13 that wait are 8, and the other 5 with those who come
meanwhile.
docs/performance.md has the figures.
"""

import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from bentoml._internal.marshal.dispatcher import CorkDispatcher, Job

In = TypeVar("In")
Out = TypeVar("Out")


class BatchQueue(CorkDispatcher[In, Out]):
    """CorkDispatcher of bentoml 1.4.39 without its controller; queue and limits are BentoML's.

    sizes: those of batches, falling, the last 1; none is larger than `max_batch_size`.
    """

    def __init__(self, sizes: Sequence[int], **limits: Any) -> None:
        super().__init__(**limits)
        self.sizes = [size for size in sizes if size <= self.max_batch_size]

    def __call__(
        self, callback: Callable[[Sequence[In]], Coroutine[None, None, Sequence[Out]]]
    ) -> Callable[[In], Coroutine[None, None, Out]]:
        """A function that answers one item by `callback`, which answers a batch."""
        self.callback = callback
        return self.answer

    async def answer(self, item: In) -> Out:
        """Wait for the item's batch. What the callback raises is raised to every item of its batch.

        An item that waits longer than `max_latency` gets `fallback`.
        """
        job: Job[In, Out] = Job(time.time(), item, self._loop.create_future())
        self._queue.append(job)
        self._start_batch()
        result = await job.future
        if isinstance(result, Exception):
            raise result
        return result

    def _start_batch(self) -> None:
        """If the model is free, give it what waits."""
        if not self._queue or self._sema.is_locked():  # type: ignore[no-untyped-call]
            return
        oldest = time.time() - self.max_latency
        while self._queue and self._queue[0].enqueue_time < oldest:
            self._expire(self._queue.popleft())
        size = next((size for size in self.sizes if size <= len(self._queue)), 0)
        if jobs := tuple(self._get_inputs(size)):
            self._sema.acquire()  # type: ignore[no-untyped-call]
            self._batch = self._loop.create_task(self._run_batch(jobs))

    def _expire(self, job: Job[In, Out]) -> None:
        try:
            self.fallback()
        except Exception as error:  # noqa: BLE001 - raised to the one who waits
            job.future.set_result(error)

    async def _run_batch(self, jobs: tuple[Job[In, Out], ...]) -> None:
        results: Sequence[Out | Exception]
        try:
            results = await self.callback([job.data for job in jobs])
        except Exception as error:  # noqa: BLE001 - raised to those who wait
            results = [error] * len(jobs)
        finally:
            self._sema.release()  # type: ignore[no-untyped-call]
        self._start_batch()  # before the answers are written, so that the model has work meanwhile
        for job, result in zip(jobs, results, strict=True):
            if not job.future.done():
                job.future.set_result(result)
