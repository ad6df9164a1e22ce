"""POST /predict: body -> images -> the model's queue -> response, through ASGI or on the fast path."""

import functools
import logging
from collections.abc import Callable
from time import perf_counter_ns
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from fashion_mnist.errors import InputError
from fashion_mnist.imaging.cost import Cost
from fashion_mnist.inference.predictions import Predictions
from fashion_mnist.serving.admission.capacity import BodyMemory
from fashion_mnist.serving.admission.gate import Ticket
from fashion_mnist.serving.config import ServeConfig
from fashion_mnist.serving.endpoints.decoding import Decoders
from fashion_mnist.serving.models.served_model import PIECE_IMAGES, ServedModel
from fashion_mnist.serving.protocol import bodies, picture_files
from fashion_mnist.serving.protocol.requests import (
    PICTURE,
    Images,
    Limits,
    PictureFiles,
    PredictRequest,
    read_deadline,
    read_head,
)
from fashion_mnist.serving.protocol.responses import Response, error_response, internal_error, json_response
from fashion_mnist.serving.transport.edge import CYCLE, TICKET, send_response
from fashion_mnist.serving.transport.fast_path import Exchange
from fashion_mnist.serving.transport.request_body import receive_body
from fashion_mnist.spec import ModelSpec

logger = logging.getLogger("bentoml.service")

PATH: Final = "/predict"


class PredictEndpoint:
    """The endpoint: an ASGI application and the handler of the fast path, both behind the gate.

    current: returns the model that is served now; a request calls it once and keeps the model.
    """

    def __init__(self, current: Callable[[], ServedModel], config: ServeConfig) -> None:
        self.current = current
        self.config = config
        self.limits = Limits(config.max_body_bytes, config.max_images, config.max_pixels)
        self.memory = BodyMemory(config.max_buffered_bytes, config.max_body_bytes)
        self.decoders = Decoders(config.max_decode_bytes, config.max_decode_s, config.max_latency_ms / 1000)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with self.memory.reserve() as reserve:
                response = json_response(await self._predict(scope, receive, scope[TICKET], reserve))
        except ClientDisconnect:
            return  # nobody is left to read a response
        except Exception as error:  # noqa: BLE001 - every request gets a response
            response = failure(error)
            scope[TICKET].stages.code = response.code
        await send_response(send, response)

    async def _predict(
        self, scope: Scope, receive: Receive, ticket: Ticket, reserve: Callable[[int], None]
    ) -> bytes:
        served = self.current()
        headers = dict(scope["headers"])
        kind, options = read_head(headers, scope["query_string"], served.spec)
        deadline = read_deadline(headers)
        announced, timeout_s = headers.get(b"content-length"), self.config.body_timeout_s
        body = await receive_body(receive, announced, self.limits.body_bytes, timeout_s, reserve)
        stages, start = ticket.stages, perf_counter_ns()
        kind = bodies.settle_kind(kind, body)
        content_type = headers.get(b"content-type", b"")
        spec = options.adapt(served.spec)
        if bodies.is_quick(kind, body):
            images = bodies.read_body(kind, body, spec, self.limits)
        else:
            images = await self._decode(kind, content_type, body, spec, receive)
        request = PredictRequest(images.images, images.single, options, images.notes)
        options.check(len(request.images))
        stages.end_decoding(start, perf_counter_ns(), len(request.images), served.name)
        ticket.charge(len(request.images))
        cycle = scope.get(CYCLE)  # of Uvicorn
        has_left = None if cycle is None else lambda: bool(cycle.disconnected)
        try:
            predictions = await served.predict(request.images, stages, deadline, has_left)
        except InputError:
            if has_left is not None and has_left():
                raise ClientDisconnect from None
            raise
        if len(predictions) <= PIECE_IMAGES and options.include is None:
            return served.encode(predictions, request)
        return await self.decoders.light.run(functools.partial(served.encode, predictions, request))

    async def _decode(
        self, kind: str, content_type: bytes, body: bytes, spec: ModelSpec, receive: Receive
    ) -> Images:
        """Decode a body in a thread, before it can share a batch with others. Raises InputError."""
        light, limits = self.decoders.light, self.limits

        def open_body() -> Images | tuple[PictureFiles, Cost]:
            opened = bodies.open_body(kind, content_type, body, spec, limits)
            if not isinstance(opened, PictureFiles):
                return opened
            cost = picture_files.estimate(opened, spec, limits)
            # ordinary pictures are decoded at once, in the same thread
            return picture_files.read_pictures(opened, spec, limits) if light.takes(cost) else (opened, cost)

        opened = await (light if kind == PICTURE else self.decoders.lane_for_body(len(body))).run(open_body)
        if isinstance(opened, Images):
            return opened
        pictures, cost = opened
        read = functools.partial(picture_files.read_pictures, pictures, spec, limits)
        return await self.decoders.run_watched(read, cost, receive)

    def try_answer(self, exchange: Exchange) -> bool:
        """Answer a small request on the fast path; return False if it must go through ASGI."""
        served, body = self.current(), exchange.body
        # with tiny images, a quick body could hold more images than one queue item may
        if len(body) > min(self.limits.body_bytes, PIECE_IMAGES * served.spec.pixel_count):
            return False
        start = perf_counter_ns()
        try:
            headers = dict(exchange.headers)
            kind, options = read_head(headers, exchange.query, served.spec)
            deadline = read_deadline(headers)
            kind = bodies.settle_kind(kind, body)
            if not bodies.is_quick(kind, body) or options.include is not None:
                return False
            images = bodies.read_body(kind, body, options.adapt(served.spec), self.limits)
            if exchange.ticket is not None:
                exchange.ticket.charge(len(images.images))
        except Exception as error:  # noqa: BLE001 - every request gets a response
            exchange.respond(failure(error))
        else:
            request = PredictRequest(images.images, images.single, options, images.notes)
            if exchange.ticket is not None:
                now = perf_counter_ns()
                exchange.ticket.stages.end_decoding(start, now, len(request.images), served.name)
                exchange.ticket.stages.queue_at = now
            served.enqueue(request.images, Responder(exchange, served, request), deadline)
        return True


class Responder:
    """Receives the predictions for a fast-path request and writes the response; see Waiter."""

    __slots__ = ("exchange", "request", "served")

    def __init__(self, exchange: Exchange, served: ServedModel, request: PredictRequest) -> None:
        self.exchange = exchange
        self.served = served
        self.request = request

    def has_left(self) -> bool:
        """Return whether the client has left."""
        return self.exchange.disconnected

    def set_result(self, result: Predictions | Exception, /) -> None:
        """Write the response."""
        if self.exchange.disconnected:
            self.exchange.abandon()
            return
        ticket = self.exchange.ticket
        try:
            if isinstance(result, Exception):
                if ticket is not None:
                    ticket.stages.give_up(perf_counter_ns())
                raise result
            if ticket is not None:
                ticket.stages.add_batch(*self.served.last_batch)
            response = json_response(self.served.encode(result, self.request))
        except Exception as error:  # noqa: BLE001 - every request gets a response
            response = failure(error)
        self.exchange.respond(response)


def failure(error: Exception) -> Response:
    """Return the response to a request that raised `error`; log it unless it is an InputError."""
    if not isinstance(error, InputError):
        logger.error("prediction failed", exc_info=error)
        error = internal_error()
    return error_response(error)
