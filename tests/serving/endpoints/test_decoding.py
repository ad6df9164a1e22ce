"""The two lanes for decoding: who waits for whom, who is refused, who is given up."""

import asyncio
import io
import threading
import time

import numpy as np
import pytest
from PIL import Image
from starlette.requests import ClientDisconnect
from starlette.types import Message
from support.requests import assert_error
from support.servers import StartService

from fashion_mnist.errors import InputError
from fashion_mnist.imaging.cost import Cost
from fashion_mnist.imaging.decoder import Check
from fashion_mnist.serving.endpoints import decoding
from fashion_mnist.serving.endpoints.decoding import Decoders

HEAVY = Cost(2.0, 200_000_000)


def decoders(max_wait_s: float = 10) -> Decoders:
    return Decoders(400_000_000, 6.0, max_wait_s)


async def stay() -> Message:
    await asyncio.sleep(60)
    return {"type": "http.disconnect"}


def test_costs_choose_the_lane() -> None:
    both = decoders()
    assert both.lane_for(Cost(0.1, 10_000_000)) is both.light
    assert both.lane_for(Cost(0.5, 10_000_000)) is both.heavy
    assert both.lane_for(Cost(0.1, 200_000_000)) is both.heavy
    for cost in (Cost(6.1, 0), Cost(0.1, 330_000_000)):
        with pytest.raises(InputError, match="at most") as error:
            both.lane_for(cost)
        assert error.value.code == "too_many_pixels"
    assert both.lane_for_body(100_000) is both.light
    assert both.lane_for_body(30_000_000) is both.heavy


def test_light_requests_pass_heavy_ones_and_the_line_has_a_limit() -> None:
    go = threading.Event()

    async def run() -> None:
        both = decoders(max_wait_s=0.2)
        first = asyncio.create_task(both.run_watched(lambda check: go.wait(10), HEAVY, stay))
        await asyncio.sleep(0)
        assert await both.light.run(lambda: "light") == "light"
        with pytest.raises(InputError, match="no decoder was free") as error:
            await both.run_watched(lambda check: None, HEAVY, stay)
        assert error.value.code == "overloaded"
        go.set()
        assert await first
        assert await both.run_watched(lambda check: "again", HEAVY, stay) == "again"

    asyncio.run(run())


def test_a_picture_is_given_up_when_its_client_leaves() -> None:
    started = threading.Event()

    def decode(check: Check) -> None:
        started.set()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            check()
        raise AssertionError("it was not given up")

    async def leave() -> Message:
        while not started.is_set():
            await asyncio.sleep(0.001)
        return {"type": "http.disconnect"}

    async def run() -> None:
        with pytest.raises(ClientDisconnect):
            await decoders().run_watched(decode, HEAVY, leave)

    asyncio.run(run())


def test_a_wrong_estimate_is_bounded_by_the_clock() -> None:
    def decode(check: Check) -> None:
        while True:
            check()

    async def run() -> None:
        with pytest.raises(InputError, match="took more than"):
            await Decoders(400_000_000, 0.05, 10).run_watched(decode, Cost(0.01, 0), stay)

    asyncio.run(run())


def test_memory_goes_back_after_costly_pictures_but_not_after_each(monkeypatch: pytest.MonkeyPatch) -> None:
    trims: list[str] = []
    monkeypatch.setattr(decoding, "TRIM_S", 0.2)
    monkeypatch.setattr(decoding, "trim_memory", lambda: trims.append(threading.current_thread().name))

    async def run() -> None:
        both = decoders()
        await both.light.run(lambda: None)
        await asyncio.sleep(0.3)
        assert trims == []
        for _ in range(3):
            await both.run_watched(lambda check: None, HEAVY, stay)
        assert trims == []
        await asyncio.sleep(0.3)
        assert trims == ["decode-heavy_0"]
        await both.run_watched(lambda check: None, HEAVY, stay)
        await asyncio.sleep(0.3)
        assert len(trims) == 2

    asyncio.run(run())


def encode(picture: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.slow
def test_over_http(start_service: StartService) -> None:
    """Six costly requests at once: ordinary pictures are answered, a hopeless one is refused."""
    import httpx

    webp = encode(Image.new("RGB", (4000, 3500)), "WEBP", lossless=True, method=0)
    hopeless = encode(Image.new("RGB", (8000, 5000)), "WEBP", lossless=True, method=0)
    noise = np.random.default_rng(0).integers(0, 256, (120, 120, 3), np.uint8)
    bmp = encode(Image.fromarray(noise), "BMP")

    async def run(url: str) -> None:
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            refused = await client.post("/predict", content=hopeless)
            assert_error(refused, 413, "too_many_pixels")
            form = [("file", (f"{n}.webp", webp)) for n in range(4)]
            heavy = [asyncio.create_task(client.post("/predict", files=form)) for _ in range(6)]
            await asyncio.sleep(0.3)
            took = []
            for _ in range(30):
                start = time.monotonic()
                assert (await client.post("/predict", content=bmp)).status_code == 200
                took.append(time.monotonic() - start)
            assert not all(task.done() for task in heavy)
            assert max(took) < 1
            assert {task.status_code for task in await asyncio.gather(*heavy)} == {200}

    with start_service(FASHION_MNIST_WORKERS="1") as server:
        asyncio.run(run(server.url))
