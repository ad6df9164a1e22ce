"""Requests that are answered without ASGI: which are taken, and what becomes of them."""

import asyncio
import json
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from support.paths import BOOT
from support.requests import npy, picture

from fashion_mnist.errors import InputError
from fashion_mnist.inference.predictions import Predictions
from fashion_mnist.inference.predictor import CHUNKS
from fashion_mnist.registry import store
from fashion_mnist.serving.config import ServeConfig
from fashion_mnist.serving.endpoints.predict import QUICK_BYTES, PredictEndpoint
from fashion_mnist.serving.models.batching import BatchQueue
from fashion_mnist.serving.models.served_model import ServedModel
from fashion_mnist.serving.transport.fast_path import Headers

PNG = (b"image/png", BOOT.read_bytes())


class Request:
    """An exchange that keeps its answer."""

    def __init__(self, kind: bytes, body: bytes, query: bytes = b"") -> None:
        self.headers: Headers = [(b"content-type", kind), (b"x-request-id", b"mine")]
        self.body = body
        self.query = query
        self.answers: list[tuple[int, dict[bytes, bytes], bytes]] = []

    def respond(self, status: int, headers: Headers, body: bytes) -> None:
        self.answers.append((status, dict(headers), body))


@pytest.fixture(scope="module")
def served() -> ServedModel:
    return ServedModel(store.choose("bundled"), ServeConfig())


class Service:
    """An endpoint; error: what the model raises."""

    def __init__(self, served: ServedModel, error: Exception | None = None, **settings: int) -> None:
        self.model = served
        self.error = error
        queue = BatchQueue(self.run, lambda items: True, CHUNKS, max_wait_s=10)
        self.endpoint = PredictEndpoint(
            lambda: served, ServeConfig().model_copy(update=settings), queue, None
        )

    def run(self, items: Sequence[NDArray[np.uint8]]) -> Sequence[Predictions]:
        if self.error is not None:
            raise self.error
        return self.model.predict(list(items))

    def ask(self, *requests: Request) -> list[bool]:
        """Offer the requests, one after the other, and wait for the answers."""

        async def run() -> list[bool]:
            taken = [self.endpoint.take(request) for request in requests]  # type: ignore[arg-type]
            for _ in range(5):
                await asyncio.sleep(0)
            return taken

        taken = asyncio.run(run())
        assert self.endpoint.in_flight == 0
        return taken


def test_what_is_taken_is_answered(served: ServedModel) -> None:
    requests = [Request(*PNG), Request(*PNG, query=b"top=2"), Request(*PNG)]
    assert Service(served).ask(*requests) == [True] * 3
    for request, count in zip(requests, (10, 2, 10), strict=True):
        ((status, headers, body),) = request.answers
        answer = json.loads(body)
        assert (status, answer["prediction"], len(answer["probabilities"])) == (200, "Ankle boot", count)
        assert headers == {
            b"content-type": b"application/json",
            b"content-length": b"%d" % len(body),
            b"x-request-id": b"mine",
        }


@pytest.mark.parametrize(
    "request_",
    [
        Request(b"image/png", PNG[1][:100]),
        Request(b"text/csv", b"1,2"),
        Request(*PNG, query=b"top=0"),
        Request(b"application/json", b"{}"),
        Request(b"application/x-npy", npy(np.zeros((12, 784), np.uint8))),
        Request(b"multipart/form-data; boundary=x", b"--x--"),
    ],
)
def test_what_is_wrong_or_takes_long_is_left_to_the_usual_way(served: ServedModel, request_: Request) -> None:
    assert Service(served).ask(request_) == [False]
    assert request_.answers == []


def test_large_pictures_in_small_files_are_left_to_the_usual_way(served: ServedModel) -> None:
    large = picture(np.zeros((400, 400), np.uint8), "PNG")
    assert len(large) < QUICK_BYTES
    assert Service(served).ask(Request(b"image/png", large)) == [False]


def test_a_full_service_takes_nothing(served: ServedModel) -> None:
    service = Service(served, max_in_flight=1)
    assert service.ask(Request(*PNG), Request(*PNG)) == [True, False]
    assert Service(served, max_body_bytes=100).ask(Request(*PNG)) == [False]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ZeroDivisionError(), 500, "internal_error"),
        (InputError("overloaded", "the request waited longer than 10 s; try again"), 503, "overloaded"),
    ],
)
def test_a_failure_of_the_model_is_answered_in_words(
    served: ServedModel, error: Exception, status: int, code: str
) -> None:
    request = Request(*PNG)
    assert Service(served, error).ask(request) == [True]
    ((found, headers, body),) = request.answers
    assert (found, json.loads(body)["code"]) == (status, code)
    assert headers[b"x-request-id"] == b"mine"
    assert (b"retry-after" in headers) == (status == 503)


def test_a_failure_before_the_queue_is_left_to_the_usual_way(served: ServedModel) -> None:
    service = Service(served)

    def fail() -> ServedModel:
        raise RuntimeError

    service.endpoint.served = fail
    assert service.ask(Request(*PNG)) == [False]
