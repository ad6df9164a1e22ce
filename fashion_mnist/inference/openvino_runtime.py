"""OpenVINO: a stored network, compiled for this CPU."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fashion_mnist.cpu import multiplies_bytes
from fashion_mnist.errors import ModelError
from fashion_mnist.registry import model_folder
from fashion_mnist.registry.model_folder import ModelRecord

BATCH_SIZES: Final = (16, 8, 4, 2, 1)
"""Images in one call of the network, in falling order: 37 images are 16 + 16 + 4 + 1. A batch of 64 would be
1 % faster and take 9 MB more."""
MAX_FIXED_BYTES: Final = 8_000_000
"""Networks up to this file size are compiled once for each batch size, at a fixed shape: 12 to 15 % faster
than one network with a dynamic batch (two Xeon cores with AMX, int8, medians of 9 rounds). OpenVINO packs the
weights once for each shape, so five shapes of a larger network would cost too much: VGG16 in bf16 would take
4.4 GB instead of 1.1."""


def import_openvino() -> ModuleType:
    """Import OpenVINO without its telemetry; call this before anything else imports it.

    `import openvino` writes an identifier into the user's home and reports usage to its makers. It does
    neither if its telemetry package is missing (read in openvino 2026.4.1 and nncf 3.4.0).
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    module: ModuleType = openvino
    return module


class CompiledNetwork:
    """A network compiled for BATCH_SIZES; one thread at a time may run it.

    precision: `auto` becomes int8 if model and CPU support it, else bf16, else fp32.
    Raises ModelError when the model has no int8 network, cannot be compiled, or contradicts its record.
    """

    def __init__(self, folder: Path, record: ModelRecord, threads: int, precision: str) -> None:
        self.folder = folder
        self.record = record
        self.openvino = import_openvino()
        core = self.openvino.Core()
        has_bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.precision = self._choose_precision(precision, has_bf16)
        # in int8, layers that are not quantized run in bf16
        in_bf16 = self.precision == "bf16" or (self.precision == "int8" and has_bf16)
        settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "bf16" if in_bf16 else "f32",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # pinned, all worker processes would share the first CPUs
            "CACHE_DIR": "",
        }
        path = folder / (model_folder.INT8 if self.precision == "int8" else model_folder.ONNX)
        # ONNX has no second file; without one, OpenVINO would look for network.bin if the content is IR
        weights = folder / model_folder.INT8_WEIGHTS if self.precision == "int8" else path
        try:
            network = core.read_model(path, weights)
            self._check_shapes(network, path)
            self._fixed: dict[int, tuple[Any, ...]] = {}
            self._dynamic: Any = None
            if self._file_bytes(path) <= MAX_FIXED_BYTES:
                for size in BATCH_SIZES:
                    self._fixed[size] = self._compile_fixed(core, network, size, settings)
            else:
                self._dynamic = core.compile_model(network, "CPU", settings).create_infer_request()
        except RuntimeError as error:
            raise ModelError(f"{path}: OpenVINO cannot compile it: {error}") from error

    def run(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return logits (n, K) and features (n, D) of uint8 images (n, H, W[, C]); n is in BATCH_SIZES."""
        if self._dynamic is not None:
            outputs = self._dynamic.infer({"images": np.ascontiguousarray(images)}, share_inputs=True)
            return outputs["logits"], outputs["features"]
        request, pixels, logits, features = self._fixed[len(images)]
        pixels[:] = images
        request.infer()
        # copies: the next call writes into the same memory
        return logits.data.copy(), features.data.copy()

    def _choose_precision(self, wanted: str, has_bf16: bool) -> str:
        if wanted == "int8" and not self.record.has_int8:
            raise ModelError(f"{self.folder}: this model has no int8 network; choose bf16 or fp32")
        if wanted != "auto":
            return wanted
        if self.record.has_int8 and multiplies_bytes():
            return "int8"
        return "bf16" if has_bf16 else "fp32"

    def _check_shapes(self, network: Any, path: Path) -> None:
        spec = self.record.spec
        for port, lengths in (
            (network.input("images"), spec.shape),
            (network.output("logits"), (len(spec.classes),)),
        ):
            found, expected = port.get_partial_shape(), self.openvino.PartialShape([-1, *lengths])
            if found != expected:
                raise ModelError(
                    f"{path}: its {port.any_name} are {found}, {model_folder.RECORD} says {expected}; "
                    "the model is damaged, download or train it again"
                )

    def _file_bytes(self, path: Path) -> int:
        weights = self.folder / model_folder.INT8_WEIGHTS
        return path.stat().st_size + (weights.stat().st_size if self.precision == "int8" else 0)

    def _compile_fixed(self, core: Any, network: Any, size: int, settings: dict[str, Any]) -> tuple[Any, ...]:
        """Compile for one batch size; return the request, its input array and its two output tensors.

        They are bound once: passing arrays with each call costs 60 to 90 µs, as much as a fifth of a call
        for one image.
        """
        clone = network.clone()
        shape = [size, *self.record.spec.shape]
        clone.reshape(shape)
        request = core.compile_model(clone, "CPU", settings).create_infer_request()
        pixels = np.zeros(shape, np.uint8)
        request.set_tensor("images", self.openvino.Tensor(pixels, shared_memory=True))
        return request, pixels, request.get_tensor("logits"), request.get_tensor("features")
