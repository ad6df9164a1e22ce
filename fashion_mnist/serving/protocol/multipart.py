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
MAX_OPTIONS: Final = 16
"""Of one part. Clients send three; parsing takes time quadratic in their number, 2 ms for 4,000."""


class _Parts:
    """Collects the files among the parts of a form. most: limit on the files, and on all other parts."""

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
        """Keep a file; count any other part.

        A browser sends a file field that was left empty as a file without name or content.
        """
        if self._disposition.count(b";") > MAX_OPTIONS:
            raise MultipartParseError("the Content-Disposition of a part has too many options")
        _, options = parse_options_header(self._disposition)
        if b"name" not in options:
            raise MultipartParseError("a part has no name")
        # some clients name a file only in `filename*=`
        is_file = b"filename" in options or b"filename*=" in self._disposition
        if is_file and (self._content or options.get(b"filename", b"x")):
            self.files.append(b"".join(self._content))
        else:
            self.fields += 1
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
