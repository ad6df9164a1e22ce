"""Hooks of schemathesis: valid bodies of the formats that a schema only names, such as a picture."""

import base64
import io
from typing import Any

import numpy as np
import schemathesis
from hypothesis import strategies as st
from PIL import Image

PICTURES = [
    (size, form)
    for size in ((28, 28), (1, 1), (40, 25))
    for form in ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
]
FORMS = ((784,), (28, 28), (28, 28, 1), (2, 784), (1, 28, 28), (2, 28, 28, 1), (2, 1, 28, 28))
DEADLINE, LONG_MS = "X-Request-Timeout-Ms", 60_000


def picture(kind: tuple[tuple[int, int], str]) -> bytes:
    size, form = kind
    file = io.BytesIO()
    Image.new("L", size, 77).save(file, form)
    return file.getvalue()


def array(form: tuple[int, ...], dtype: str) -> bytes:
    file = io.BytesIO()
    np.save(file, np.full(form, 9, dtype))
    return file.getvalue()


pictures = st.sampled_from([picture(kind) for kind in PICTURES])
arrays = st.builds(array, st.sampled_from(FORMS), st.sampled_from(["u1", "<i4", ">f8", "f2"]))
lists = st.sampled_from([str(np.full(form, 9).tolist()) for form in FORMS])

for kind in ("image/png", "image/jpeg", "image/*", "application/octet-stream", "binary/octet-stream"):
    schemathesis.openapi.media_type(kind, pictures)
schemathesis.openapi.media_type("application/x-npy", arrays)
schemathesis.openapi.format("binary", pictures)
schemathesis.openapi.format("byte", pictures.map(lambda data: base64.b64encode(data).decode()))
schemathesis.openapi.format("json", lists)


@schemathesis.hook
def before_call(
    context: schemathesis.HookContext, case: schemathesis.Case[Any], kwargs: dict[str, Any]
) -> None:
    """Change what is valid, but whose right answer may be an error.

    A short deadline is answered 503 if the machine is slow, a strange picture with `reject` 422.
    """
    if isinstance(case.query, dict) and case.query.get("reject") in (True, "true"):
        case.query["reject"] = "false"
    headers: Any = case.headers or {}
    wait_ms = str(headers.get(DEADLINE, ""))
    if wait_ms.isdecimal() and 0 < int(wait_ms) < LONG_MS:
        headers[DEADLINE] = str(LONG_MS)
