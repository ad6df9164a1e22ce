"""Import torchvision even if its compiled operators do not load.

PyPI's torchvision for Linux is built for CUDA. With a CPU build of torch its operators do not load, and
`import torchvision` fails with `operator torchvision::nms does not exist`: it registers shapes for operators
that were never declared. Networks and transforms use none of them, so declaring them is enough.
"""

import importlib
import sys
from types import ModuleType
from typing import Final

import torch

from fashion_mnist.errors import DependencyError

SCHEMA: Final = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
UNDECLARED: Final = ("torchvision::nms", "torchvision::qnms")


def import_torchvision() -> ModuleType:
    """Import torchvision. Raises DependencyError when it is not installed."""
    try:
        return importlib.import_module("torchvision")
    except ModuleNotFoundError as error:
        raise DependencyError.for_training("this network", error.name) from error
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    for name in [n for n in sys.modules if n == "torchvision" or n.startswith("torchvision.")]:
        del sys.modules[name]  # left over from the failed import
    for operator in UNDECLARED:
        torch.library.define(operator, SCHEMA)
    return importlib.import_module("torchvision")
