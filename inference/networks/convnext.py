"""ConvNeXt-T: Z. Liu et al., "A ConvNet for the 2020s" (CVPR 2022), fresh weights. Stride 32, 768 channels.

The paper normalises once more behind the pooling; here that stands before it, where it belongs to the local features
that other parts look at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from inference.networks.base import HeadSettings, SliceNetwork, Trunk

_WIDTHS, _DEPTHS = (96, 192, 384, 768), (3, 3, 9, 3)
_EPSILON = 1e-6
# What a block adds at first, so that all 18 of them start as little more than nothing.
_SCALE = 1e-6


@dataclass(frozen=True, slots=True)
class ConvNeXtSettings:
    """What ``convnext-tiny`` can be told beside :class:`~inference.networks.base.HeadSettings`.

    drop_path
        stochastic depth in training: the largest share of images whose residual branch is left out.
    """

    drop_path: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.drop_path < 1:
            raise ValueError(f"drop_path is {self.drop_path}; it goes from 0 to less than 1")


def build(name: str, settings: Mapping[str, Any]) -> SliceNetwork:
    """See :func:`inference.networks.build`."""
    del name
    head, own = HeadSettings.taken_from(settings)
    channels = _WIDTHS[-1]
    return SliceNetwork(Trunk(_features(ConvNeXtSettings(**own)), channels), channels, head)


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation of the channels of each pixel of (N, C, h, w)."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Block(nn.Module):
    """A filter of 7 x 7 for each channel, then an MLP of four times the width; around it a short cut."""

    def __init__(self, width: int, drop: float) -> None:
        super().__init__()
        self.filter = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=_EPSILON)
        self.expand, self.contract = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.scale = nn.Parameter(torch.full((width,), _SCALE))
        self.drop = drop

    def forward(self, x: Tensor) -> Tensor:
        found = self.norm(self.filter(x).permute(0, 2, 3, 1))
        found = self.scale * self.contract(functional.gelu(self.expand(found)))
        found = found.permute(0, 3, 1, 2)
        if self.training and self.drop > 0:
            kept = torch.rand(len(x), 1, 1, 1, device=x.device) >= self.drop
            found = found * kept / (1 - self.drop)
        return x + cast(Tensor, found)


def _features(settings: ConvNeXtSettings) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(3, _WIDTHS[0], 4, 4), ChannelNorm(_WIDTHS[0], eps=_EPSILON)]
    drops = (settings.drop_path * number / (sum(_DEPTHS) - 1) for number in range(sum(_DEPTHS)))
    for number, (width, depth) in enumerate(zip(_WIDTHS, _DEPTHS, strict=True)):
        if number:
            before = _WIDTHS[number - 1]
            layers += [ChannelNorm(before, eps=_EPSILON), nn.Conv2d(before, width, 2, 2)]
        layers += [Block(width, next(drops)) for _ in range(depth)]
    features = nn.Sequential(*layers, ChannelNorm(_WIDTHS[-1], eps=_EPSILON))
    for part in features.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            nn.init.trunc_normal_(part.weight, std=0.02)
            nn.init.zeros_(part.bias)  # type: ignore[arg-type]
    return features
