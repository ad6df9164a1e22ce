"""Names of the networks, without importing torch: settings and command lines need no more."""

from typing import Final

COMPACT: Final = "compact"
WIDE: Final = "wide"
BACKBONES: Final = {"vgg16": 224, "resnet18": 224, "mobilenet_v3_small": 224, "efficientnet_lite0": 224}
"""Pretrained networks, and the side in pixels of the images that their weights were trained on."""
