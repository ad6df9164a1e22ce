"""POST /predict: body -> images -> queue -> answer. Plain ASGI, since it is paid for on every request."""

import functools
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar
from urllib.parse import parse_qsl

import anyio
import anyio.to_thread
import numpy as np
from bentoml.exceptions import ServiceUnavailable
from numpy.typing import NDArray
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from fashion_mnist import decoder, multipart, wire
from fashion_mnist.body import receive_body
from fashion_mnist.config import ServeConfig
from fashion_mnist.errors import InputError
from fashion_mnist.predictor import Predictions
from fashion_mnist.processors import available_cpus
from fashion_mnist.responses import error_response, internal_error
from fashion_mnist.served import ServedModel
from fashion_mnist.spec import ModelSpec

logger = logging.getLogger("bentoml.service")

R = TypeVar("R")

PIECE_IMAGES: Final = 64
"""A large request passes through the queue in pieces of so many images, one after the other: it shares the
model with small requests."""
QUICK_BYTES: Final = 8_192
"""Smaller bodies are decoded in the event loop, in microseconds. A small file can be a large picture, so a
picture has to be as small in pixels too; the rest is decoded in threads, as many as there are processors."""

Infer = Callable[[NDArray[np.uint8]], Awaitable[Predictions]]


class PredictEndpoint:
    """An ASGI application. infer: uint8 (n, H, W[, 3]), at most PIECE_IMAGES of them, to predictions."""

    def __init__(self, served: Callable[[], ServedModel], config: ServeConfig, infer: Infer) -> None:
        self.served = served
        self.config = config
        self.infer = infer
        self.limits = wire.Limits(config.max_body_bytes, config.max_images, config.max_pixels)
        self.in_flight = 0
        self.decoders = anyio.CapacityLimiter(available_cpus())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if self.in_flight >= self.config.max_in_flight:
                raise InputError(
                    "overloaded", f"{self.in_flight} requests are in flight; try again in a moment"
                )
            self.in_flight += 1
            try:
                body = await self.answer(scope, receive)
            finally:
                self.in_flight -= 1
        except InputError as error:
            await error_response(error)(scope, receive, send)
            return
        except ServiceUnavailable:
            waited = f"{self.config.max_latency_ms / 1000:g} s"
            late = InputError("overloaded", f"the request waited longer than {waited}; try again")
            await error_response(late)(scope, receive, send)
            return
        except ClientDisconnect:
            return  # nobody reads an answer
        except Exception:
            logger.exception("prediction failed")
            await error_response(internal_error())(scope, receive, send)
            return
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def answer(self, scope: Scope, receive: Receive) -> bytes:
        """The body of the answer. Raises InputError, and what the queue raises."""
        served = self.served()
        item = await self.read_item(scope, receive, served.spec)
        if len(item.images) <= PIECE_IMAGES:
            return served.write_answer(await self.infer(item.images), item)
        parts = []
        for start in range(0, len(item.images), PIECE_IMAGES):
            parts.append(await self.infer(item.images[start : start + PIECE_IMAGES]))  # noqa: PERF401
        return await self.in_thread(functools.partial(served.write_answer, Predictions.join(parts), item))

    async def read_item(self, scope: Scope, receive: Receive, spec: ModelSpec) -> wire.Item:
        """Decode and validate a request before it can share a batch with others. Raises InputError."""
        top = None
        if scope["query_string"]:
            query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
            top = wire.read_query(query, spec)
        headers = dict(scope["headers"])
        content_type = headers.get(b"content-type", b"").decode("latin-1")
        kind = wire.media_type(content_type)
        body = await receive_body(
            receive, headers.get(b"content-length"), self.limits.body_bytes, self.config.body_timeout_s
        )
        if kind == wire.MULTIPART:
            files = await multipart.read_files(Headers(scope=scope), body, self.limits.images)
            read = functools.partial(wire.read_pictures, files, spec, self.limits)
            return wire.Item(*await self.in_thread(read), top)
        read = functools.partial(wire.read_body, kind, body, spec, self.limits)
        quick = len(body) <= QUICK_BYTES
        if quick and (kind not in wire.PICTURE_TYPES or decoder.count_pixels(body) <= QUICK_BYTES):
            return wire.Item(*read(), top)
        return wire.Item(*await self.in_thread(read), top)

    async def in_thread(self, function: Callable[[], R]) -> R:
        """Run what takes milliseconds beside the event loop, which has to serve others."""
        return await anyio.to_thread.run_sync(function, limiter=self.decoders)
