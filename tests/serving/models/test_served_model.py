"""A served model: replacing it under load mixes no responses, and a slow one leaves the event loop."""

import asyncio
import json
import time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from starlette.types import Message
from support.models import write_untrained
from support.requests import npy

from fashion_mnist.inference.predictions import Predictions
from fashion_mnist.registry import store
from fashion_mnist.serving.admission.capacity import Capacity
from fashion_mnist.serving.admission.gate import Gate
from fashion_mnist.serving.config import ServeConfig
from fashion_mnist.serving.endpoints.predict import PredictEndpoint
from fashion_mnist.serving.models.served_model import BRIEF_S, PIECE_IMAGES, ServedModel
from fashion_mnist.serving.protocol.responses import Response
from fashion_mnist.serving.transport.edge import TICKET
from fashion_mnist.spec import ModelSpec

SPECS = {"gray": ModelSpec(("a", "b", "c"), 12, 12, 1), "colour": ModelSpec(("x", "y"), 8, 8, 3)}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ServedModel]:
    folder = tmp_path_factory.mktemp("models")
    return {
        name: ServedModel(store.choose(str(write_untrained(folder / name, spec))), ServeConfig(threads=1))
        for name, spec in SPECS.items()
    }


async def post(endpoint: PredictEndpoint, body: bytes) -> Any:
    """Post a body in two parts through ASGI; return the status and JSON of the response."""
    messages: list[Message] = [
        {"type": "http.request", "body": body[:200], "more_body": True},
        {"type": "http.request", "body": body[200:], "more_body": False},
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        await asyncio.sleep(0)
        return messages.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/x-npy")]
    ticket = Gate(Capacity(1)).admit("POST", "/predict", headers, None)
    scope = {"type": "http", "query_string": b"", "headers": headers, TICKET: ticket}
    await endpoint(scope, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"])


class Request:
    """A small request on the fast path."""

    query = b""
    ticket = None
    disconnected = False

    def __init__(self, body: bytes, done: "asyncio.Future[Any]") -> None:
        self.headers = [(b"content-type", b"application/x-npy")]
        self.body = body
        self.done = done

    def respond(self, response: Response) -> None:
        self.done.set_result((response.status, json.loads(response.body)))


async def post_fast(endpoint: PredictEndpoint, body: bytes) -> Any:
    request = Request(body, asyncio.get_running_loop().create_future())
    assert endpoint.try_answer(request)  # type: ignore[arg-type]
    return await request.done


def test_replacing_the_model_under_load_never_mixes_a_response(models: dict[str, ServedModel]) -> None:
    served = models["gray"]
    endpoint = PredictEndpoint(lambda: served, ServeConfig())
    finished = 0

    async def client(name: str, images: int, *, fast: bool) -> None:
        """Send one model's images repeatedly: that model answers, or an error names the wrong shape."""
        nonlocal finished
        spec = SPECS[name]
        body = npy(np.zeros((images, spec.pixel_count), np.uint8))
        send = post_fast if fast else post
        for _ in range(40):
            asked = served.name
            status, answer = await send(endpoint, body)
            if asked != name:
                assert (status, answer["code"]) == (422, "wrong_pixel_count")
                continue
            assert (status, answer["model"], len(answer["predictions"])) == (200, name, images)
            for prediction in answer["predictions"]:
                assert tuple(prediction["probabilities"]) == spec.classes
            finished += 1

    async def swap() -> None:
        nonlocal served
        for number in range(200):
            served = models[("gray", "colour")[number % 2]]
            await asyncio.sleep(0.001)

    async def run() -> None:
        clients = [
            client(name, images, fast=fast)
            for name in SPECS
            for images, fast in ((1, True), (5, True), (3, False), (3 * PIECE_IMAGES, False))
        ]
        await asyncio.gather(swap(), *clients)

    asyncio.run(asyncio.wait_for(run(), 60))
    assert finished > 50


def test_a_model_that_slows_down_leaves_the_event_loop_until_it_recovers(
    models: dict[str, ServedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    served = models["gray"]
    image: NDArray[np.uint8] = np.zeros((1, 12, 12), np.uint8)
    assert served.is_brief([image] * 8)
    fast = served.predictor.predict

    def predict(images: NDArray[np.uint8]) -> Predictions:
        time.sleep(2 * BRIEF_S)
        return fast(images)

    monkeypatch.setattr(served.predictor, "predict", predict)
    batches = 0
    while served.is_brief([image]):
        served.run_batch([image])
        batches += 1
    assert 0 < batches < 30
    monkeypatch.undo()
    while not served.is_brief([image]):  # it returns when it recovers
        served.run_batch([image])
        batches += 1
    assert batches < 60


def test_one_interrupted_batch_does_not_send_the_next_to_the_thread(
    models: dict[str, ServedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    served = models["gray"]
    image: NDArray[np.uint8] = np.zeros((1, 12, 12), np.uint8)
    for _ in range(50):
        served.run_batch([image] * 16)
    assert served.is_brief([image] * 16)
    fast = served.predictor.predict

    def predict(images: NDArray[np.uint8]) -> Predictions:
        time.sleep(0.1)
        return fast(images)

    monkeypatch.setattr(served.predictor, "predict", predict)
    served.run_batch([image])
    assert served.is_brief([image] * 16)
