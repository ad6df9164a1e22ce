"""LitServe with its batching, in its steps: decode, batch, predict, unbatch, encode."""

import base64
from typing import Any

import litserve
import numpy as np
from numpy.typing import NDArray

from benchmarks.serving.servers.shared import (
    BATCH,
    PORT,
    WAIT_S,
    WORKERS,
    load_predictor,
    read_pixels,
    to_answers,
)
from fashion_mnist.imaging import pixels


class FashionMnist(litserve.LitAPI):
    """Takes and returns JSON. A picture comes as base64, since LitServe reads bodies as JSON or forms."""

    def setup(self, device: str) -> None:
        self.predictor = load_predictor()
        self.spec = self.predictor.spec

    def decode_request(self, request: dict[str, Any]) -> NDArray[np.uint8]:
        if "image" in request:
            return pixels.read_picture(base64.b64decode(request["image"]), self.spec)[np.newaxis]
        return read_pixels(request["pixels"], self.spec)

    def batch(self, inputs: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        return np.concatenate(inputs)

    def predict(self, x: NDArray[np.uint8]) -> list[dict[str, Any]]:
        return to_answers(self.predictor.predict(x), self.spec.classes)

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return output

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        return output


if __name__ == "__main__":
    api = FashionMnist(max_batch_size=BATCH, batch_timeout=WAIT_S)
    # fast_queue: "for high-throughput", according to its docstring
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=WORKERS, fast_queue=True)
    server.run(host="127.0.0.1", port=PORT, generate_client_file=False, log_level="warning")
