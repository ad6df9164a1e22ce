"""POST /predict: body -> images -> queue -> answer. Plain ASGI, or less where the body is there at once."""

import functools
import logging
from collections.abc import Callable
from time import perf_counter
from typing import Final, TypeVar

import anyio
import anyio.to_thread
import numpy as np
from numpy.typing import NDArray
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from fashion_mnist.cpu import available_cpus
from fashion_mnist.errors import InputError
from fashion_mnist.imaging import decoder
from fashion_mnist.inference.predictions import Predictions
from fashion_mnist.serving.config import ServeConfig
from fashion_mnist.serving.models.batching import BatchQueue
from fashion_mnist.serving.models.served_model import ServedModel
from fashion_mnist.serving.monitoring.request_metrics import RequestMetrics
from fashion_mnist.serving.protocol import multipart, requests
from fashion_mnist.serving.protocol.responses import error_response, internal_error
from fashion_mnist.serving.transport.edge import REQUEST_ID, request_id
from fashion_mnist.serving.transport.fast_path import Exchange
from fashion_mnist.serving.transport.request_body import BodyMemory, receive_body
from fashion_mnist.spec import ModelSpec

logger = logging.getLogger("bentoml.service")

R = TypeVar("R")

PATH: Final = "/predict"
PIECE_IMAGES: Final = 64
"""A large request passes through the queue in pieces of so many images, one after the other: it shares the
model with small requests."""
QUICK_BYTES: Final = 8_192
"""Smaller bodies are decoded in the event loop, in microseconds. A small file can be a large picture, so a
picture has to be as small in pixels too; the rest is decoded in threads, as many as there are processors."""

Queue = BatchQueue[NDArray[np.uint8], Predictions]


class PredictEndpoint:
    """An ASGI application, and what answers small requests without ASGI.

    queue: of uint8 (n, H, W[, 3]), n up to PIECE_IMAGES. metrics: of the requests answered without ASGI, the
    others are counted by RequestMeter; None where BentoML's metrics are off.
    """

    def __init__(
        self,
        served: Callable[[], ServedModel],
        config: ServeConfig,
        queue: Queue,
        metrics: RequestMetrics | None,
    ) -> None:
        self.served = served
        self.config = config
        self.queue = queue
        self.metrics = metrics
        self.limits = requests.Limits(config.max_body_bytes, config.max_images, config.max_pixels)
        self.in_flight = 0
        self.memory = BodyMemory(max(config.max_buffered_bytes, config.max_body_bytes))
        self.decoders = anyio.CapacityLimiter(available_cpus())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if self.is_full:
                raise InputError(
                    "overloaded", f"{self.in_flight} requests are in flight; try again in a moment"
                )
            self.in_flight += 1
            try:
                with self.memory.share() as take:
                    body = await self.answer(scope, receive, take)
            finally:
                self.in_flight -= 1
        except ClientDisconnect:
            return  # nobody reads an answer
        except Exception as error:  # noqa: BLE001 - every one is answered
            await self.refuse(error)(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": answer_headers(body)})
        await send({"type": "http.response.body", "body": body})

    @property
    def is_full(self) -> bool:
        """Whether no more requests are let in."""
        return self.in_flight >= self.config.max_in_flight

    def refuse(self, error: Exception) -> Response:
        """The answer to a request that raised this."""
        if not isinstance(error, InputError):
            logger.error("prediction failed", exc_info=error)
            error = internal_error()
        return error_response(error)

    async def answer(self, scope: Scope, receive: Receive, take: Callable[[int], None]) -> bytes:
        """The body of the answer. Raises InputError, and what the queue raises."""
        served = self.served()
        item = await self.read_item(scope, receive, take, served.spec)
        if len(item.images) <= PIECE_IMAGES:
            return served.write_answer(await self.queue.answer(item.images), item)
        parts = []
        for start in range(0, len(item.images), PIECE_IMAGES):
            parts.append(await self.queue.answer(item.images[start : start + PIECE_IMAGES]))  # noqa: PERF401
        return await self.in_thread(functools.partial(served.write_answer, Predictions.join(parts), item))

    async def read_item(
        self, scope: Scope, receive: Receive, take: Callable[[int], None], spec: ModelSpec
    ) -> requests.Item:
        """Decode and validate a request before it can share a batch with others. Raises InputError."""
        headers = dict(scope["headers"])
        kind, top = read_head(headers, scope["query_string"], spec)
        announced, most = headers.get(b"content-length"), self.limits.body_bytes
        body = await receive_body(receive, announced, most, self.config.body_timeout_s, take)
        if kind == requests.MULTIPART:
            files = await multipart.read_files(Headers(scope=scope), body, self.limits.images)
            read = functools.partial(requests.read_pictures, files, spec, self.limits)
            return requests.Item(*await self.in_thread(read), top)
        read = functools.partial(requests.read_body, kind, body, spec, self.limits)
        return requests.Item(*(read() if is_quick(kind, body) else await self.in_thread(read)), top)

    async def in_thread(self, function: Callable[[], R]) -> R:
        """Run what takes milliseconds beside the event loop, which has to serve others."""
        return await anyio.to_thread.run_sync(function, limiter=self.decoders)

    def take(self, exchange: Exchange) -> bool:
        """Answer a small request whose body is there; False for any other, also for those to be refused."""
        start, body = perf_counter(), exchange.body
        if self.is_full or len(body) > self.limits.body_bytes:
            return False
        try:
            served = self.served()
            kind, top = read_head(dict(exchange.headers), exchange.query, served.spec)
            if not is_quick(kind, body):
                return False
            item = requests.Item(*requests.read_body(kind, body, served.spec, self.limits), top)
            if len(item.images) > PIECE_IMAGES:  # of a few pixels each
                return False
            pending = Pending(self, exchange, served, item, start)
        except Exception:  # noqa: BLE001 - the usual way says what is wrong
            return False
        self.in_flight += 1
        self.queue.put(item.images, pending)
        return True


class Pending:
    """A request that waits in the queue outside of ASGI; see batching.Waiter."""

    __slots__ = ("begun", "endpoint", "exchange", "item", "served")

    def __init__(
        self,
        endpoint: PredictEndpoint,
        exchange: Exchange,
        served: ServedModel,
        item: requests.Item,
        start: float,
    ) -> None:
        self.endpoint = endpoint
        self.exchange = exchange
        self.served = served
        self.item = item
        self.begun = endpoint.metrics.begin(PATH, start) if endpoint.metrics is not None else None

    def done(self) -> bool:
        """Never: a request counts even if its client is gone."""
        return False

    def set_result(self, result: Predictions | Exception, /) -> None:
        """Write the answer."""
        status = 500
        try:
            status, headers, body = self.answer(result)
            headers.append((REQUEST_ID, request_id(self.exchange.headers)))
            self.exchange.respond(status, headers, body)
        finally:
            self.endpoint.in_flight -= 1
            if self.endpoint.metrics is not None and self.begun is not None:
                self.endpoint.metrics.end(self.begun, status)

    def answer(self, result: Predictions | Exception) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """Status, headers and body."""
        if not isinstance(result, Exception):
            try:
                body = self.served.write_answer(result, self.item)
                return 200, answer_headers(body), body
            except Exception as error:  # noqa: BLE001 - every one is answered
                result = error
        response = self.endpoint.refuse(result)
        return response.status_code, response.raw_headers, bytes(response.body)


def read_head(headers: dict[bytes, bytes], query: bytes, spec: ModelSpec) -> tuple[str, int | None]:
    """Media type, and the parameter `top`. Raises InputError."""
    top = None
    if query:
        top = requests.read_query(query.decode("latin-1"), spec)
    return requests.media_type(headers.get(b"content-type", b"").decode("latin-1")), top


def is_quick(kind: str, body: bytes) -> bool:
    """Whether a body is decoded in microseconds."""
    if kind == requests.MULTIPART or len(body) > QUICK_BYTES:
        return False
    return kind not in requests.PICTURE_TYPES or decoder.count_pixels(body) <= QUICK_BYTES


def answer_headers(body: bytes) -> list[tuple[bytes, bytes]]:
    """Of an answer with status 200."""
    return [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
