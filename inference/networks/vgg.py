"""VGG16: K. Simonyan, A. Zisserman, "Very deep convolutional networks for large-scale image recognition" (ICLR 2015).

Configuration D, without batch normalisation, as published; fresh weights. Stride 32, 512 channels. The published
classifier, nine tenths of all its weights, is left out: the embedding takes its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from inference.networks.base import HeadSettings, SliceNetwork, Trunk

# Convolutions of 3 x 3 by their channels; each row ends in a pooling by two.
_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


def build(name: str, settings: Mapping[str, Any]) -> SliceNetwork:
    """See :func:`inference.networks.build`; there are no settings beside those of the head."""
    head, unknown = HeadSettings.taken_from(settings)
    if unknown:
        raise ValueError(f"{name} has no setting {', '.join(sorted(unknown))}")
    channels = _STAGES[-1][-1]
    return SliceNetwork(Trunk(_features(), channels), channels, head)


def _features() -> nn.Sequential:
    layers: list[nn.Module] = []
    inputs = 3
    for stage in _STAGES:
        for outputs in stage:
            convolution = nn.Conv2d(inputs, outputs, 3, padding=1)
            # Without normalisation the usual start dies out on its way through sixteen layers.
            nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
            layers += [convolution, nn.ReLU(inplace=True)]
            inputs = outputs
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)
