"""The endpoint on the fast path: what it answers, what it passes on to ASGI, how it reports failures."""

import asyncio
import base64
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support.models import write_untrained
from support.paths import BOOT
from support.pictures import encode
from support.requests import npy, npz, picture

from fashion_mnist.errors import InputError
from fashion_mnist.inference.predictions import Predictions
from fashion_mnist.registry import store
from fashion_mnist.serving.admission.capacity import Capacity
from fashion_mnist.serving.admission.gate import Gate, Ticket
from fashion_mnist.serving.config import ServeConfig
from fashion_mnist.serving.endpoints.predict import PredictEndpoint
from fashion_mnist.serving.models.served_model import ServedModel
from fashion_mnist.serving.protocol.bodies import QUICK_BYTES
from fashion_mnist.serving.protocol.responses import Headers, Response
from fashion_mnist.spec import ModelSpec

PNG = (b"image/png", BOOT.read_bytes())


class Request:
    """An exchange that records its responses."""

    disconnected = False

    def __init__(self, kind: bytes, body: bytes, query: bytes = b"") -> None:
        self.headers: Headers = [(b"content-type", kind)]
        self.body = body
        self.query = query
        self.responses: list[Response] = []
        self.ticket: Ticket | None = None

    def respond(self, response: Response) -> None:
        self.responses.append(response)

    @property
    def answer(self) -> tuple[int, str]:
        """Status, and predicted class or error code."""
        (response,) = self.responses
        content = json.loads(response.body)
        return response.status, str(content.get("code") or content["prediction"])


@pytest.fixture(scope="module")
def served() -> ServedModel:
    return ServedModel(store.choose("bundled"), ServeConfig())


def ask(served: ServedModel, *requests: Request, **settings: int) -> list[bool]:
    """Offer the requests one after the other and await the responses; return which ones were taken."""
    endpoint = PredictEndpoint(lambda: served, ServeConfig().model_copy(update=settings))

    async def run() -> list[bool]:
        answered = [endpoint.try_answer(request) for request in requests]  # type: ignore[arg-type]
        waiting = [r for r, was in zip(requests, answered, strict=True) if was]
        while not all(request.responses for request in waiting):
            await asyncio.sleep(0)
        return answered

    return asyncio.run(asyncio.wait_for(run(), 10))


def test_small_requests_are_answered(served: ServedModel) -> None:
    requests = [Request(*PNG), Request(*PNG, query=b"top=2"), Request(*PNG)]
    assert ask(served, *requests) == [True] * 3
    for request, count in zip(requests, (10, 2, 10), strict=True):
        ((status, headers, body, _),) = request.responses
        answer = json.loads(body)
        assert (status, answer["prediction"], len(answer["probabilities"])) == (200, "Ankle boot", count)
        assert dict(headers) == {
            b"content-type": b"application/json",
            b"content-length": b"%d" % len(body),
        }


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (Request(b"image/png", PNG[1][:100]), (400, "broken_picture")),
        (Request(b"text/csv", b"1,2"), (415, "unsupported_content_type")),
        (Request(*PNG, query=b"top=0"), (422, "bad_parameter")),
        (Request(b"application/json", b"{}"), (422, "missing_pixels")),
        (Request(b"application/json", b"{"), (400, "broken_json")),
        (Request(b"application/x-npy", b"nothing"), (400, "broken_npy")),
    ],
)
def test_small_bad_requests_are_answered_too(
    served: ServedModel, request_: Request, answer: tuple[int, str]
) -> None:
    assert ask(served, request_) == [True]
    assert request_.answer == answer


@pytest.mark.parametrize(
    "request_",
    [
        Request(b"application/x-npy", npy(np.zeros((12, 784), np.uint8))),
        Request(b"application/x-npy", npz(np.zeros((9, 784), np.uint8))),
        Request(b"application/json", json.dumps({"image": base64.b64encode(PNG[1]).decode()}).encode()),
        Request(b"multipart/form-data; boundary=x", b"--x--"),
        Request(b"image/png", picture(np.zeros((400, 400), np.uint8), "PNG")),  # 400 x 400 in 500 bytes
    ],
)
def test_requests_that_take_long_are_passed_on(served: ServedModel, request_: Request) -> None:
    assert ask(served, request_) == [False]
    assert request_.responses == []


def test_a_body_over_the_limit_is_passed_on(served: ServedModel) -> None:
    assert ask(served, Request(*PNG), max_body_bytes=100) == [False]


def test_a_small_body_with_too_many_tiny_images_is_passed_on(tmp_path: Path) -> None:
    spec = ModelSpec(("a", "b"), 8, 8, 1)
    tiny = ServedModel(store.choose(str(write_untrained(tmp_path / "tiny", spec))), ServeConfig())
    many = npy(np.zeros((100, 64), np.uint8))
    assert len(many) < QUICK_BYTES
    assert ask(tiny, Request(b"application/x-npy", many)) == [False]
    few = Request(b"application/x-npy", npy(np.zeros((50, 64), np.uint8)))
    assert ask(tiny, few) == [True]
    assert len(json.loads(few.responses[0].body)["predictions"]) == 50


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (ZeroDivisionError(), (500, "internal_error")),
        (InputError("overloaded", "the request waited longer than 10 s; try again"), (503, "overloaded")),
    ],
)
def test_a_failure_of_the_model_is_answered_with_an_error(
    served: ServedModel, monkeypatch: pytest.MonkeyPatch, error: Exception, answer: tuple[int, str]
) -> None:
    def fail(items: Sequence[NDArray[np.uint8]]) -> Sequence[Predictions]:
        raise error

    monkeypatch.setattr(served.queue, "run", fail)
    request = Request(*PNG)
    ticket = request.ticket = Ticket(Gate(Capacity(1)), "POST", "/predict", None)
    assert ask(served, request) == [True]
    assert ticket.stages.queue_ns > 0  # the wait of those who waited in vain counts too
    assert "inferred_ms" not in ticket.stages.describe()
    assert request.answer == answer
    assert (b"retry-after" in dict(request.responses[0].headers)) == (answer[0] == 503)


def test_a_failure_before_the_queue_reaches_the_protocol(
    served: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "spec", None)
    request = Request(b"application/json", json.dumps({"pixels": [0] * 784}).encode())
    endpoint = PredictEndpoint(lambda: served, ServeConfig())
    with pytest.raises(AttributeError):  # the protocol answers it: see test_fast_path.py
        endpoint.try_answer(request)  # type: ignore[arg-type]


def test_a_palette_picture_is_answered(served: ServedModel) -> None:
    from PIL import Image

    request = Request(b"image/png", encode(Image.new("P", (28, 28))))
    assert ask(served, request) == [True]
