"""Provenance of a model: package versions and the machine."""

import platform
from importlib import metadata
from pathlib import Path
from typing import Final

import fashion_mnist
from fashion_mnist.cpu import available_cpus

PACKAGES: Final = ("bentoml", "numpy", "onnx", "openvino", "pillow", "torch")


def versions() -> dict[str, str]:
    """Return the versions of Python, this package and the packages that results depend on."""
    found = {"python": platform.python_version(), "fashion_mnist": fashion_mnist.__version__}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, object]:
    """Return the processor, the number of CPUs this process may use, and the system."""
    return {
        "processor": _processor(),
        "cpus": available_cpus(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"
