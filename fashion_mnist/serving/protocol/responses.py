"""Errors as HTTP responses."""

from typing import Final

from starlette.responses import Response

from fashion_mnist.errors import InputError
from fashion_mnist.serving.monitoring.prediction_metrics import count_error
from fashion_mnist.serving.protocol import answers, requests

RETRY_AFTER_S: Final = 1


def error_response(error: InputError, headers: dict[str, str] | None = None) -> Response:
    """An error as its status and JSON, counted by its code; 503 says when to come back.

    All errors pass through here, also those that are answered outside of BentoML's metrics.
    """
    count_error(error.code)
    headers = dict(headers or {})
    if error.status == 503:
        headers["Retry-After"] = str(RETRY_AFTER_S)
    return Response(answers.write_error(error), error.status, headers, requests.JSON)


def internal_error() -> InputError:
    """What a client may know of a failure of ours."""
    return InputError("internal_error", "the service failed on this request; its log has the cause")
