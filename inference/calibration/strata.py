"""Which scores may be judged by one map: those of one pair of modalities and views, in one band of quality.

A stratum has a name: ``DX/FRONTAL@HIGH`` for a good frontal film against frontal films, ``DX/FRONTAL`` whatever its
quality, ``DX`` whatever its view. Images of two kinds are joined by a plus sign: ``CT/+DX/FRONTAL``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

# Where the bands of the probe's quality begin. A link needs 0.5 by default; both encoders give most good images 1.
QUALITY_BANDS = ((0.8, "HIGH"), (0.5, "MIDDLE"), (0.0, "LOW"))
# The stratum of all pairs of equal kind.
OVERALL = ""


@dataclass(frozen=True, slots=True, order=True)
class Side:
    """What one of two compared images shows. An empty view is an unknown one, which goes with every other."""

    modality: str = ""
    view: str = ""

    def __str__(self) -> str:
        return f"{self.modality}/{self.view}"


@dataclass(frozen=True, slots=True)
class Pair:
    """What is compared with what; the order of the two does not matter.

    ``band`` is the quality band of the probe: a gallery knows nothing of its entries' quality.
    """

    first: Side
    second: Side
    band: str = ""

    def __post_init__(self) -> None:
        if self.second < self.first:
            first, second = self.second, self.first
            object.__setattr__(self, "first", first)
            object.__setattr__(self, "second", second)

    @classmethod
    def alike(cls, modality: str = "", view: str = "", band: str = "") -> Self:
        """Images of one kind."""
        side = Side(modality, view)
        return cls(side, side, band)

    @classmethod
    def of_name(cls, name: str) -> Self:
        """The pair that :attr:`name` or :attr:`kind` names."""
        kinds, _, band = name.partition("@")
        sides = [Side(*part.partition("/")[::2]) for part in kinds.split("+")]
        if len(sides) > 2 or f"{'+'.join(map(str, sides))}" != kinds:
            raise ValueError(f"{name!r} names no pair")
        return cls(sides[0], sides[-1], band)

    @property
    def foreign(self) -> bool:
        """Whether the two differ in what is known of them: such pairs are compared only under a map of their own."""
        views = {self.first.view, self.second.view} - {""}
        return self.first.modality != self.second.modality or len(views) > 1

    @property
    def kind(self) -> str:
        """The name without the band."""
        return str(self.first) if self.first == self.second else f"{self.first}+{self.second}"

    @property
    def name(self) -> str:
        return f"{self.kind}@{self.band}" if self.band else self.kind

    def levels(self) -> tuple[str, ...]:
        """Names of the strata that hold this pair, the finest first. A foreign pair never leans on pairs alike."""
        finest = (self.name, self.kind) if self.band else (self.kind,)
        modalities = (self.first.modality, self.second.modality)
        if self.foreign:
            return finest if modalities[0] == modalities[1] else (*finest, "+".join(modalities))
        return (*finest, modalities[0], OVERALL) if modalities[0] else (*finest, OVERALL)

    def with_quality(self, quality: float) -> Self:
        """The pair in the band of a probe of that ``quality`` in [0, 1]."""
        return replace(self, band=quality_band(quality))


def quality_band(quality: float) -> str:
    return next(name for low, name in QUALITY_BANDS if quality >= low)
