"""Muon: properties of its steps, and that they reduce a loss."""

import pytest
import torch
from torch import nn

from fashion_mnist.training.engine.optimizers import Muon, orthogonalise, suits_muon


@pytest.mark.parametrize("shape", [(32, 288), (288, 32), (64, 64)])
def test_singular_values_are_near_one(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    before = torch.linalg.svdvals(matrix)
    after = torch.linalg.svdvals(orthogonalise(matrix))
    assert after.shape == before.shape
    large = before > before.max() * 0.1  # three steps leave the smallest ones small
    assert 0.5 < after[large].min() <= after.max() < 1.4
    assert orthogonalise(matrix).dtype == torch.float32


def test_a_step_turns_a_kernel_by_the_rate_and_controls_its_norm() -> None:
    kernel = nn.Parameter(torch.randn(8, 4, 3, 3, generator=torch.Generator().manual_seed(0)) * 7)
    before = (kernel.detach() * 8**0.5 / kernel.norm()).clone()
    kernel.grad = torch.randn(8, 4, 3, 3, generator=torch.Generator().manual_seed(1))
    Muon([kernel], lr=0.01).step()
    change = (kernel.detach() - before).reshape(8, -1)
    assert torch.linalg.svdvals(change).max() < 0.014
    assert torch.sum(change * kernel.grad.reshape(8, -1)) < 0  # downhill


def test_muon_takes_kernels_with_more_than_one_input() -> None:
    assert suits_muon(torch.zeros(8, 4, 3, 3))
    assert not suits_muon(torch.zeros(8, 1, 3, 3))
    assert not suits_muon(torch.zeros(8, 4))
    assert not suits_muon(torch.zeros(8))


def test_muon_fits_a_small_network() -> None:
    torch.manual_seed(0)
    x = torch.randn(64, 4, 6, 6)
    y = torch.randint(0, 2, (64,))
    network = nn.Sequential(
        nn.Conv2d(4, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(256, 2)
    )
    optimizer = Muon([p for p in network.parameters() if suits_muon(p)], lr=0.1)
    for parameter in network[4].parameters():
        parameter.requires_grad_(False)
    losses = []
    for _ in range(30):
        loss = nn.functional.cross_entropy(network(x), y)
        network.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


def test_a_closure_is_refused() -> None:
    with pytest.raises(ValueError, match="closure"):
        Muon([nn.Parameter(torch.zeros(2, 2, 1, 1))], lr=0.1).step(lambda: 0.0)
