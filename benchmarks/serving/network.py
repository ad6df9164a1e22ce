"""The work of the network: its multiply-adds."""

import math
from pathlib import Path

from fashion_mnist.inference.openvino_runtime import import_openvino


def count_multiply_adds(onnx: Path, shape: tuple[int, ...]) -> int:
    """Count the multiply-adds of convolutions and matrix products for one image of this shape."""
    model = import_openvino().Core().read_model(onnx)
    model.reshape([1, *shape])
    total = 0
    for operation in model.get_ordered_ops():
        kind = operation.get_type_name()
        if kind not in ("Convolution", "GroupConvolution", "MatMul"):
            continue
        outputs = math.prod(operation.get_output_shape(0))
        if kind == "MatMul":
            total += outputs * operation.get_input_shape(0)[-1]
        else:  # weights (O, I, h, w), or (G, O, I, h, w) with groups
            total += outputs * math.prod(operation.get_input_shape(1)[-3:])
    return total
