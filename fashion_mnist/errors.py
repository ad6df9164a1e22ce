"""The exceptions of this package, and the codes that HTTP clients see.

    FashionMnistError        exit code 1
    ├── ConfigError          2   a setting is wrong
    ├── InputError           3   a picture or a request is wrong; has a `code` from HTTP_ERRORS
    ├── DataError            4   training or evaluation data are wrong
    ├── ModelError           5   a stored model is missing, damaged or from another format
    └── DependencyError      6   an optional package is not installed

Every message says what came, what was wanted and what to do. Errors are translated once: to an exit
code by the command lines, with `one_line`, to a status by the service.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

HTTP_ERRORS: Final[dict[str, tuple[int, str]]] = {
    "broken_json": (400, "the body is not JSON"),
    "broken_picture": (400, "the bytes are no picture, or a truncated or empty one"),
    "broken_npy": (400, "the body is no .npy file, or a truncated one"),
    "broken_form": (400, "the form body cannot be parsed"),
    "not_found": (404, "no such path"),
    "method_not_allowed": (405, "the path does not take this method"),
    "body_timeout": (408, "the body did not arrive in time"),
    "body_too_large": (413, "the body is larger than the limit"),
    "too_many_pixels": (413, "a picture has more pixels than the limit"),
    "too_many_images": (413, "the request holds more images than the limit"),
    "too_many_parts": (413, "the form has more parts than the limit"),
    "too_deep": (413, "the JSON is nested deeper than the limit"),
    "unsupported_content_type": (415, "the content type is missing or not accepted"),
    "unsupported_picture_format": (415, "the picture is in a format that is not decoded"),
    "missing_pixels": (422, "the body holds no `pixels`, or the form no picture"),
    "unknown_field": (422, "the JSON object has a field that is not known"),
    "unknown_parameter": (422, "the query has a parameter that is not known"),
    "bad_parameter": (422, "a query parameter is out of its range"),
    "empty_batch": (422, "the batch holds no image"),
    "wrong_pixel_count": (422, "an image has the wrong number of pixels"),
    "wrong_shape": (422, "the array does not have the model's shape"),
    "wrong_pixel_type": (422, "a pixel is no number"),
    "wrong_dtype": (422, "the .npy array is not uint8"),
    "pixel_not_integer": (422, "a pixel is a fraction"),
    "pixels_scaled": (422, "the pixels are within 0..1 instead of 0..255"),
    "pixel_out_of_range": (422, "a pixel is outside 0..255"),
    "internal_error": (500, "the service failed; its log has the cause"),
    "overloaded": (503, "too many requests are in flight"),
    "not_ready": (503, "the model is not loaded, or the service is shutting down"),
}
"""code -> (HTTP status, when). Codes are frozen: clients branch on them."""


class FashionMnistError(Exception):
    """Base of all errors that this package raises on purpose."""

    exit_code = 1


class ConfigError(FashionMnistError):
    """A setting is wrong."""

    exit_code = 2


class InputError(FashionMnistError):
    """A picture or a request is wrong.

    code: a key of HTTP_ERRORS. index: position of the bad item, for batches only.
    """

    exit_code = 3

    def __init__(self, code: str, message: str, index: int | None = None) -> None:
        super().__init__(message)
        self.status, _ = HTTP_ERRORS[code]
        self.code = code
        self.index = index

    def at(self, index: int) -> "InputError":
        """Return the same error, naming the batch item it belongs to."""
        return InputError(self.code, str(self), index)


class DataError(FashionMnistError):
    """Training or evaluation data are wrong."""

    exit_code = 4


class ModelError(FashionMnistError):
    """A stored model is missing, damaged or from another format."""

    exit_code = 5


class DependencyError(FashionMnistError):
    """An optional package is not installed."""

    exit_code = 6


@contextmanager
def one_line(program: str) -> Iterator[None]:
    """Turn this package's errors, and the system's, into one line on standard error and an exit code."""
    try:
        yield
        if sys.stdout is not None:  # None where it is closed
            sys.stdout.flush()
    except FashionMnistError as error:
        print(f"{program}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        if not isinstance(error, BrokenPipeError):  # a reader that has enough, as `head`, is no error
            print(f"{program}: {describe(error)}", file=sys.stderr)
        if sys.stdout is not None:  # what could not be written is not tried again at the exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FashionMnistError.exit_code)


def describe(error: OSError) -> str:
    """An error of the system: the file, where there is one, and what is wrong with it."""
    what = error.strerror or str(error)
    return f"{str(error.filename)[:200]}: {what}" if error.filename else what
