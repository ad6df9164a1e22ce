"""The request id: the caller's, or a new one. Every response carries it."""

import random
import re
from collections.abc import Iterable
from typing import Final

HEADER: Final = b"x-request-id"
PRINTABLE: Final = re.compile(rb"[\x21-\x7e]{1,128}")


def request_id(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the caller's id if it sent a printable one, else 32 random hexadecimal digits.

    headers: names in lower case.
    """
    for name, sent in headers:
        if name == HEADER and PRINTABLE.fullmatch(sent):
            return sent
    return b"%032x" % random.getrandbits(128)
