"""Reads the files of a multipart form."""

from collections.abc import AsyncGenerator

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from fashion_mnist.errors import InputError


class _Parser(MultiPartParser):
    """Also accepts a file that is named only in `filename*=`, as some clients send it."""

    def on_headers_finished(self) -> None:
        sent = self._current_part.content_disposition or b""
        if b"filename*=" in sent and b"filename=" not in sent:
            self._current_part.content_disposition = sent + b"; filename=file"
        super().on_headers_finished()


async def read_files(headers: Headers, body: bytes, most: int) -> list[bytes]:
    """Return the files of a form, in order; other fields are ignored.

    most: limit on the files, and on the other fields. Raises InputError: broken_form, too_many_parts,
    missing_pixels.
    """

    async def stream() -> AsyncGenerator[bytes, None]:
        yield body
        yield b""

    _, parameters = parse_options_header(headers.get("content-type"))
    boundary = parameters.get(b"boundary")
    if not boundary:
        raise InputError(
            "broken_form",
            "the content type has no `boundary`; leave the header to the client, which makes one up",
        )
    if b"--" + boundary + b"--" not in body:
        raise InputError("broken_form", "the multipart body has no closing boundary; send the whole form")
    parser = _Parser(headers, stream(), max_files=most, max_fields=most, max_part_size=len(body))
    try:
        form = await parser.parse()
    except (MultiPartException, MultipartParseError, KeyError, ValueError) as error:
        message = getattr(error, "message", str(error))
        if message.startswith("Too many"):
            raise InputError(
                "too_many_parts", f"the form has more than {most} files or fields; send several requests"
            ) from error
        raise InputError("broken_form", f"the multipart body cannot be parsed: {message}") from error
    try:
        files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
        # a browser sends a file field that was left empty as a part without a name and without content
        files = [file for file in files if file.filename or file.size]
        if not files:
            raise InputError("missing_pixels", "the form has no file; add a picture file")
        return [await file.read() for file in files]
    finally:
        await form.close()
