"""Muon: momentum whose steps are orthogonalised, for the kernels of convolutions.

After Jordan et al. 2024 (Muon) and airbench94_muon; torch.optim.Muon takes matrices only.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final, overload

import torch
from torch import Tensor, nn

NEWTON_SCHULZ: Final = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS: Final = 3


class Muon(torch.optim.Optimizer):
    """Each kernel (O, I, h, w) is a matrix (O, I h w): its step has singular values near 1.

    Before a step a kernel is brought to the norm sqrt(O), so that `lr` is how far it turns. Only for
    kernels whose scale does not matter, since a normalisation follows.
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float, momentum: float = 0.6) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take one step along Nesterov's momentum. Takes no closure."""
        if closure is not None:
            raise ValueError("Muon takes no closure")
        for group in self.param_groups:
            for kernel in group["params"]:
                if kernel.grad is not None:
                    self._move(kernel, kernel.grad, group)
        return None

    def _move(self, kernel: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[kernel]
        if not state:
            state["momentum"] = torch.zeros_like(kernel)
        momentum = state["momentum"].mul_(group["momentum"]).add_(gradient)
        gradient = gradient + group["momentum"] * momentum
        kernel.mul_(len(kernel) ** 0.5 / kernel.norm().clamp_min(1e-7))
        step = orthogonalise(gradient.reshape(len(gradient), -1)).view(gradient.shape)
        kernel.add_(step, alpha=-group["lr"])


def orthogonalise(matrix: Tensor) -> Tensor:
    """Bring the singular values of a float (M, N) matrix near 1, by Newton-Schulz steps in bf16."""
    a, b, c = NEWTON_SCHULZ
    x: Tensor = matrix.bfloat16() / (matrix.norm() + 1e-7)
    if tall := x.shape[0] > x.shape[1]:
        x = x.T
    for _ in range(NEWTON_SCHULZ_STEPS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return (x.T if tall else x).to(matrix.dtype)


def takes(parameter: Tensor) -> bool:
    """Whether a parameter is a kernel that Muon suits: not those of the first layer on gray images."""
    return parameter.ndim == 4 and parameter.shape[1] > 1
