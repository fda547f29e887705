"""What the two fusions are compared with: one encoder for all pictures, translated to one side or left as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

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

Seen = Literal["both", "radiograph", "rendering"]


@dataclass(frozen=True, slots=True)
class SingleSettings:
    """``seen`` is the side on which pictures are compared: those of the other are translated to it first.

    ``both`` translates nothing. ``size`` and ``pretrained`` are as those of the explicit fusion.
    """

    seen: Seen = "both"
    size: int = 256
    dimension: int = 256
    translator: TranslatorSettings = field(default_factory=TranslatorSettings)
    encoder: EncoderSettings = field(default_factory=EncoderSettings)
    pretrained: bool = False

    def __post_init__(self) -> None:
        if self.seen not in get_args(Seen):
            raise ValueError(f"seen is {self.seen!r}; it is one of {', '.join(get_args(Seen))}")


class SingleBoneprint(Boneprint):
    """See :class:`~inference.networks.boneprint_parts.Boneprint`."""

    def __init__(self, settings: SingleSettings) -> None:
        super().__init__(settings.size, settings.dimension)
        self.seen = settings.seen
        self.translator = None if settings.seen == "both" else Translator(settings.translator)
        self.encoder = SideEncoder(settings.encoder, settings.pretrained)
        self.head = Projection(self.encoder.length, settings.dimension)

    def embed(self, grey: Tensor, side: Side) -> Tensor:
        if self.translator is not None and side != self.seen:
            grey = self.translator(grey)
        return cast(Tensor, self.head(self.encoder(grey)))


def build(name: str, settings: Mapping[str, Any]) -> SingleBoneprint:
    """See :func:`inference.networks.build`."""
    del name
    return SingleBoneprint(
        settings_of(SingleSettings, settings, translator=TranslatorSettings, encoder=EncoderSettings)
    )
