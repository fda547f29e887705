"""A ResNet and an EfficientNet side by side: their local features are concatenated, pooled and projected.

The modular service of specialists describes this for fundus photographs and microscopy: one network for shapes, one for
texture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from inference.networks import efficientnet, resnet
from inference.networks.base import HeadSettings, SliceNetwork, Trunk

_EMBEDDING = 512


@dataclass(frozen=True, slots=True)
class HybridSettings:
    """Which two networks, by their names in :data:`inference.networks.NETWORKS`.

    ``pretrained`` and ``drop_connect`` are those of the EfficientNet.
    """

    resnet: str = "resnet18"
    efficientnet: str = "efficientnet-lite0"
    pretrained: bool = False
    drop_connect: float = 0.2

    def __post_init__(self) -> None:
        if self.resnet not in ("resnet18", "resnet50"):
            raise ValueError(f"resnet is {self.resnet!r}; it is resnet18 or resnet50")
        if self.efficientnet not in ("efficientnet-lite0", "efficientnet-b0"):
            raise ValueError(f"efficientnet is {self.efficientnet!r}; it is efficientnet-lite0 or efficientnet-b0")


class SideBySide(nn.Module):
    """Local features of two trunks on the grid of the first: (N, ``channels``, h, w)."""

    def __init__(self, first: Trunk, second: Trunk) -> None:
        super().__init__()
        self.first, self.second = first, second
        self.channels = first.channels + second.channels

    def forward(self, planes: Tensor) -> Tensor:
        one, other = self.first(planes), self.second(planes)
        # Both have stride 32, but round a size that is no multiple of it each in its own way.
        other = nn.functional.interpolate(other, size=one.shape[2:], mode="bilinear", align_corners=False)
        return torch.cat([one, other], dim=1)


def build(name: str, settings: Mapping[str, Any]) -> SliceNetwork:
    """See :func:`inference.networks.build`; without ``embedding`` it projects to 512."""
    del name
    head, rest = HeadSettings.taken_from({"embedding": _EMBEDDING, **settings})
    own = HybridSettings(**rest)
    of_efficientnet = efficientnet.EfficientNetSettings(own.pretrained, own.drop_connect)
    both = SideBySide(resnet.trunk(own.resnet), efficientnet.trunk(own.efficientnet, of_efficientnet))
    return SliceNetwork(both, both.channels, head)
