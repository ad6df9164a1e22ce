"""Decodes request bodies to images: JSON, forms, .npy files, pictures. Depends only on the given spec."""

from typing import Final
from urllib.parse import parse_qsl

from fashion_mnist.errors import InputError
from fashion_mnist.imaging import decoder
from fashion_mnist.serving.protocol import json_bodies, multipart, npy_files, picture_files
from fashion_mnist.serving.protocol.pixel_arrays import to_images
from fashion_mnist.serving.protocol.requests import (
    FORM,
    JSON,
    MULTIPART,
    NPY,
    PICTURE,
    Images,
    Limits,
    PictureFiles,
    unsupported_type,
)
from fashion_mnist.spec import ModelSpec

QUICK_BYTES: Final = 8_192
"""Bodies up to this size decode in microseconds, in the event loop; larger ones are decoded in threads. A
small file can hold a large picture, so the same limit applies to the pixels of a picture."""
LIST_ESCAPES: Final = ((b"%2C", b","), (b"%5B", b"["), (b"%5D", b"]"), (b"%20", b"+"))
"""Escapes of a JSON list's characters in a form; one form can hold millions of them."""
MAX_FIELDS: Final = 16
"""Most fields of a form that is not multipart."""
MAX_ESCAPES: Final = 10_000
"""Most other escapes in one form: decoding each takes 250 bytes of memory."""


def settle_kind(kind: str, body: bytes) -> str:
    """Return the kind of a body; a picture is recognised without a content type, or with that of a form.

    kind: as announced, from `read_head`. Raises InputError, unsupported_content_type: the type is missing,
    or that of a form although the body is JSON, as `curl -d` sends it.
    """
    if kind in (PICTURE, JSON, NPY):
        return kind
    if decoder.is_picture(body):
        return PICTURE
    if kind != MULTIPART and body[:64].lstrip()[:1] in (b"{", b"["):
        came = f"the content type is {kind}" if kind else "there is no content type"
        raise InputError(
            "unsupported_content_type",
            f"the body is JSON but {came}; add the header 'Content-Type: {JSON}'",
        )
    if not kind:
        raise unsupported_type("the content type is missing")
    return kind


def is_quick(kind: str, body: bytes) -> bool:
    """Return whether a body decodes in microseconds."""
    if kind == MULTIPART or len(body) > QUICK_BYTES:
        return False
    if kind == PICTURE:
        return decoder.count_pixels(body) <= QUICK_BYTES
    if kind == JSON:
        return not json_bodies.may_hold_pictures(body)
    return kind != NPY or not body.startswith(npy_files.ZIP)


def open_body(
    kind: str, content_type: bytes, body: bytes, spec: ModelSpec, limits: Limits
) -> Images | PictureFiles:
    """Decode a body of numbers, or find the picture files in it. kind: from `settle_kind`.

    Raises InputError.
    """
    if kind == JSON:
        return json_bodies.read_json(body, spec, limits)
    if kind == NPY:
        return to_images(npy_files.read_array(body, limits.body_bytes), spec, limits.images)
    if kind == FORM:
        return read_form(body, spec, limits)
    if kind == MULTIPART:
        files = multipart.read_files(content_type, body, limits.images)
        return PictureFiles(files, len(files) == 1)
    return PictureFiles([body], single=True)


def read_body(kind: str, body: bytes, spec: ModelSpec, limits: Limits) -> Images:
    """Decode a body that is not a multipart form, at once. Raises InputError."""
    opened = open_body(kind, b"", body, spec, limits)
    return picture_files.read_pictures(opened, spec, limits) if isinstance(opened, PictureFiles) else opened


def read_form(body: bytes, spec: ModelSpec, limits: Limits) -> Images:
    """Read a form with the JSON list in its field `pixels`, as BentoML's client sends it."""
    for escape, sign in LIST_ESCAPES:
        body = body.replace(escape, sign).replace(escape.lower(), sign)
    if (escapes := body.count(b"%")) > MAX_ESCAPES:
        raise InputError(
            "broken_form",
            f"the form has {escapes} escapes besides brackets, commas and spaces, at most {MAX_ESCAPES} are "
            f"accepted; send the digits unescaped, or send {JSON}",
        )
    try:
        fields = dict(parse_qsl(body.decode("ascii"), strict_parsing=True, max_num_fields=MAX_FIELDS))
    except UnicodeDecodeError as error:
        raise InputError(
            "broken_form",
            f"the body is not a form, but the content type is {FORM}; set the type of what you send, and let "
            "curl send files with --data-binary",
        ) from error
    except ValueError as error:
        raise InputError("broken_form", f"the form cannot be parsed: {error}") from error
    if "pixels" not in fields:
        raise InputError("missing_pixels", "the form has no field `pixels`; send the JSON list in it")
    return json_bodies.read_pixels(fields["pixels"].encode(), spec, limits)
