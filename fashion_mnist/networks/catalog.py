"""Names of the networks, importable without torch: settings and command lines need nothing else."""

from typing import Final

COMPACT: Final = "compact"
WIDE: Final = "wide"
BACKBONES: Final = {"vgg16": 224, "resnet18": 224, "mobilenet_v3_small": 224, "efficientnet_lite0": 224}
"""Pretrained network -> side in pixels of the images that its weights were trained on."""
