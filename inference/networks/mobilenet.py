"""MobileNetV2: M. Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks" (CVPR 2018), fresh weights.

Width 1, stride 32, 1280 channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from torch import Tensor, nn

from inference.networks.base import HeadSettings, SliceNetwork, Trunk

CHANNELS = 1280
_STEM = 32
# Of each stage: expansion, channels, blocks, stride of the first block (table 2 of the paper).
_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def build(name: str, settings: Mapping[str, Any]) -> SliceNetwork:
    """See :func:`inference.networks.build`; there are no settings beside those of the head."""
    head, unknown = HeadSettings.taken_from(settings)
    if unknown:
        raise ValueError(f"{name} has no setting {', '.join(sorted(unknown))}")
    return SliceNetwork(Trunk(_features(), CHANNELS), CHANNELS, head)


class InvertedResidual(nn.Module):
    """Widen, filter each channel for itself, narrow without an activation; around all of it a short cut if it fits."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        layers = [_layer(inputs, wide, 1)] if expansion > 1 else []
        layers.append(_layer(wide, wide, 3, stride, groups=wide))
        narrow = nn.Sequential(nn.Conv2d(wide, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        self.layers = nn.Sequential(*layers, narrow)
        self.short_cut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        found = cast(Tensor, self.layers(x))
        return x + found if self.short_cut else found


def _layer(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU6(inplace=True))


def _features() -> nn.Sequential:
    layers: list[nn.Module] = [_layer(3, _STEM, 3, 2)]
    inputs = _STEM
    for expansion, outputs, blocks, stride in _STAGES:
        for number in range(blocks):
            layers.append(InvertedResidual(inputs, outputs, stride if number == 0 else 1, expansion))
            inputs = outputs
    features = nn.Sequential(*layers, _layer(inputs, CHANNELS, 1))
    for part in features.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out")
    return features
