"""The queue: waiting items enter the model together, and without delay."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Sequence

import pytest

from fashion_mnist.errors import InputError
from fashion_mnist.serving.models.batching import BatchQueue

SIZES = (8, 4, 2, 1)


class Model:
    """Doubles numbers. here: runs in the event loop; else in a thread, busy until `free` is set."""

    def __init__(self, most: int = 4, *, here: bool = False) -> None:
        self.batches: list[list[int]] = []
        self.threads: set[int] = set()
        self.free = threading.Event()
        self.blocks = not here
        sizes = [size for size in SIZES if size <= most]
        self.queue: BatchQueue[int, int] = BatchQueue(self.run, self.is_brief, sizes, max_wait_s=10)
        self.here = here
        self.submit = self.queue.submit

    def is_brief(self, numbers: Sequence[int]) -> bool:
        if 14 in numbers:
            raise ZeroDivisionError
        return self.here

    def run(self, numbers: Sequence[int]) -> list[int]:
        self.batches.append(list(numbers))
        self.threads.add(threading.get_ident())
        if self.blocks:
            self.free.wait(10)
        if 13 in numbers:
            raise ZeroDivisionError
        if 15 in numbers:
            return []
        return [2 * number for number in numbers]


def run(test: Coroutine[None, None, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 10))


async def wait_for(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def test_waiting_items_start_together_and_later_ones_form_the_next_batch() -> None:
    async def test() -> None:
        model = Model()
        tasks = [asyncio.create_task(model.submit(n)) for n in range(3)]
        await wait_for(lambda: bool(model.batches))
        assert model.batches == [[0, 1]]  # a size that the model runs in one call
        tasks += [asyncio.create_task(model.submit(n)) for n in range(3, 10)]
        await asyncio.sleep(0)
        model.free.set()
        assert await asyncio.gather(*tasks) == [2 * n for n in range(10)]
        assert model.batches == [[0, 1], [2, 3, 4, 5], [6, 7, 8, 9]]
        assert threading.get_ident() not in model.threads

    run(test())


def test_batches_form_the_same_way_in_the_event_loop() -> None:
    async def test() -> None:
        model = Model(here=True)
        tasks = [asyncio.create_task(model.submit(n)) for n in range(7)]
        assert await asyncio.gather(*tasks) == [2 * n for n in range(7)]
        assert model.batches == [[0, 1, 2, 3], [4, 5], [6]]
        assert await model.submit(21) == 42
        assert model.threads == {threading.get_ident()}

    run(test())


def test_the_event_loop_keeps_reading_while_requests_arrive() -> None:
    async def test() -> None:
        model = Model(here=True, most=8)
        tasks = []
        for number in range(4):  # one per turn of the event loop, before the model has started
            tasks.append(asyncio.create_task(model.submit(number)))
            await asyncio.sleep(0)
        assert await asyncio.gather(*tasks) == [0, 2, 4, 6]
        assert model.batches == [[0, 1, 2, 3]]

    run(test())


@pytest.mark.parametrize("here", [False, True])
@pytest.mark.parametrize(
    ("bad", "error"), [(13, ZeroDivisionError), (14, ZeroDivisionError), (15, RuntimeError)]
)
def test_a_failure_reaches_its_batch_and_no_other(here: bool, bad: int, error: type) -> None:
    async def test() -> None:
        model = Model(here=here)
        model.free.set()
        tasks = [asyncio.create_task(model.submit(n)) for n in (0, bad, 1, 2, 3, 4)]
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(r) for r in results] == [*[error] * 4, int, int]
        assert await model.submit(21) == 42

    run(test())


def test_an_item_that_waits_too_long_is_refused() -> None:
    async def test() -> None:
        model = Model()
        first = asyncio.create_task(model.submit(1))
        await wait_for(lambda: bool(model.batches))
        model.queue.max_wait_s = 0
        late = asyncio.create_task(model.submit(2))
        await asyncio.sleep(0.01)
        model.free.set()
        assert await first == 2
        with pytest.raises(InputError, match="has waited, too long"):
            await late
        assert model.batches == [[1]]
        model.queue.max_wait_s = 10
        assert await model.submit(3) == 6

    run(test())


def test_an_item_is_dropped_after_its_deadline_or_when_its_client_has_left() -> None:
    async def test() -> None:
        model = Model()
        first = asyncio.create_task(model.submit(1))
        await wait_for(lambda: bool(model.batches))
        soon, later = time.monotonic() + 0.01, time.monotonic() + 10
        others = [model.submit(2, soon), model.submit(3, later, lambda: True), model.submit(4, later)]
        tasks = [asyncio.create_task(other) for other in others]
        await asyncio.sleep(0.02)
        model.free.set()
        results = await asyncio.gather(first, *tasks, return_exceptions=True)
        codes = [getattr(result, "code", result) for result in results]
        assert codes == [2, "deadline_exceeded", "deadline_exceeded", 8]
        assert model.batches == [[1], [4]]
        model.queue.pace_s = 1.0
        model.free.clear()
        waiting = [asyncio.create_task(model.submit(5))]
        await wait_for(lambda: len(model.batches) == 3)
        waiting += [asyncio.create_task(model.submit(n)) for n in range(6, 9)]
        await asyncio.sleep(0.01)
        with pytest.raises(InputError) as refused:  # at once: three wait before it
            await model.submit(9, time.monotonic() + 0.5)
        assert refused.value.code == "deadline_exceeded"
        model.free.set()
        await asyncio.gather(*waiting)

    run(test())


def test_the_pace_is_measured_while_full_batches_wait() -> None:
    async def test() -> None:
        paces: list[float] = []
        model = Model(most=2, here=True)
        model.queue.on_pace = paces.append
        await model.submit(1)
        assert not paces
        await asyncio.gather(*(model.submit(n) for n in range(16, 26)))
        assert len(paces) == 4
        assert 0 < model.queue.pace_s < 0.1

    run(test())


@pytest.mark.parametrize("here", [False, True])
def test_cancelled_items_do_not_affect_the_others(here: bool) -> None:
    async def test() -> None:
        model = Model(here=here)
        tasks = [asyncio.create_task(model.submit(n)) for n in range(4)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        tasks[2].cancel()
        model.free.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [results[1], results[3]] == [2, 6]

    run(test())


class Broken:
    """A waiter that fails to receive its result."""

    def has_left(self) -> bool:
        return False

    def set_result(self, result: object, /) -> None:
        raise ConnectionError


@pytest.mark.parametrize("here", [False, True])
def test_a_failing_waiter_does_not_affect_the_others(here: bool) -> None:
    async def test() -> None:
        model = Model(here=here)
        model.free.set()
        model.queue.enqueue(1, Broken())
        assert await model.submit(2) == 4
        assert model.batches == [[1, 2]]
        assert await model.submit(3) == 6

    run(test())


def test_batches_alternate_between_event_loop_and_thread() -> None:
    async def test() -> None:
        model = Model(most=2)
        model.is_brief = lambda numbers: numbers[0] % 2 == 0  # type: ignore[method-assign]
        model.queue.is_brief = model.is_brief
        model.free.set()
        tasks = [asyncio.create_task(model.submit(n)) for n in (1, 1, 2, 2, 3, 3, 4, 4)]
        assert await asyncio.gather(*tasks) == [2, 2, 4, 4, 6, 6, 8, 8]
        assert model.batches == [[1, 1], [2, 2], [3, 3], [4, 4]]
        assert len(model.threads) == 2

    run(test())
