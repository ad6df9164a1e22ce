"""Requests that are too large, too slow or too many get an error, and all others are served."""

import asyncio
import io
import re
import socket
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from support.requests import PNG, assert_error, npy, picture, post
from support.servers import Server, StartService

from fashion_mnist.serving.admission.capacity import MIN_IN_FLIGHT, Capacity


def test_limits_answer_413_408_and_503(start_service: StartService) -> None:
    settings = {
        "FASHION_MNIST_MAX_BODY_BYTES": "4000",
        "FASHION_MNIST_MAX_IMAGES": "2",
        "FASHION_MNIST_MAX_PIXELS": "1000",
        "FASHION_MNIST_BODY_TIMEOUT_S": "5",
        "FASHION_MNIST_MAX_IN_FLIGHT": "1",
        "FASHION_MNIST_WORKERS": "1",  # the limit on requests in flight is per worker
    }
    with start_service(**settings) as server, httpx.Client(base_url=server.url) as client:
        assert_error(post(client, "image/png", b"x" * 4001), 413, "body_too_large")
        chunked = client.post(
            "/predict", content=iter([b"x" * 3000] * 3), headers={"Content-Type": "image/png"}
        )
        assert_error(chunked, 413, "body_too_large")
        many = npy(np.zeros((3, 784), np.uint8))
        assert_error(post(client, "application/x-npy", many), 413, "too_many_images")
        wide = picture(np.zeros((20, 60), np.uint8), "PNG")
        assert_error(post(client, "image/png", wide), 413, "too_many_pixels")
        parts = client.post("/predict", files=[("a", PNG[:9])] * 3)
        assert_error(parts, 413, "too_many_parts")

        deadline = time.monotonic() + 20
        address = urlsplit(server.url)
        assert address.hostname is not None
        with socket.create_connection((address.hostname, address.port or 0)) as slow:
            head = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 99"
            slow.sendall(f"{head}\r\n\r\nx".encode())
            in_progress = re.compile(r'request_in_progress{endpoint="/predict".*} 1\.0')
            while not in_progress.search(client.get("/metrics").text):
                assert time.monotonic() < deadline, "the slow request never arrived"
            busy = post(client, "image/png", PNG)
            assert_error(busy, 503, "overloaded")
            assert int(busy.headers["retry-after"]) >= 1
            answer = b""
            while b"}" not in answer:
                answer += slow.recv(4096)
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"body_timeout" in answer


def test_large_bodies_stay_within_their_memory_limit(start_service: StartService) -> None:
    body = npy(np.zeros((100, 784), np.uint8))
    settings = {"FASHION_MNIST_MAX_BODY_BYTES": "100000", "FASHION_MNIST_MAX_BUFFERED_BYTES": "120000"}
    with (
        start_service(**settings, FASHION_MNIST_WORKERS="1") as server,
        httpx.Client(base_url=server.url) as client,
    ):
        address = urlsplit(server.url)
        assert address.hostname is not None
        for end in (body[-1:], None):  # completed, or abandoned
            with socket.create_connection((address.hostname, address.port or 0)) as slow:
                head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
                slow.sendall(f"{head}Content-Type: application/x-npy\r\n\r\n".encode() + body[:-1])
                # once the metrics count it, its bytes are read before those of the next request
                wait_until(lambda: in_progress(client) == 1)
                refused = wait_for(lambda: post(client, "application/x-npy", body), 503)
                assert_error(refused, 503, "overloaded")
                assert post(client, "image/png", PNG).status_code == 200
                if end is not None:
                    slow.sendall(end)
                    assert slow.recv(15) == b"HTTP/1.1 200 OK"
            assert wait_for(lambda: post(client, "application/x-npy", body), 200).status_code == 200
        failed = re.findall(r'request_total{.*http_response_code="500".*} (.*)', client.get("/metrics").text)
        assert set(failed) <= {"0.0"}  # a client that gives up is not a failure of the service


def in_progress(client: httpx.Client) -> int:
    text = client.get("/metrics").text
    found = re.findall(r'request_in_progress{endpoint="/predict".*} (.*)', text)
    return int(sum(map(float, found)))


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline


def wait_for(ask: Callable[[], httpx.Response], status: int) -> httpx.Response:
    deadline = time.monotonic() + 20
    while (answer := ask()).status_code != status:
        assert time.monotonic() < deadline, answer.text
    return answer


@pytest.mark.slow
def test_large_pictures_and_batches_do_not_hold_up_other_requests(
    start_service: StartService, test_images: NDArray[np.uint8]
) -> None:
    large = Image.new("LA", (4500, 4500), (200, 90))
    file = io.BytesIO()
    large.save(file, "PNG")

    async def run(service: Server) -> tuple[list[httpx.Response], list[float]]:
        async with httpx.AsyncClient(base_url=service.url, timeout=60) as http:
            form = [("image", file.getvalue())] * 4
            body = npy(np.concatenate([test_images] * 3))
            slow = [
                asyncio.create_task(http.post("/predict", files=form)),
                asyncio.create_task(
                    http.post("/predict", content=body, headers={"Content-Type": "application/x-npy"})
                ),
            ]
            waited = []
            while not all(task.done() for task in slow):
                start = time.perf_counter()
                assert (await http.get("/livez")).status_code == 200
                waited.append(time.perf_counter() - start)
            return await asyncio.gather(*slow), waited

    with start_service(FASHION_MNIST_WORKERS="1") as server:
        answers, waited = asyncio.run(run(server))
    assert [len(a.json()["predictions"]) for a in answers] == [4, 3000]
    assert waited
    assert sorted(waited)[len(waited) // 2] < 0.1


def test_requests_in_flight_follow_the_pace_but_not_a_burst() -> None:
    capacity = Capacity(4096)
    capacity.adapt(0.00025)
    assert capacity.limit == 3000
    for _ in range(5):  # batches that a burst of refusals has delayed
        capacity.adapt(0.0005)
    assert capacity.limit > 2600
    for _ in range(200):
        capacity.adapt(0.0005)
    assert 1500 <= capacity.limit < 1550
    for _ in range(500):
        capacity.adapt(1.0)
    assert capacity.limit == MIN_IN_FLIGHT
