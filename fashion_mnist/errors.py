"""The exceptions of this package, and the error codes that HTTP clients see.

    FashionMnistError        exit code 1
    ├── ConfigError          2   a setting is invalid
    ├── InputError           3   a picture or request is invalid; has a `code` from HTTP_ERRORS
    ├── DataError            4   training or evaluation data is invalid
    ├── ModelError           5   a stored model is missing, damaged or in another format
    └── DependencyError      6   an optional package is not installed

Every message says what came, what is expected and what to do. Errors are translated in one place each: the
command lines turn them into exit codes with `one_line`, the service into HTTP statuses.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

HTTP_ERRORS: Final[dict[str, tuple[int, str]]] = {
    "broken_http": (400, "what came is not a request in HTTP/1.1"),
    "broken_json": (400, "the body is not JSON"),
    "broken_picture": (400, "the body is not a picture, or it is empty, truncated or damaged"),
    "broken_npy": (400, "the body is not a .npy or .npz file, or it is truncated"),
    "broken_form": (400, "the form body cannot be parsed"),
    "missing_credentials": (401, "a key is needed"),
    "invalid_credentials": (401, "the key is unknown, expired or malformed"),
    "forbidden": (403, "the key's role does not allow this"),
    "not_found": (404, "no such path"),
    "method_not_allowed": (405, "the path does not take this method"),
    "body_timeout": (408, "the body did not arrive in time"),
    "body_too_large": (413, "the body is larger than the limit"),
    "too_many_pixels": (413, "a picture has more pixels than the limit"),
    "too_many_images": (413, "the request holds more images than the limit"),
    "too_many_parts": (413, "the form has more parts than the limit"),
    "too_deep": (413, "the JSON is nested deeper than the limit"),
    "unsupported_content_type": (
        415,
        "the content type is missing or not accepted, or the body is compressed",
    ),
    "unsupported_picture_format": (415, "the picture's format is not supported"),
    "missing_pixels": (422, "the body has neither `pixels` nor `image`, or the form no file"),
    "unknown_field": (422, "the JSON object has an unknown field"),
    "unknown_parameter": (422, "the query has an unknown parameter"),
    "bad_parameter": (422, "a query parameter is out of range or repeated"),
    "empty_batch": (422, "the batch holds no image"),
    "wrong_pixel_count": (422, "an image has the wrong number of pixels"),
    "wrong_shape": (422, "the array does not have the model's shape"),
    "wrong_pixel_type": (422, "a pixel is not a number, or an `image` not text"),
    "wrong_dtype": (422, "the .npy array does not hold numbers"),
    "pixel_not_integer": (422, "a pixel is a fraction"),
    "pixels_scaled": (422, "the pixels lie within 0..1 instead of 0..255"),
    "pixel_out_of_range": (422, "a pixel is outside 0..255"),
    "out_of_distribution": (422, "a picture is unlike the training images, and `reject` was given"),
    "rate_limited": (429, "the client is over its rate"),
    "headers_too_large": (431, "the headers exceed 256 lines or 64 KB"),
    "internal_error": (500, "the service failed; its log has the cause"),
    "overloaded": (503, "too many requests are in flight"),
    "deadline_exceeded": (503, "the answer would come after the request's X-Request-Timeout-Ms"),
    "not_ready": (503, "the model is not loaded, or the service is shutting down"),
}
"""code -> (HTTP status, cause). Codes never change: clients branch on them."""


class FashionMnistError(Exception):
    """Base class of all errors that this package raises deliberately."""

    exit_code = 1


class ConfigError(FashionMnistError):
    """A setting is invalid."""

    exit_code = 2


class InputError(FashionMnistError):
    """A picture or request is invalid.

    code: a key of HTTP_ERRORS. index: position of the bad item, in batches only.
    """

    exit_code = 3

    def __init__(self, code: str, message: str, index: int | None = None) -> None:
        super().__init__(message)
        self.status, _ = HTTP_ERRORS[code]
        self.code = code
        self.index = index

    def at(self, index: int) -> "InputError":
        """Return this error with the position of its batch item."""
        return InputError(self.code, str(self), index)


class DataError(FashionMnistError):
    """Training or evaluation data is invalid."""

    exit_code = 4


class ModelError(FashionMnistError):
    """A stored model is missing, damaged or in another format."""

    exit_code = 5


class DependencyError(FashionMnistError):
    """An optional package is not installed."""

    exit_code = 6

    @classmethod
    def for_training(cls, purpose: str, package: str | None) -> "DependencyError":
        """Return the error for a missing training dependency. No package index has this project."""
        return cls(
            f"{purpose} needs {package}; in the project's folder run `make .venv/.dev`, or "
            "`pip install -e '.[train]'` in an environment of your own"
        )


@contextmanager
def one_line(program: str) -> Iterator[None]:
    """Turn this package's errors, and OSError, into one line on standard error and an exit code."""
    try:
        yield
        if sys.stdout is not None:  # None if standard output is closed
            sys.stdout.flush()
    except FashionMnistError as error:
        print(f"{program}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        if not isinstance(error, BrokenPipeError):  # a reader that stops early, like `head`, is not an error
            print(f"{program}: {describe(error)}", file=sys.stderr)
        if sys.stdout is not None:  # discard the rest, or the flush at exit fails again
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FashionMnistError.exit_code)


def describe(error: OSError) -> str:
    """Return a clause for a system error: the file, if it concerns one, and the problem."""
    what = error.strerror or str(error)
    return f"{str(error.filename)[:200]}: {what}" if error.filename else what
