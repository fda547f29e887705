"""What the networks of the neural boneprint share: two sides of one chest, encoders of them, translators between them.

Neural boneprint: matching chest radiographs with volume-rendered CT (ACM Multimedia 2024; Pattern Recognition 2026).
The papers state no widths and no backbones: those here are choices.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, TypeVar, cast, get_args

import torch
from monai.networks.blocks.convolutions import Convolution, ResidualUnit
from torch import Tensor, nn
from torch.nn import functional

from inference.networks.base import GridPool
from inference.networks.boneprint_sides import SIDES, Side

Backbone = Literal["residual", "efficientnet-lite0"]

# Group norm takes channels in multiples of its groups.
GROUPS = 8
# What weighs red, green and blue alike: a rendering's tint is the workstation's, not the patient's.
_COLOURS = 3


class Boneprint(nn.Module, ABC):
    """A network that embeds either side of a chest into one space. Embeddings are compared by their cosine.

    It has the face of :mod:`inference.networks` but for ``local``, because its two sides have no features in common.
    """

    def __init__(self, size: int, dimension: int) -> None:
        super().__init__()
        if not 16 <= size <= 1024:
            raise ValueError(f"size is {size}; it goes from 16 to 1024")
        if not 1 <= dimension <= 65536:
            raise ValueError(f"dimension is {dimension}; it goes from 1 to 65536")
        self.size, self.dimension = size, dimension

    @abstractmethod
    def embed(self, grey: Tensor, side: Side) -> Tensor:
        """Embeddings float32 (B, ``dimension``) of what :meth:`grey` gives, all of one side."""

    def encode(self, x: Tensor, side: Side) -> Tensor:
        """Embeddings float32 (B, ``dimension``), not normalised.

        Parameters
        ----------
        x
            float32 (B, 3, S, S) RGB in [0, 1]; of a radiograph the grey repeated, bone bright. Pictures of another
            edge than ``size`` are scaled to it.
        side
            what all of them are: ``radiograph`` or ``rendering``.
        """
        return self.embed(self.grey(x), side).float()

    def grey(self, x: Tensor) -> Tensor:
        """float32 (B, 1, ``size``, ``size``) in [-1, 1] of RGB pictures (B, 3, S, S) in [0, 1]."""
        found = x.mean(1, keepdim=True) if x.shape[1] == _COLOURS else x
        if found.shape[-2:] != (self.size, self.size):
            found = functional.interpolate(
                found, (self.size, self.size), mode="bilinear", align_corners=False, antialias=True
            )
        return found * 2 - 1

    def forward(self, x: Tensor, modality: Tensor | None = None) -> Tensor:
        """float32 (B, ``dimension``) of (B, 1, 3, S, S); ``modality`` int64 (B,) are places in :data:`SIDES`.

        Raises
        ------
        ValueError
            without modalities: no picture says by itself on which side it is.
        """
        if modality is None:
            raise ValueError("a boneprint needs to know which pictures are radiographs and which renderings")
        out = x.new_zeros((len(x), self.dimension), dtype=torch.float32)
        for number, side in enumerate(SIDES):
            chosen = modality == number
            if bool(chosen.any()):
                out[chosen] = self.encode(x[chosen, 0], side)
        return out


@dataclass(frozen=True, slots=True)
class TranslatorSettings:
    """``width`` channels at full size, doubled at each of ``levels`` halvings; ``blocks`` residual units between."""

    width: int = 24
    levels: int = 3
    blocks: int = 3

    def __post_init__(self) -> None:
        if self.width < GROUPS or self.width % GROUPS:
            raise ValueError(f"translator.width is {self.width}; it is a multiple of {GROUPS}")
        if not (1 <= self.levels <= 5 and 0 <= self.blocks <= 16):
            raise ValueError("translator.levels go from 1 to 5, and translator.blocks from 0 to 16")


class Translator(nn.Module):
    """A picture of one side as it would be on the other: (B, 1, S, S) to the same, in [-1, 1].

    Residual units between halvings and doublings, as of J. Johnson et al., "Perceptual losses for real-time style
    transfer" (ECCV 2016). There are no skip connections: the two sides were taken in different breaths and poses, and
    an edge that is carried over unmoved would be in the wrong place.
    """

    def __init__(self, settings: TranslatorSettings) -> None:
        super().__init__()
        widths = [settings.width * 2**level for level in range(settings.levels + 1)]
        down: list[nn.Module] = [_convolution(1, widths[0], kernel=7)]
        down += [_convolution(wide, wider, stride=2) for wide, wider in pairwise(widths)]
        down += [_residual(widths[-1], widths[-1]) for _ in range(settings.blocks)]
        up: list[nn.Module] = []
        for wide, wider in zip(widths[-2::-1], widths[::-1], strict=False):
            up += [nn.Upsample(scale_factor=2), _convolution(wider, wide)]
        self.down = nn.Sequential(*down)
        self.up = nn.Sequential(*up, nn.Conv2d(widths[0], 1, 7, padding=3), nn.Tanh())

    def latent(self, grey: Tensor) -> Tensor:
        """float32 (B, C, h, w)."""
        return cast(Tensor, self.down(grey))

    def shown(self, latent: Tensor) -> Tensor:
        """The picture of a latent."""
        return cast(Tensor, self.up(latent))

    def forward(self, grey: Tensor) -> Tensor:
        return self.shown(self.latent(grey))


@dataclass(frozen=True, slots=True)
class EncoderSettings:
    """How one side becomes a vector.

    backbone
        ``residual``: units of ``width`` channels at half the size, doubled at each of ``levels`` halvings;
        ``efficientnet-lite0``: the mobile network, which can start from ImageNet.
    local, grid
        features are reduced to ``local`` channels, and their means over ``grid`` x ``grid`` windows are the vector:
        where a rib is says more than that there is one.
    """

    backbone: Backbone = "residual"
    width: int = 32
    levels: int = 3
    local: int = 64
    grid: int = 4

    def __post_init__(self) -> None:
        if self.backbone not in get_args(Backbone):
            raise ValueError(f"encoder.backbone is {self.backbone!r}; it is one of {', '.join(get_args(Backbone))}")
        if self.width < GROUPS or self.width % GROUPS or not 1 <= self.levels <= 5:
            raise ValueError(f"encoder.width is a multiple of {GROUPS}, and encoder.levels go from 1 to 5")
        if not (1 <= self.local <= 4096 and 1 <= self.grid <= 16):
            raise ValueError("encoder.local goes from 1 to 4096, and encoder.grid from 1 to 16")


class SideEncoder(nn.Module):
    """(B, 1, S, S) in [-1, 1] to a vector (B, ``length``); ``channels`` are those of :meth:`maps`."""

    def __init__(self, settings: EncoderSettings, pretrained: bool) -> None:
        super().__init__()
        self.trunk, self.channels = _trunk(settings, pretrained)
        self.pool = Pooling(self.channels, settings.local, settings.grid)
        self.length = self.pool.length

    def maps(self, grey: Tensor) -> Tensor:
        """float32 (B, ``channels``, h, w): what is pooled."""
        return cast(Tensor, self.trunk(grey))

    def forward(self, grey: Tensor) -> Tensor:
        return cast(Tensor, self.pool(self.maps(grey)))


class Pooling(nn.Module):
    """(B, C, h, w) to (B, ``length``): fewer channels, means over windows, one scale."""

    def __init__(self, channels: int, local: int, grid: int) -> None:
        super().__init__()
        self.length = local * grid**2
        self.layers = nn.Sequential(nn.Conv2d(channels, local, 1), GridPool(grid), nn.LayerNorm(self.length))

    def forward(self, maps: Tensor) -> Tensor:
        return cast(Tensor, self.layers(maps))


class Projection(nn.Module):
    """A vector (B, ``length``) to an embedding (B, ``dimension``), through one hidden layer."""

    def __init__(self, length: int, dimension: int) -> None:
        super().__init__()
        hidden = 2 * dimension
        self.layers = nn.Sequential(nn.Linear(length, hidden), nn.GELU(), nn.Linear(hidden, dimension))

    def forward(self, vectors: Tensor) -> Tensor:
        return cast(Tensor, self.layers(vectors))


Settings = TypeVar("Settings")


def settings_of(form: type[Settings], given: Mapping[str, Any], **tables: type[Any]) -> Settings:
    """``form`` from a mapping; ``tables`` are those of its keys that are mappings themselves, with their forms.

    Raises
    ------
    TypeError, ValueError
        naming what cannot be used.
    """
    values = dict(given)
    for name, inner in tables.items():
        values[name] = inner(**values.get(name, {}))
    return form(**values)


def _trunk(settings: EncoderSettings, pretrained: bool) -> tuple[nn.Module, int]:
    if settings.backbone == "efficientnet-lite0":
        from inference import networks

        network: Any = networks.build("efficientnet-lite0", {"pretrained": pretrained})
        return _Coloured(network.trunk), int(network.channels)
    if pretrained:
        raise ValueError("no weights are there to start the residual backbone from; efficientnet-lite0 has some")
    widths = [settings.width * 2**level for level in range(settings.levels + 1)]
    units = [_residual(wide, wider, stride=2) for wide, wider in pairwise(widths)]
    return nn.Sequential(_convolution(1, widths[0], stride=2), *units), widths[-1]


class _Coloured(nn.Module):
    """A trunk of three colours in [0, 1] on grey in [-1, 1]."""

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, grey: Tensor) -> Tensor:
        return cast(Tensor, self.trunk(((grey + 1) / 2).expand(-1, _COLOURS, -1, -1)))


def _convolution(channels: int, out: int, *, kernel: int = 3, stride: int = 1) -> nn.Module:
    return cast(nn.Module, Convolution(2, channels, out, kernel_size=kernel, strides=stride, act="RELU", norm=_NORM))


def _residual(channels: int, out: int, *, stride: int = 1) -> nn.Module:
    return cast(nn.Module, ResidualUnit(2, channels, out, strides=stride, act="RELU", norm=_NORM))


# Statistics of one picture: those of a batch would mix what is real with what was translated.
_NORM = ("GROUP", {"num_groups": GROUPS})
