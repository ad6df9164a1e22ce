"""Threads for request bodies, in two lanes, so that costly pictures never delay ordinary ones.

What a picture costs is known from its headers, before it is decoded. Ordinary ones share a few threads; a
costly one waits for the single heavy thread, which yields the CPU to everything else. Memory is bounded by
construction: a lane runs as many requests at once as it has threads, each within its part of the budget.
"""

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import thread_time
from typing import Final, TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from fashion_mnist.cpu import available_cpus
from fashion_mnist.errors import InputError
from fashion_mnist.imaging.cost import Cost
from fashion_mnist.imaging.decoder import Check
from fashion_mnist.serving.models.served_model import trim_memory

R = TypeVar("R")

MAX_LIGHT_S: Final = 0.2
"""A photograph of 12 megapixels takes 0.1 s."""
MAX_LIGHT_THREADS: Final = 4
LIGHT_PART: Final = 0.2
"""Part of the memory budget that the light lane's threads share."""
HEAVY_NICE: Final = 10
JSON_S_PER_BYTE: Final = 4e-8
"""CPU time that parsing takes."""
TRIM_S: Final = 3.0
"""After costly pictures, freed memory goes back to the system, at most once in this time."""
SLOWDOWN: Final = 4.0
"""A picture that takes this many times the budget of a request is given up: the estimate was wrong."""


class Lane:
    """Threads, and the line before them.

    each: the most that one request may cost here. nice: lowers the priority of the threads, and returns the
    memory of what they did to the system.
    """

    def __init__(self, name: str, threads: int, each: Cost, max_wait_s: float, nice: int = 0) -> None:
        self.each = each
        self.max_wait_s = max_wait_s
        self._pool = ThreadPoolExecutor(threads, name, initializer=_lower_priority, initargs=(nice,))
        self._free = asyncio.Semaphore(threads)
        self._trims = nice > 0
        self._trim_timer: asyncio.TimerHandle | None = None

    def takes(self, cost: Cost) -> bool:
        """Return whether a request of this cost may run here."""
        return cost.cpu_s <= self.each.cpu_s and cost.peak_bytes <= self.each.peak_bytes

    async def run(self, function: Callable[[], R]) -> R:
        """Run in a thread. Raises InputError, overloaded, if none is free within `max_wait_s`."""
        try:
            async with asyncio.timeout(self.max_wait_s):
                await self._free.acquire()
        except TimeoutError:
            raise InputError(
                "overloaded", f"no decoder was free within {self.max_wait_s:g} s; try again later"
            ) from None
        future = asyncio.get_running_loop().run_in_executor(self._pool, function)
        # not when this coroutine ends: it may be cancelled while the thread goes on
        future.add_done_callback(self._end)
        return await future

    def _end(self, _: object) -> None:
        self._free.release()
        if self._trims and self._trim_timer is None:
            self._trim_timer = asyncio.get_running_loop().call_later(TRIM_S, self._trim)

    def _trim(self) -> None:
        self._trim_timer = None
        self._pool.submit(trim_memory)


class Decoders:
    """The two lanes of one worker.

    max_bytes: memory of all decodings together. max_s: CPU time for the pictures of one request.
    max_wait_s: how long a request waits for a thread.
    """

    def __init__(self, max_bytes: int, max_s: float, max_wait_s: float) -> None:
        threads = min(available_cpus(), MAX_LIGHT_THREADS)
        light = Cost(min(MAX_LIGHT_S, max_s), int(LIGHT_PART * max_bytes / threads))
        heavy = Cost(max_s, int((1 - LIGHT_PART) * max_bytes))
        self.light = Lane("decode", threads, light, max_wait_s)
        self.heavy = Lane("decode-heavy", 1, heavy, max_wait_s, HEAVY_NICE)

    def lane_for(self, cost: Cost) -> Lane:
        """Return the lane for pictures of this cost. Raises InputError: too_many_pixels."""
        most = self.heavy.each
        if cost.cpu_s > most.cpu_s:
            raise InputError(
                "too_many_pixels",
                f"decoding would take about {cost.cpu_s:.1f} s of CPU time, at most {most.cpu_s:g} s are "
                "accepted; send fewer or smaller pictures",
            )
        if cost.peak_bytes > most.peak_bytes:
            raise InputError(
                "too_many_pixels",
                f"decoding would take about {cost.peak_bytes / 1e6:.0f} MB of memory, at most "
                f"{most.peak_bytes / 1e6:.0f} MB are accepted; send a smaller picture, or a JPEG",
            )
        return self.light if self.light.takes(cost) else self.heavy

    def lane_for_body(self, size: int) -> Lane:
        """Return the lane that opens a body of this many bytes."""
        return self.light if self.light.takes(Cost(size * JSON_S_PER_BYTE, size)) else self.heavy

    async def run_watched(self, function: Callable[[Check], R], cost: Cost, receive: Receive) -> R:
        """Decode in the lane for `cost`, and give up when the client leaves or the time is over.

        function: calls its argument now and then. receive: of ASGI, after the whole body.
        Raises InputError: too_many_pixels, overloaded; ClientDisconnect.
        """
        gone = threading.Event()
        limit_s = SLOWDOWN * self.heavy.each.cpu_s

        def decode() -> R:
            deadline = thread_time() + limit_s

            def check() -> None:
                if gone.is_set():
                    raise ClientDisconnect
                if thread_time() > deadline:
                    raise InputError(
                        "too_many_pixels",
                        f"decoding took more than {limit_s:g} s of CPU time; send fewer or smaller pictures",
                    )

            check()
            return function(check)

        lane = self.lane_for(cost)
        watcher = asyncio.create_task(_watch(receive, gone))
        try:
            return await lane.run(decode)
        finally:
            watcher.cancel()


async def _watch(receive: Receive, gone: threading.Event) -> None:
    """Set the event when the client leaves."""
    while (await receive())["type"] != "http.disconnect":
        pass
    gone.set()


def _lower_priority(nice: int) -> None:
    """Let this thread yield the CPU to others; only Linux has priorities of threads."""
    if nice and sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)
