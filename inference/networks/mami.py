"""MaMI: one Vision Transformer for every modality, adapted to each image by what kind of image it is.

``vit-*`` is the plain network, ``mami-*`` the adapted one: with the same seed both start as the same function.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from inference.networks.compa import AdapterSettings, ModalityAdapter
from inference.networks.vit import BlockAdaptation, Shape, VisionTransformer

__all__ = ["AdaptedTransformer", "KeyQueries", "build"]

# Width, heads and blocks as usual for these names, and the width of the adapter's trunk, which keeps it under 30 % of
# the plain network's parameters.
_SIZES = {"tiny": (192, 3, 12, 128), "small": (384, 6, 12, 192), "base": (768, 12, 12, 192)}
_SHAPE_SETTINGS = ("size", "patch", "depth")


def build(name: str, settings: Mapping[str, Any]) -> VisionTransformer:
    """``vit-SIZE`` or ``mami-SIZE`` with SIZE tiny, small or base, with fresh weights.

    Settings are ``size`` (224), ``patch`` (16) and ``depth`` (12) and, of ``mami-*``, those of
    :class:`~inference.networks.compa.AdapterSettings`.

    Raises
    ------
    TypeError, ValueError
        when a setting is unknown or does not fit.
    """
    family, _, size = name.partition("-")
    width, heads, depth, trunk = _SIZES[size]
    dimensions = {"depth": depth} | {key: settings[key] for key in _SHAPE_SETTINGS if key in settings}
    shape = Shape(width, heads, **dimensions)
    rest = {key: value for key, value in settings.items() if key not in _SHAPE_SETTINGS}
    if family == "mami":
        return AdaptedTransformer(shape, trunk, AdapterSettings(**rest))
    if rest:
        raise ValueError(f"{name} has no setting {', '.join(sorted(rest))}")
    return VisionTransformer(shape)


class AdaptedTransformer(VisionTransformer):
    """The network of every ``mami-*``. ``trunk`` is the width of what the adapter's generator starts from."""

    def __init__(self, shape: Shape, trunk: int, settings: AdapterSettings) -> None:
        super().__init__(shape)
        self.adapter = ModalityAdapter(shape.width, shape.depth, trunk, settings)

    def adaptations(self, maps: Tensor, modality: Tensor | None) -> Sequence[BlockAdaptation | None]:
        return cast("Sequence[BlockAdaptation]", self.adapter(maps, modality))


class KeyQueries(nn.Module):
    """Learnt queries of each modality, which look up in a local map what of it is medically telling.

    Training aligns what they find with what they find in a teacher's map; afterwards they show where identity is.
    """

    def __init__(self, modalities: int, queries: int, channels: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(modalities, queries, channels))
        # A bias would add the same to all places, which the softmax takes out again.
        self.keys = nn.Linear(channels, channels, bias=False)

    def attention(self, local: Tensor, modality: Tensor) -> Tensor:
        """Where each query of its image's modality looks in ``local`` (B, C, h, w): (B, N, h, w), summing to 1."""
        found = self.looking(self.keys(local.flatten(2).transpose(-1, -2)), modality)
        return found.reshape(*found.shape[:2], *local.shape[-2:])

    def looking(self, keys: Tensor, modality: Tensor) -> Tensor:
        """The same for keys (B, places, C) from elsewhere: (B, N, places)."""
        scores = self.queries[modality] @ keys.transpose(-1, -2) * self.queries.shape[-1] ** -0.5
        return cast(Tensor, scores.softmax(dim=-1))
