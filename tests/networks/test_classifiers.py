"""The networks: their size, their outputs, and that they normalise the pixels themselves."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fashion_mnist.data.dataset import Dataset
from fashion_mnist.errors import ConfigError
from fashion_mnist.networks.classifiers import Classifier, build, pixel_statistics
from fashion_mnist.spec import ModelSpec


def compact(spec: ModelSpec, mean: float = 0.3, std: float = 0.35) -> Classifier:
    """Build the network with the same random weights each time, in evaluation mode."""
    torch.manual_seed(0)
    channels = torch.ones(spec.channels)
    return build("compact", spec, mean * channels, std * channels).eval()


def spec_of(class_count: int, height: int, width: int, channels: int) -> ModelSpec:
    return ModelSpec(tuple(f"class {i}" for i in range(class_count)), height, width, channels)


def noise(spec: ModelSpec, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, *spec.shape), dtype=torch.uint8, generator=generator)


def multiply_adds(network: Classifier, images: Tensor) -> int:
    """Count the multiply-adds of convolutions and linear layers in one call."""
    total = 0

    def count(layer: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        total += output.numel() * math.prod(layer.weight.shape[1:])

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    with torch.inference_mode():
        network(images)
    return total


def test_compact_is_as_small_as_its_docstring_says(spec: ModelSpec) -> None:
    network = compact(spec)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert 1.15e6 < parameters < 1.25e6
    assert 51.5e6 < multiply_adds(network, noise(spec, 1)) < 52.5e6


@pytest.mark.parametrize("channels", [1, 3])
def test_compact_stays_small_with_a_hundred_classes(channels: int) -> None:
    wide = spec_of(100, 28, 28, channels)
    network = compact(wide)
    assert sum(parameter.numel() for parameter in network.parameters()) <= 1_500_000
    assert multiply_adds(network, noise(wide, 1)) <= 60_000_000


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("class_count", "height", "width"), [(10, 28, 28), (2, 8, 8), (37, 17, 20)])
def test_logits_and_features_have_the_shape_of_the_spec(
    class_count: int, height: int, width: int, channels: int
) -> None:
    asked = spec_of(class_count, height, width, channels)
    with torch.inference_mode():
        logits, features = compact(asked)(noise(asked, 3))
    assert logits.shape == (3, class_count)
    assert features.shape == (3, 256)
    assert logits.isfinite().all()


def test_logits_are_the_head_applied_to_the_features(spec: ModelSpec) -> None:
    network = compact(spec)
    with torch.inference_mode():
        logits, features = network(noise(spec, 3))
        assert torch.equal(network.head(features), logits)


def test_pixels_are_normalised_in_the_graph(spec: ModelSpec) -> None:
    images = noise(spec, 2)
    network = compact(spec, mean=0.25, std=0.5)
    normalised = (images.unsqueeze(1).float() / 255 - 0.25) / 0.5
    with torch.inference_mode():
        _, features = network(images)
        assert torch.allclose(features, network.body(normalised), atol=1e-5)
        assert not torch.allclose(features, compact(spec)(images)[1], atol=1e-2)


def test_statistics_are_stored_with_the_weights_and_not_trained(spec: ModelSpec) -> None:
    network = compact(spec)
    assert {"mean", "std"} <= set(network.state_dict())
    assert not {"mean", "std"} & {name for name, _ in network.named_parameters()}


def test_channels_are_the_last_axis_of_colour_images() -> None:
    colour = spec_of(4, 12, 20, 3)
    images = noise(colour, 2)
    mean, std = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.4, 0.5, 0.6])
    network = build("compact", colour, mean, std).eval()
    normalised = (images.float() / 255 - mean) / std
    with torch.inference_mode():
        assert torch.allclose(network(images)[1], network.body(normalised.permute(0, 3, 1, 2)), atol=1e-5)


def test_statistics_of_gray_images_agree_with_numpy(sample: Dataset) -> None:
    mean, std = pixel_statistics(torch.from_numpy(sample.train.images.copy()))
    scaled = sample.train.images / 255
    assert mean.numpy() == pytest.approx([scaled.mean()], abs=1e-6)
    assert std.numpy() == pytest.approx([scaled.std()], abs=1e-6)


def test_statistics_of_colour_images_are_per_channel(test_images: NDArray[np.uint8]) -> None:
    colour = np.stack([test_images, 255 - test_images, test_images // 3], axis=3)
    mean, std = pixel_statistics(torch.from_numpy(colour))
    scaled = colour / 255
    assert mean.numpy() == pytest.approx(scaled.mean(axis=(0, 1, 2)), abs=1e-6)
    assert std.numpy() == pytest.approx(scaled.std(axis=(0, 1, 2)), abs=1e-6)


def test_images_of_one_value_can_still_be_normalised(spec: ModelSpec) -> None:
    blank = torch.full((5, 28, 28), 51, dtype=torch.uint8)
    mean, std = pixel_statistics(blank)
    assert mean.item() == pytest.approx(0.2)
    assert std.item() > 0
    with torch.inference_mode():
        assert build("compact", spec, mean, std).eval()(blank)[0].isfinite().all()


def test_an_unknown_network_is_refused_with_the_known_names(spec: ModelSpec) -> None:
    with pytest.raises(ConfigError, match=r"unknown network 'vast'; choose one of compact, wide, vgg16, "):
        build("vast", spec, torch.zeros(1), torch.ones(1))
