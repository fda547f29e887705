"""Landmarks of a face in a volume: four convolutions, then an hourglass; one heat map for each landmark.

The network of the recognition of faces in CT ("CT-FAN": four convolutional layers and an hourglass, 3-D Gaussian heat
maps, mean squared error, Adam); the hourglass is that of A. Newell et al., "Stacked hourglass networks for human pose
estimation" (ECCV 2016) in three dimensions. The second convolution has stride 2, as Newell's stem has: heat maps are
half as fine as the input, and places in them are read between voxels.

Its face is not that of the networks that embed: ``forward(x)`` takes float32 (B, 2, D, H, W), a silhouette and a
brightness in [0, 1] (see :mod:`inference.imaging.head_frame`), and returns float32 (B, L, D/2, H/2, W/2) heat maps that
were trained to be 1 at a landmark and to fall off like a Gaussian. ``dimension`` is L; there is no ``local``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

CHANNELS_IN = 2
# Edge of a voxel of a heat map, in voxels of the input.
STRIDE = 2
_SLOPE = 0.01
_GROUPS = 4
# A place is the centre of mass of what is so near to the highest voxel, in voxels of the heat map, in each direction.
_WINDOW = 2
# What is lower than this share of the peak is background, and has no weight.
_FLOOR = 0.15


@dataclass(frozen=True, slots=True)
class LandmarkSettings:
    """``landmarks`` is L; ``channels`` of every layer; ``depth`` how often the hourglass halves what it sees."""

    landmarks: int = 5
    channels: int = 24
    depth: int = 3

    def __post_init__(self) -> None:
        if self.landmarks < 1:
            raise ValueError(f"landmarks is {self.landmarks}; it is 1 or more")
        if self.channels < 1 or self.channels % (2 * _GROUPS):
            raise ValueError(f"channels is {self.channels}; it is a multiple of {2 * _GROUPS}")
        if not 1 <= self.depth <= 6:
            raise ValueError(f"depth is {self.depth}; it goes from 1 to 6")


class Residual(nn.Module):
    """(B, C, D, H, W) to the same: two convolutions beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(_convolution(channels, channels), _convolution(channels, channels))

    def forward(self, maps: Tensor) -> Tensor:
        return cast(Tensor, maps + self.layers(maps))


class Hourglass(nn.Module):
    """(B, C, D, H, W) to the same: what is seen at each of ``depth`` scales, added to what the finer one saw."""

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        self.beside, self.before, self.behind = (Residual(channels) for _ in range(3))
        self.within: nn.Module = Hourglass(channels, depth - 1) if depth > 1 else Residual(channels)

    def forward(self, maps: Tensor) -> Tensor:
        halved = functional.max_pool3d(maps, 2, ceil_mode=True)
        inner = self.behind(self.within(self.before(halved)))
        wide = functional.interpolate(inner, size=maps.shape[2:], mode="nearest")
        return cast(Tensor, self.beside(maps) + wide)


class LandmarkNetwork(nn.Module):
    """See the module; ``dimension`` is the number of landmarks."""

    def __init__(self, settings: LandmarkSettings) -> None:
        super().__init__()
        self.dimension = settings.landmarks
        wide = settings.channels
        self.stem = nn.Sequential(
            _convolution(CHANNELS_IN, wide // 2),
            _convolution(wide // 2, wide, stride=STRIDE),
            _convolution(wide, wide),
            _convolution(wide, wide),
        )
        self.hourglass = Hourglass(wide, settings.depth)
        self.head = nn.Conv3d(wide, settings.landmarks, 1)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.head(self.hourglass(self.stem(x))).float())


def build(name: str, settings: Mapping[str, Any]) -> LandmarkNetwork:
    """See :func:`inference.networks.build`."""
    del name
    return LandmarkNetwork(LandmarkSettings(**settings))


def gaussian_maps(places: Tensor, present: Tensor, shape: tuple[int, int, int], sigma: float) -> Tensor:
    """Targets float32 (B, L, D', H', W') for landmarks at ``places`` (B, L, 3), voxels (z, y, x) of the input.

    ``shape`` is that of a heat map, ``sigma`` in its voxels; a landmark that is not ``present`` (bool (B, L)) has none.
    """
    middle = places / STRIDE
    maps = present.float()[:, :, None, None, None]
    for axis, size in enumerate(shape):
        line = torch.arange(size, dtype=torch.float32, device=places.device)
        bell = torch.exp(-((line - middle[..., axis, None]) ** 2) / (2 * sigma**2))
        maps = maps * bell.reshape(*bell.shape[:2], *(-1 if n == axis else 1 for n in range(3)))
    return maps


def peaks(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Places float32 (B, L, 3), voxels (z, y, x) of the network's input, and confidences (B, L) in [0, 1].

    A place is the centre of mass around the highest voxel: finer than the voxels. The confidence is the height of the
    peak, which training made 1, times the share of all that rises above the background which belongs to this peak: two
    peaks of one height are no knowledge.
    """
    flat = maps.flatten(2)
    height, place = flat.max(dim=2)
    size = maps.shape[2:]
    at = torch.stack([place // (size[1] * size[2]), place // size[2] % size[1], place % size[2]], dim=-1)
    weight = (maps - _FLOOR * height.clamp(min=1e-6)[..., None, None, None]).clamp(min=0)
    near, grids = weight, []
    for axis in range(3):
        line = torch.arange(size[axis], device=maps.device)
        inside = (line - at[..., axis, None]).abs() <= _WINDOW
        view = tuple(-1 if n == axis else 1 for n in range(3))
        near = near * inside.reshape(*inside.shape[:2], *view)
        grids.append(line.float().reshape(1, 1, *view))
    mass = near.sum((2, 3, 4)).clamp(min=1e-9)
    found = [(near * grid).sum((2, 3, 4)) / mass for grid in grids]
    middle = torch.where((height > 0)[..., None], torch.stack(found, dim=-1), at.float())
    share = mass / weight.sum((2, 3, 4)).clamp(min=1e-9)
    return middle * STRIDE, height.clamp(0, 1) * share.clamp(0, 1)


def _convolution(channels_in: int, channels_out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False),
        nn.GroupNorm(_GROUPS, channels_out),
        nn.LeakyReLU(_SLOPE),
    )
