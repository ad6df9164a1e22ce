"""Optimizers, the learning-rate schedule and the moving average of the weights."""

from collections.abc import Callable, Iterable
from typing import Any, Final, overload

import torch
from torch import Tensor, nn

from fashion_mnist.training.config import TrainConfig

NEWTON_SCHULZ: Final = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS: Final = 3


def build_optimizers(network: nn.Module, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """Build the optimizers of `config.optimizer`: SGD, or SGD and Muon.

    SGD applies weight decay to all but biases and normalisation scales. All layers but the head train at
    the learning rate times `config.backbone_rate`.
    """
    rate = config.learning_rate
    slow_rate = rate * (config.backbone_rate or 1.0)
    kernels = [p for p in network.parameters() if config.optimizer == "muon" and suits_muon(p)]
    taken = {id(p) for p in kernels}
    rest = [(name, p) for name, p in network.named_parameters() if id(p) not in taken]
    slow = [p for name, p in rest if slow_rate != rate and not name.startswith("head.")]
    slowed = {id(p) for p in slow}

    def groups(parameters: list[nn.Parameter], lr: float) -> list[dict[str, Any]]:
        return [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay, "lr": lr},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0, "lr": lr},
        ]

    fast = [p for _, p in rest if id(p) not in slowed]
    sgd = torch.optim.SGD(
        groups(fast, rate) + (groups(slow, slow_rate) if slow else []),
        lr=rate,
        momentum=config.momentum,
        nesterov=config.momentum > 0,
    )
    return [sgd, Muon(kernels, lr=slow_rate)] if kernels else [sgd]


def rise_and_fall(steps: int, warmup: float) -> Callable[[int], float]:
    """Build the schedule step -> share of the peak rate: a linear warmup, then a linear decay to 0.

    warmup: share of the steps in which the rate rises.
    """
    rise = max(1.0, warmup * steps)
    fall = max(1.0, steps - rise)
    return lambda step: min((step + 1) / rise, max(0.0, (steps - step) / fall))


def moving_average(decay: float) -> Callable[[Any, Any, Tensor | int], None]:
    """Build the update of an exponential moving average of weights.

    The decay rises to `decay`, so that the average soon forgets the random start.
    """

    @torch.no_grad()
    def update(averages: Any, currents: Any, count: Tensor | int) -> None:
        weight = 1 - min(decay, (1 + int(count)) / (10 + int(count)))
        for average, current in zip(averages, currents, strict=True):
            if average.is_floating_point():
                average.lerp_(current, weight)
            else:  # BatchNorm's counter of batches
                average.copy_(current)

    return update


class Muon(torch.optim.Optimizer):
    """Momentum with orthogonalised steps, for the kernels of convolutions.

    A kernel (O, I, h, w) is treated as a matrix (O, I h w); the singular values of its step are near 1.
    Before each step the kernel is scaled to the norm sqrt(O), so that `lr` is the angle it turns by. Use it
    only where a normalisation follows, which makes the kernel's scale irrelevant.
    Source: Jordan et al. 2024 (Muon) and airbench94_muon; torch.optim.Muon takes matrices only.
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float, momentum: float = 0.6) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take one step along Nesterov's momentum. Raises ValueError when given a closure."""
        if closure is not None:
            raise ValueError("Muon does not support a closure; call step() without one")
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
    """Bring the singular values of a float (M, N) matrix close to 1, by Newton-Schulz steps in bf16."""
    a, b, c = NEWTON_SCHULZ
    x: Tensor = matrix.bfloat16() / (matrix.norm() + 1e-7)
    if tall := x.shape[0] > x.shape[1]:
        x = x.T
    for _ in range(NEWTON_SCHULZ_STEPS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return (x.T if tall else x).to(matrix.dtype)


def suits_muon(parameter: Tensor) -> bool:
    """Return whether a parameter is a convolution kernel; the first layer on gray images is excluded."""
    return parameter.ndim == 4 and parameter.shape[1] > 1
