"""What every encoder offers. Callers never assume which encoder is in use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from inference.types import Encoding, LoadedSeries, SeriesHeader


@runtime_checkable
class Encoder(Protocol):
    """Turns images into embeddings; batch in, batch out."""

    name: str
    version: str
    dimension: int

    def accepts(self, series: SeriesHeader) -> bool:
        """Whether the series can be meant for this encoder, judged by its headers alone."""
        ...

    def encode(self, images: Sequence[LoadedSeries]) -> Sequence[Encoding | None]:
        """One entry per image, in order: an :class:`Encoding`, or None where the image holds nothing to encode.

        Raises
        ------
        ImagingError
            when an image is of a kind that this encoder cannot take at all; ``reason`` names why.
        """
        ...
