"""Reads the files of a multipart form from memory; nothing is written to a temporary folder."""

from typing import Any, Final

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from fashion_mnist.errors import InputError

CALLBACKS: Final = (
    "on_part_begin",
    "on_header_field",
    "on_header_value",
    "on_header_end",
    "on_part_data",
    "on_part_end",
)


class _Parts:
    """Collects the files among the parts of a form. most: limit on the files, and on the other fields."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.files: list[bytes] = []
        self.fields = 0
        self._name = b""
        self._value = b""
        self._disposition = b""
        self._content: list[bytes] = []

    def on_part_begin(self) -> None:
        self._disposition = b""
        self._content = []

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = self._value
        self._name = self._value = b""

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._content.append(data[start:end])

    def on_part_end(self) -> None:
        """Keep a file; count a field.

        A browser sends a file field that was left empty as a file without name or content.
        """
        _, options = parse_options_header(self._disposition)
        if b"name" not in options:
            raise MultipartParseError("a part has no name")
        # some clients name a file only in `filename*=`
        if b"filename" not in options and b"filename*=" not in self._disposition:
            self.fields += 1
        else:
            content = b"".join(self._content)
            if content or options.get(b"filename", b"x"):
                self.files.append(content)
        if max(self.fields, len(self.files)) > self.most:
            raise InputError(
                "too_many_parts", f"the form has more than {self.most} files or fields; send several requests"
            )


def read_files(content_type: bytes, body: bytes, most: int) -> list[bytes]:
    """Return the files of a form, in order; other fields are ignored.

    most: limit on the files, and on the other fields. Raises InputError: broken_form, too_many_parts,
    missing_pixels.
    """
    _, parameters = parse_options_header(content_type)
    boundary = parameters.get(b"boundary")
    if not boundary:
        raise InputError(
            "broken_form",
            "the content type has no `boundary`; leave the header to the client, which makes one up",
        )
    if b"--" + boundary + b"--" not in body:
        raise InputError("broken_form", "the multipart body has no closing boundary; send the whole form")
    parts = _Parts(most)
    callbacks: Any = {name: getattr(parts, name) for name in CALLBACKS}
    try:
        parser = MultipartParser(boundary, callbacks)
        parser.write(body)
        parser.finalize()
    except (MultipartParseError, ValueError) as error:
        raise InputError("broken_form", f"the multipart body cannot be parsed: {error}") from error
    if not parts.files:
        raise InputError("missing_pixels", "the form has no file; add a picture file")
    return parts.files
