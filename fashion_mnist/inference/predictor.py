"""A stored model as a function: images -> predictions. By OpenVINO, without torch."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fashion_mnist.cpu import available_cpus, multiplies_bytes
from fashion_mnist.errors import ModelError
from fashion_mnist.inference.calibration import softmax
from fashion_mnist.inference.ood import energy_score
from fashion_mnist.inference.openvino_runtime import import_openvino
from fashion_mnist.inference.predictions import Predictions
from fashion_mnist.registry import model_folder

CHUNKS: Final = (16, 8, 4, 2, 1)
"""Images in one call of the network. OpenVINO compiles kernels for each batch size that it meets, which
costs as much as tens of images; with these five, 37 images are 16 + 16 + 4 + 1 and nothing is ever compiled
late. 64 would be faster by 1 %, and take 9 MB more."""


class Predictor:
    """One model, compiled for this processor. Threads that use it at once wait for each other.

    folder: see model_folder.py. threads: for inference, None for all processors this process may use.
    precision: `auto` takes int8 where the model and the processor have it, else bf16, else fp32.
    Raises ModelError.
    """

    def __init__(self, folder: Path, threads: int | None = None, precision: str = "auto") -> None:
        self.folder = folder
        self.record = model_folder.read_record(folder)
        self.spec = self.record.spec
        self.threads = threads or available_cpus()
        self.precision = precision
        self._lock = threading.Lock()
        self._compile()

    def _compile(self) -> None:
        """Make `_run` work; sets `precision` to the one in use."""
        openvino = import_openvino()
        core = openvino.Core()
        has_bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if self.precision == "auto":
            self.precision = "bf16" if has_bf16 else "fp32"
            if self.record.has_int8 and multiplies_bytes():
                self.precision = "int8"
        if self.precision == "int8" and not self.record.has_int8:
            raise ModelError(f"{self.folder}: this model has no int8 network; choose bf16 or fp32")
        # in int8, what is not quantised runs in bf16
        in_bf16 = self.precision == "bf16" or (self.precision == "int8" and has_bf16)
        settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "bf16" if in_bf16 else "f32",
            "INFERENCE_NUM_THREADS": self.threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # or else every process has its threads on the first processors
            "CACHE_DIR": "",
        }
        path = self.folder / (model_folder.INT8 if self.precision == "int8" else model_folder.ONNX)
        try:
            compiled = core.compile_model(path, "CPU", settings)
            self._request = compiled.create_infer_request()
            ports = (
                (compiled.input("images"), self.spec.shape),
                (compiled.output("logits"), (len(self.spec.classes),)),
            )
        except RuntimeError as error:
            raise ModelError(f"{path}: OpenVINO cannot compile it: {error}") from error
        for port, lengths in ports:
            found, expected = port.get_partial_shape(), openvino.PartialShape([-1, *lengths])
            if found != expected:
                raise ModelError(
                    f"{path}: its {port.any_name} are {found}, by {model_folder.RECORD} {expected}; "
                    "the model is damaged, fetch or train it again"
                )

    def _run(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Logits (n, K) and features (n, D) of a number of images that is in CHUNKS."""
        outputs = self._request.infer({"images": images}, share_inputs=True)
        return outputs["logits"], outputs["features"]  # copies: the next call overwrites nothing

    def outputs(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The network's raw logits (N, K) and features (N, D).

        images: uint8 (N, H, W) or (N, H, W, 3), the model's shape; any N from 1.
        """
        images = np.ascontiguousarray(images)
        with self._lock:
            parts = [self._run(chunk) for chunk in _chunks(images)]
        if len(parts) == 1:
            return parts[0]
        return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])

    def predict(self, images: NDArray[np.uint8]) -> Predictions:
        """Classify images: uint8 (N, H, W) or (N, H, W, 3), the model's shape, 0 is background."""
        logits, _ = self.outputs(images)
        return self.interpret(logits)

    def interpret(self, logits: NDArray[np.float32]) -> Predictions:
        """Apply the model's temperature and threshold to logits (N, K)."""
        probabilities = softmax(logits, self.record.temperature or 1.0)
        if self.record.ood_threshold is None:
            return Predictions(probabilities, None, None)
        scores = energy_score(logits)
        return Predictions(probabilities, scores, scores <= self.record.ood_threshold)

    def warm_up(self) -> None:
        """Run every chunk size once, so that no request pays for the compilation of its kernels."""
        for count in CHUNKS:
            self.outputs(np.zeros((count, *self.spec.shape), np.uint8))


def _chunks(images: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    start = 0
    for size in CHUNKS:
        while len(images) - start >= size:
            yield images[start : start + size]
            start += size
