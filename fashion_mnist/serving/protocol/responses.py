"""Encodes predictions and errors as HTTP responses, free of ASGI: the fast path uses it too."""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray
from PIL import Image

from fashion_mnist.errors import InputError
from fashion_mnist.inference.predictions import Predictions, to_objects
from fashion_mnist.serving.monitoring.prediction_metrics import count_error
from fashion_mnist.serving.protocol.requests import PredictRequest
from fashion_mnist.spec import ModelSpec

RETRY_AFTER_S: Final = 1

Header = tuple[bytes, bytes]
Headers = Sequence[Header]


class Response(NamedTuple):
    """A complete response. headers: names in lower case, Content-Length included. code: of an error."""

    status: int
    headers: tuple[Header, ...]
    body: bytes
    code: str = ""

    def with_headers(self, headers: tuple[Header, ...]) -> "Response":
        """Return the response with more headers."""
        return self._replace(headers=self.headers + headers)


def json_response(body: bytes, status: int = 200, headers: Iterable[Header] = ()) -> Response:
    """Build the response for a JSON body."""
    length = b"%d" % len(body)
    return Response(
        status, ((b"content-type", b"application/json"), (b"content-length", length), *headers), body
    )


def error_response(error: InputError, headers: Iterable[Header] = ()) -> Response:
    """Build the response to an error and count it by its code; a 503 carries Retry-After.

    Every error passes through here, including those that BentoML's metrics do not see.
    """
    count_error(error.code)
    if error.status == 503:
        headers = (*headers, (b"retry-after", b"%d" % RETRY_AFTER_S))
    return json_response(encode_error(error), error.status, headers)._replace(code=error.code)


def internal_error() -> InputError:
    """Return the error for a failure of the service; it hides the cause from the client."""
    return InputError("internal_error", "the service failed on this request; its log has the cause")


def encode_predictions(
    predictions: Predictions,
    request: PredictRequest,
    spec: ModelSpec,
    model: str,
    sets: Mapping[Any, Sequence[float]] | None = None,
) -> bytes:
    """Encode the predictions for one request: an object, or `{"predictions": […]}` for a batch.

    sets: the bounds of the model's prediction sets by coverage. Raises InputError: out_of_distribution,
    where the request asked for it.
    """
    options = request.options
    if options.reject:
        _check_known(predictions, request.single)
    objects = to_objects(predictions, spec.classes, options.top, sets.get(options.coverage) if sets else None)
    for answer, note in zip(objects, request.notes, strict=False):  # no notes on numbers
        if note is not None:
            answer["preparation"] = note
    if options.include is not None:
        for answer, image in zip(objects, request.images, strict=True):
            answer["prepared"] = _to_data_url(image)
    if request.single:
        objects[0]["model"] = model
        return orjson.dumps(objects[0])
    return orjson.dumps({"predictions": objects, "model": model})


def _to_data_url(image: NDArray[np.uint8]) -> str:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _check_known(predictions: Predictions, single: bool) -> None:
    if predictions.in_distribution is None:
        raise InputError("bad_parameter", "reject is given, but this model cannot tell what it does not know")
    strange = (~predictions.in_distribution).nonzero()[0]
    if len(strange):
        raise InputError(
            "out_of_distribution",
            "the picture is unlike the images that the model was trained on; send one of its classes, alone "
            "and complete, or leave out `reject`",
            None if single else int(strange[0]),
        )


def encode_error(error: InputError) -> bytes:
    """Encode an error: `{"error", "code"}`, with `index` for a batch."""
    content: dict[str, Any] = {"error": str(error), "code": error.code}
    if error.index is not None:
        content["index"] = error.index
    return orjson.dumps(content)
