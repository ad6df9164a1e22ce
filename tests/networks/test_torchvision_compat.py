"""torchvision's networks, with any combination of torch and torchvision builds."""

import subprocess
import sys

import torch

from fashion_mnist.networks.torchvision_compat import import_torchvision


def test_torchvision_networks_run() -> None:
    torchvision = import_torchvision()
    network = torchvision.models.mobilenet_v3_small(weights=None).eval()
    with torch.inference_mode():
        assert network(torch.zeros(1, 3, 64, 64)).shape == (1, 1000)
    assert import_torchvision() is torchvision


def test_nothing_is_declared_if_the_operators_load() -> None:
    """A new process has a kernel for torchvision::nms afterwards only if the plain import works."""
    code = (
        "import torch\n"
        "try:\n    import torchvision\n    plain = True\n"
        "except RuntimeError:\n    plain = False\n"
        "from fashion_mnist.networks.torchvision_compat import import_torchvision\n"
        "import_torchvision()\n"
        "import torchvision.transforms.v2\n"
        "kernel = torch._C._dispatch_has_kernel_for_dispatch_key('torchvision::nms', 'CPU')\n"
        "assert kernel == plain, (kernel, plain)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
