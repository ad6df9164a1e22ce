"""A long run of good, bad, slow, large and abandoned requests leaves nothing behind in a worker.

SOAK_REQUESTS=200000 runs the long form, of about ten minutes on two cores.
"""

import http.client
import os
import random
import socket
import threading
import time
from collections import Counter
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import numpy as np
import psutil
import pytest
from bad_files import NPY, PICTURES
from bad_inputs import FORM, JSON, Bad
from PIL import Image
from support.pictures import encode
from support.requests import PNG, npy
from support.servers import Server, StartService, wait_for

from fashion_mnist.serving.endpoints.decoding import TRIM_S

REQUESTS: Final = int(os.environ.get("SOAK_REQUESTS", "10000"))
CLIENTS: Final = 8
HEAVY_EVERY: Final = 500
WARM_UP: Final = 3000
"""Enough for each of the heavy pictures, whose decoders are loaded at the first."""


class Leftovers(NamedTuple):
    """What a worker holds when nothing runs. memory_bytes: resident."""

    memory_bytes: int
    descriptors: int
    threads: int


class Client:
    """One client, which keeps its connection where it can. slow: sends bodies in pieces."""

    def __init__(self, server: Server, seed: int) -> None:
        self.address = urlsplit(server.url).netloc
        self.peer = "127.0.0.1", int(self.address.rpartition(":")[2])
        self.random = random.Random(seed)
        self.connection = http.client.HTTPConnection(self.address, timeout=60)

    def send(self, body: bytes, kind: str, pause_s: float = 0.0) -> str:
        self.connection.putrequest("POST", "/predict")
        self.connection.putheader("Content-Type", kind)
        self.connection.putheader("Content-Length", str(len(body)))
        self.connection.endheaders()
        step = len(body) if pause_s == 0 else len(body) // 5 + 1
        for start in range(0, len(body), step):
            self.connection.send(body[start : start + step])
            time.sleep(pause_s)
        answer = self.connection.getresponse()
        answer.read()
        return str(answer.status)

    def send_bad(self, bad: Bad) -> str:
        """Send a request that is refused, on a connection that may be closed after it."""
        with socket.create_connection(self.peer, timeout=20) as raw:
            head = "".join(f"{name}: {value}\r\n" for name, value in bad.headers)
            head += f"Host: x\r\nContent-Length: {len(bad.body)}\r\nConnection: close\r\n\r\n"
            raw.sendall(f"{bad.method} {bad.target} HTTP/1.1\r\n{head}".encode() + bad.body)
            answer = http.client.HTTPResponse(raw)
            answer.begin()
            answer.read()
        return "bad"  # a few are accepted: here the limits are the default ones

    def abandon(self) -> str:
        """Leave in the middle of a body."""
        with socket.create_connection(self.peer, timeout=20) as raw:
            raw.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\n" + bytes(20_000))
        return "left"

    def next(self, number: int) -> str:
        """Send one request of the mixture; return what became of it."""
        draw = self.random.random()
        if number % HEAVY_EVERY == 0:
            return "heavy " + self.send(HEAVY[number // HEAVY_EVERY % len(HEAVY)], "image/png")
        if draw < 0.15:
            return self.send_bad(self.random.choice(BAD))
        if draw < 0.18:
            return self.abandon()
        if draw < 0.20:
            return self.send(PIXELS, "application/json", pause_s=0.01)
        if draw < 0.22:
            return self.send(MANY, "application/x-npy")
        return self.send(*self.random.choice([(PIXELS, "application/json"), (PNG, "image/png")]))


BAD: Final = [bad for bad in (*JSON, *FORM, *NPY, *PICTURES) if not bad.raw and len(bad.body) < 200_000]
PIXELS: Final = b'{"pixels": [' + b",".join([b"7"] * 784) + b"]}"
MANY: Final = npy(np.zeros((500, 28, 28), np.uint8))
NOISE: Final = Image.effect_noise((500, 500), 50).resize((4000, 3000))
HEAVY: Final = [
    encode(NOISE, "PNG", compress_level=1),
    encode(NOISE.convert("RGB"), "JPEG"),
    encode(NOISE.convert("RGB").resize((2000, 1500)), "JPEG", progressive=True),
    encode(NOISE.resize((2000, 1500)), "WEBP", method=0),
    encode(NOISE, "TIFF", compression="tiff_lzw"),
]


def run(server: Server, count: int, seed: int) -> Counter[str]:
    """Send so many requests from several clients; count what became of them."""
    outcomes: Counter[str] = Counter()
    lock = threading.Lock()
    numbers = iter(range(count))

    def work(index: int) -> None:
        client = Client(server, seed + index)
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                break
            outcome = client.next(number)
            with lock:
                outcomes[outcome] += 1
        client.connection.close()

    clients = [threading.Thread(target=work, args=(index,)) for index in range(CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    return outcomes


def measure(worker: psutil.Process, connections: int) -> Leftovers:
    """Measure when all connections have ended, and freed memory had the time to go back."""
    assert wait_for(lambda: len(worker.net_connections("tcp")) <= connections, 30)
    time.sleep(TRIM_S + 1)
    return Leftovers(worker.memory_info().rss, worker.num_fds(), worker.num_threads())


@pytest.mark.slow
def test_nothing_accumulates_in_a_worker(start_service: StartService) -> None:
    with start_service(FASHION_MNIST_WORKERS="1") as server:
        (worker,) = server.workers
        idle = len(worker.net_connections("tcp"))
        run(server, WARM_UP, seed=0)
        before = measure(worker, idle)
        outcomes = run(server, REQUESTS, seed=1000)
        after = measure(worker, idle)
        print(f"{before} before, {after} after {dict(outcomes)}")
        assert set(outcomes) == {"200", "heavy 200", "bad", "left"}
        assert after.memory_bytes <= 1.05 * before.memory_bytes
        assert after.descriptors <= before.descriptors
        assert after.threads <= before.threads
        assert server.workers == [worker]
        assert "Traceback" not in server.log
