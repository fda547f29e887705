"""Explicit fusion: what a picture would be on the other side is drawn, and both together make the boneprint.

Two translators, radiograph to rendering and back, complete each picture to a pair; two encoders and a fusion turn the
pair into a vector of 256. A radiograph y is F(T(y), y), a rendering x is F(x, T(x)): either may be the bank, the other
the query. What trains them, decoders and adversaries, is in :mod:`training.boneprint.explicit` and never serves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor

from inference.networks.boneprint_parts import (
    Boneprint,
    EncoderSettings,
    Projection,
    SideEncoder,
    Translator,
    TranslatorSettings,
    settings_of,
)
from inference.networks.boneprint_sides import Side


@dataclass(frozen=True, slots=True)
class ExplicitSettings:
    """``size`` is the edge at which pictures are seen; ``pretrained`` starts encoders that can be from ImageNet."""

    size: int = 256
    dimension: int = 256
    translator: TranslatorSettings = field(default_factory=TranslatorSettings)
    encoder: EncoderSettings = field(default_factory=EncoderSettings)
    pretrained: bool = False


class ExplicitBoneprint(Boneprint):
    """See :class:`~inference.networks.boneprint_parts.Boneprint`."""

    def __init__(self, settings: ExplicitSettings) -> None:
        super().__init__(settings.size, settings.dimension)
        self.to_rendering, self.to_radiograph = (Translator(settings.translator) for _ in range(2))
        self.radiograph, self.rendering = (SideEncoder(settings.encoder, settings.pretrained) for _ in range(2))
        self.fusion = Projection(self.radiograph.length + self.rendering.length, settings.dimension)

    def translated(self, grey: Tensor, side: Side) -> Tensor:
        """The other side of pictures (B, 1, size, size) of ``side``; the same shape."""
        return cast(Tensor, self.to_rendering(grey) if side == "radiograph" else self.to_radiograph(grey))

    def fused(self, radiograph: Tensor, rendering: Tensor) -> Tensor:
        """Boneprints (B, dimension) of pairs (B, 1, size, size) each."""
        return cast(Tensor, self.fusion(torch.cat([self.radiograph(radiograph), self.rendering(rendering)], dim=1)))

    def embed(self, grey: Tensor, side: Side) -> Tensor:
        other = self.translated(grey, side)
        return self.fused(grey, other) if side == "radiograph" else self.fused(other, grey)


def build(name: str, settings: Mapping[str, Any]) -> ExplicitBoneprint:
    """See :func:`inference.networks.build`."""
    del name
    return ExplicitBoneprint(
        settings_of(ExplicitSettings, settings, translator=TranslatorSettings, encoder=EncoderSettings)
    )
