"""The queue: what waits goes into the model together, and at once."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import NoReturn

import pytest
from bentoml.exceptions import ServiceUnavailable

from fashion_mnist.batching import BatchQueue

SIZES = (8, 4, 2, 1)


def refuse() -> NoReturn:
    raise ServiceUnavailable("process is overloaded")


class Model:
    """Doubles numbers; stays busy until `free` is set. batches: what it was given."""

    def __init__(self, most: int = 4, latency_ms: int = 10_000) -> None:
        self.batches: list[list[int]] = []
        self.free = asyncio.Event()
        queue: BatchQueue[int, int] = BatchQueue(
            SIZES,
            max_latency_in_ms=latency_ms,
            max_batch_size=most,
            fallback=refuse,
            get_batch_size=lambda item: 1,
        )
        self.answer = queue(self.run)

    async def run(self, numbers: Sequence[int]) -> list[int]:
        self.batches.append(list(numbers))
        await self.free.wait()
        if 13 in numbers:
            raise ZeroDivisionError
        return [2 * number for number in numbers]


def run(test: Coroutine[None, None, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 10))


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_one_alone_starts_at_once_and_what_comes_meanwhile_goes_together() -> None:
    async def test() -> None:
        model = Model()
        tasks = [asyncio.create_task(model.answer(n)) for n in range(8)]
        await settle()
        assert model.batches == [[0]]
        model.free.set()
        assert await asyncio.gather(*tasks) == [0, 2, 4, 6, 8, 10, 12, 14]
        assert model.batches == [[0], [1, 2, 3, 4], [5, 6], [7]]

    run(test())


def test_a_failure_reaches_its_batch_and_no_other() -> None:
    async def test() -> None:
        model = Model()
        tasks = [asyncio.create_task(model.answer(n)) for n in (0, 13, 1, 2, 3, 4)]
        await settle()
        model.free.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(r) for r in results] == [int, *[ZeroDivisionError] * 4, int]
        assert await model.answer(21) == 42

    run(test())


def test_who_waits_too_long_is_refused() -> None:
    async def test() -> None:
        model = Model(latency_ms=20)
        first = asyncio.create_task(model.answer(1))
        await settle()
        late = asyncio.create_task(model.answer(2))
        await asyncio.sleep(0.03)
        model.free.set()
        assert await first == 2
        with pytest.raises(ServiceUnavailable):
            await late
        assert model.batches == [[1]]

    run(test())


def test_who_gives_up_leaves_the_others_their_answers() -> None:
    async def test() -> None:
        model = Model()
        tasks = [asyncio.create_task(model.answer(n)) for n in range(4)]
        await settle()
        tasks[0].cancel()
        tasks[2].cancel()
        model.free.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [results[1], results[3]] == [2, 6]

    run(test())
