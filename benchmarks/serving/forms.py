"""The forms of a request: how images become a body, and how the answer becomes probabilities."""

import base64
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Writer = Callable[[NDArray[np.uint8]], bytes]
"""Images uint8 (n, H, W) -> body; n is 1 except for .npy."""
Reader = Callable[[bytes], NDArray[np.float64]]
"""Answer -> probabilities float64 (n, K)."""

BOUNDARY: Final = "fashion-mnist-benchmark"


@dataclass(frozen=True)
class Form:
    """One kind of POST request. read: None if the answer must equal the body."""

    path: str
    content_type: str
    write: Writer
    read: Reader | None


def write_json(images: NDArray[np.uint8]) -> bytes:
    """Write `{"pixels": [784 integers]}`."""
    return _dump({"pixels": images[0].ravel().tolist()})


def write_png(images: NDArray[np.uint8]) -> bytes:
    """Write a PNG file."""
    file = io.BytesIO()
    Image.fromarray(images[0]).save(file, "PNG")
    return file.getvalue()


def write_npy(images: NDArray[np.uint8]) -> bytes:
    """Write a .npy file."""
    file = io.BytesIO()
    np.save(file, images)
    return file.getvalue()


def read_objects(answer: bytes) -> NDArray[np.float64]:
    """Read the answer of this service, and of peers whose answer format is free."""
    content = json.loads(answer)
    objects = content.get("predictions", [content])
    return np.array([list(item["probabilities"].values()) for item in objects], np.float64)


def _dump(content: Any) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()


def _write_lit_png(images: NDArray[np.uint8]) -> bytes:
    return _dump({"image": base64.b64encode(write_png(images)).decode()})


def _write_bento_json(images: NDArray[np.uint8]) -> bytes:
    return _dump({"images": images.reshape(len(images), -1).tolist()})


def _write_bento_png(images: NDArray[np.uint8]) -> bytes:
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="images"; filename="image.png"\r\n'
        "Content-Type: image/png\r\n\r\n"
    )
    return head.encode() + write_png(images) + f"\r\n--{BOUNDARY}--\r\n".encode()


def _write_inference(kind: str, data: list[Any], parameters: dict[str, str]) -> bytes:
    shape = [1, len(data)]
    tensor = {"name": "images", "shape": shape, "datatype": kind, "parameters": parameters, "data": data}
    return _dump({"inputs": [tensor]})


def _write_inference_pixels(images: NDArray[np.uint8]) -> bytes:
    return _write_inference("UINT8", images[0].ravel().tolist(), {"content_type": "np"})


def _write_inference_png(images: NDArray[np.uint8]) -> bytes:
    text = base64.b64encode(write_png(images)).decode()
    return _write_inference("BYTES", [text], {"content_type": "base64"})


def _read_inference(answer: bytes) -> NDArray[np.float64]:
    output = json.loads(answer)["outputs"][0]
    return np.array(output["data"], np.float64).reshape(output["shape"])


def _read_matrix(answer: bytes) -> NDArray[np.float64]:
    return np.array(json.loads(answer), np.float64)


JSON: Final = "application/json"


def plain_forms(path: str = "/predict", png_path: str | None = None) -> dict[str, Form]:
    """Return the forms for JSON pixels and raw PNG bytes, as this service takes them."""
    return {
        "json": Form(path, JSON, write_json, read_objects),
        "png": Form(png_path or path, "image/png", write_png, read_objects),
    }


NPY: Final = {"npy": Form("/predict", "application/x-npy", write_npy, read_objects)}
ECHO: Final = {"json": Form("/predict", JSON, write_json, None)}
LIT: Final = {
    "json": Form("/predict", JSON, write_json, read_objects),
    "png": Form("/predict", JSON, _write_lit_png, read_objects),
}
BENTO: Final = {
    "json": Form("/predict", JSON, _write_bento_json, _read_matrix),
    "png": Form("/predict_png", f"multipart/form-data; boundary={BOUNDARY}", _write_bento_png, _read_matrix),
}
INFERENCE: Final = {  # the Open Inference Protocol carries a picture as base64 text
    "json": Form("/v2/models/fashion-mnist/infer", JSON, _write_inference_pixels, _read_inference),
    "png": Form("/v2/models/fashion-mnist/infer", JSON, _write_inference_png, _read_inference),
}
