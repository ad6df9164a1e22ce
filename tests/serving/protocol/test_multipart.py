"""Multipart forms: read in memory, at a bounded cost for each part."""

import tempfile

import pytest

from fashion_mnist.errors import InputError
from fashion_mnist.serving.protocol.multipart import read_files

TYPE = b"multipart/form-data; boundary=B"
END = b"--B--\r\n"


def part(disposition: bytes, content: bytes = b"x") -> bytes:
    return b"--B\r\nContent-Disposition: form-data; " + disposition + b"\r\n\r\n" + content + b"\r\n"


FILE = part(b'name="f"; filename="a.png"')


def test_no_temporary_file_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("a temporary file")

    for name in ("SpooledTemporaryFile", "TemporaryFile", "NamedTemporaryFile", "mkstemp"):
        monkeypatch.setattr(tempfile, name, forbidden)
    content = bytes(range(256)) * 12_000  # 3 MB
    assert read_files(TYPE, part(b'name="f"; filename="a"', content) + END, 1) == [content]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (FILE * 11, "too_many_parts"),
        (part(b'name="f"') * 11 + FILE, "too_many_parts"),
        (part(b'name="f"; filename=""', b"") * 11 + FILE, "too_many_parts"),
        (part(b'name="f"; filename="a"' + b";" * 20), "broken_form"),
        (part(b'name="f"; filename="' + b"a" * 10_000 + b'"'), "broken_form"),
        (b"--B\r\n" + b"A: b\r\n" * 100 + FILE[5:], "broken_form"),
    ],
    ids=["files", "fields", "empty files", "options", "long header", "many headers"],
)
def test_the_cost_of_a_form_is_bounded(body: bytes, code: str) -> None:
    with pytest.raises(InputError) as error:
        read_files(TYPE, body + END, 10)
    assert error.value.code == code


def test_ten_files_and_ten_other_parts_are_accepted() -> None:
    empty = part(b'name="f"; filename=""', b"")
    assert read_files(TYPE, (FILE + empty) * 10 + END, 10) == [b"x"] * 10
