"""Request bodies, and checks of responses."""

import io

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fashion_mnist.errors import HTTP_ERRORS
from support.paths import BOOT

PNG = BOOT.read_bytes()


def npy(array: NDArray[np.generic]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(*arrays: NDArray[np.generic]) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, *arrays)
    return file.getvalue()


def picture(image: NDArray[np.uint8], kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind)
    return file.getvalue()


def post(client: httpx.Client, content_type: str | None, body: bytes, query: str = "") -> httpx.Response:
    headers = {} if content_type is None else {"Content-Type": content_type}
    return client.post(f"/predict{query}", content=body, headers=headers)


def assert_error(answer: httpx.Response, status: int, code: str) -> dict[str, object]:
    content: dict[str, object] = answer.json()
    assert (answer.status_code, content["code"]) == (status, code), content
    assert set(content) <= {"error", "code", "index"}
    assert HTTP_ERRORS[code][0] == status
    assert len(str(content["error"])) > 15
    assert answer.headers["x-request-id"]
    assert answer.headers["content-type"] == "application/json"
    return content
