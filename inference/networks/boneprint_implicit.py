"""Implicit fusion: one diffusion model that draws either side, whose bottleneck is the boneprint.

A U-Net predicts the noise in radiographs and renderings alike, told which of them it sees. What it knows half-way,
pooled and projected to 256, is compared; when it serves it is shown the clean picture and one step t, the same for the
bank and the query.

The U-Net is MONAI's DiffusionModelUNet, put together from its blocks: its own attention needs a package that is no
dependency here (einops), so the attention at the bottleneck is torch's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from monai.networks.nets import diffusion_model_unet as monai_unet
from torch import Tensor, nn

from inference.networks.boneprint_parts import GROUPS, Boneprint, Pooling, Projection, settings_of
from inference.networks.boneprint_sides import SIDES, Side

# Channels of an attention head.
_HEAD = 8


@dataclass(frozen=True, slots=True)
class ImplicitSettings:
    """The U-Net and what is read from it.

    size
        edge at which pictures are seen; ``len(multiples) - 1`` halvings below it lies the bottleneck.
    width, multiples, blocks
        channels at full size, their multiples level by level, and residual units of a level.
    local, grid
        as :class:`~inference.networks.boneprint_parts.EncoderSettings` has them.
    step
        the t that is told with a clean picture, of 1000.
    draws
        whether the half that predicts noise is there: training needs it, serving does not.
    """

    size: int = 128
    dimension: int = 256
    width: int = 32
    multiples: tuple[int, ...] = (1, 2, 4, 6)
    blocks: int = 1
    local: int = 64
    grid: int = 4
    step: int = 10
    draws: bool = True

    def __post_init__(self) -> None:
        # In groups of one channel, the norm behind it would erase what step and side add to every channel.
        if self.width < 2 * GROUPS or self.width % GROUPS:
            raise ValueError(f"width is {self.width}; it is a multiple of {GROUPS}, and {2 * GROUPS} at least")
        if not (2 <= len(self.multiples) <= 6 and min(self.multiples) >= 1 and 1 <= self.blocks <= 4):
            raise ValueError("multiples are two to six numbers of 1 or more, and blocks go from 1 to 4")
        if not (1 <= self.local <= 4096 and 1 <= self.grid <= 16 and 0 <= self.step < 1000):
            raise ValueError("local goes from 1 to 4096, grid from 1 to 16, and step from 0 to 999")


@dataclass(frozen=True, slots=True)
class Halfway:
    """The U-Net at its bottleneck: ``maps`` (B, C, h, w), what the way up needs, and the code of step and side."""

    maps: Tensor
    skipped: list[Tensor]
    code: Tensor


class ImplicitBoneprint(Boneprint):
    """See :class:`~inference.networks.boneprint_parts.Boneprint`."""

    def __init__(self, settings: ImplicitSettings) -> None:
        super().__init__(settings.size, settings.dimension)
        channels = [settings.width * multiple for multiple in settings.multiples]
        code = 4 * channels[0]
        self.step, self._width = settings.step, channels[0]
        self.time = nn.Sequential(nn.Linear(channels[0], code), nn.SiLU(), nn.Linear(code, code))
        self.side = nn.Embedding(len(SIDES), code)
        self.first = nn.Conv2d(1, channels[0], 3, padding=1)
        self.down = _down(channels, code, settings.blocks)
        self.middle = _Middle(channels[-1], code)
        self.up, self.last = nn.ModuleList(), nn.Sequential()
        if settings.draws:
            self.up, self.last = _up(channels, code, settings.blocks + 1), _last(channels[0])
        self.pool = Pooling(channels[-1], settings.local, settings.grid)
        self.head = Projection(self.pool.length, settings.dimension)

    def halfway(self, grey: Tensor, steps: Tensor, sides: Tensor) -> Halfway:
        """The way down of pictures (B, 1, size, size), noisy or not, at ``steps`` (B,), of ``sides`` (B,)."""
        code = self.time(monai_unet.get_timestep_embedding(steps, self._width).to(grey.dtype)) + self.side(sides)
        maps = self.first(grey)
        skipped = [maps]
        for block in self.down:
            maps, passed = block(hidden_states=maps, temb=code)
            skipped += passed
        return Halfway(self.middle(maps, code), skipped, code)

    def noise(self, at: Halfway) -> Tensor:
        """The noise (B, 1, size, size) that the pictures hold, on the way up from there."""
        maps, skipped = at.maps, at.skipped
        for block in self.up:
            count = len(cast(Any, block).resnets)
            maps = block(hidden_states=maps, res_hidden_states_list=skipped[-count:], temb=at.code)
            skipped = skipped[:-count]
        return cast(Tensor, self.last(maps))

    def boneprint(self, at: Halfway) -> Tensor:
        """(B, dimension)."""
        return cast(Tensor, self.head(self.pool(at.maps)))

    def embed(self, grey: Tensor, side: Side) -> Tensor:
        steps = torch.full((len(grey),), self.step, device=grey.device)
        sides = torch.full((len(grey),), SIDES.index(side), device=grey.device)
        return self.boneprint(self.halfway(grey, steps, sides))


class _Middle(nn.Module):
    """The bottleneck: a residual block, attention over all places, and another residual block."""

    def __init__(self, channels: int, code: int) -> None:
        super().__init__()
        self.before, self.after = (
            monai_unet.DiffusionUNetResnetBlock(2, channels, code, channels, norm_num_groups=GROUPS) for _ in range(2)
        )
        self.norm = nn.GroupNorm(GROUPS, channels)
        self.attention = nn.MultiheadAttention(channels, channels // _HEAD, batch_first=True)

    def forward(self, maps: Tensor, code: Tensor) -> Tensor:
        maps = self.before(maps, code)
        places = self.norm(maps).flatten(2).transpose(1, 2)
        seen, _ = self.attention(places, places, places, need_weights=False)
        return cast(Tensor, self.after(maps + seen.transpose(1, 2).reshape(maps.shape), code))


def _down(channels: list[int], code: int, blocks: int) -> nn.ModuleList:
    """The way down, halving after every level but the last."""
    last = len(channels) - 1
    return nn.ModuleList(
        monai_unet.DownBlock(
            2, channels[max(0, level - 1)], channels[level], code, blocks, GROUPS, add_downsample=level < last
        )
        for level in range(len(channels))
    )


def _up(channels: list[int], code: int, blocks: int) -> nn.ModuleList:
    """The way up, from the last level to the first, doubling after every one but that."""
    last = len(channels) - 1
    return nn.ModuleList(
        monai_unet.UpBlock(
            2, channels[max(0, level - 1)], channels[min(last, level + 1)], channels[level], code, blocks, GROUPS,
            add_upsample=level > 0,
        )
        for level in range(last, -1, -1)
    )  # fmt: skip


def _last(channels: int) -> nn.Sequential:
    """To the noise; it predicts none before it has learned."""
    out = nn.Conv2d(channels, 1, 3, padding=1)
    nn.init.zeros_(out.weight)
    nn.init.zeros_(cast(Tensor, out.bias))
    return nn.Sequential(nn.GroupNorm(GROUPS, channels), nn.SiLU(), out)


def build(name: str, settings: Mapping[str, Any]) -> ImplicitBoneprint:
    """See :func:`inference.networks.build`."""
    del name
    values = dict(settings)
    if "multiples" in values:
        values["multiples"] = tuple(values["multiples"])
    return ImplicitBoneprint(settings_of(ImplicitSettings, values))
