"""Which slices of a CT show the head and which the chest: one series of both is two images.

The chest is where the lungs are; the head is what lies far enough above their apex. Both overlap at the neck, because
what looks at either wants to see where it ends.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from config.errors import ImagingError
from inference.imaging.grid import FieldOfView
from inference.imaging.skin import COARSE_MM, find_skin
from inference.imaging.trunk import find_lungs
from inference.types import LoadedSeries

__all__ = ["Region", "Regions", "find_regions", "part_of"]

Region = Literal["head", "chest"]

# Above the apex of the lungs in millimetres: where the head's part begins (below any chin), and how much has to be
# there for a head; where the chest's part ends. Below the lungs: what of the belly belongs to the chest.
HEAD_FROM, HEAD_NEEDS, CHEST_ABOVE, CHEST_BELOW = 20.0, 150.0, 90.0, 130.0
# Slices turned further out of the axial plane than this cosine are not cut: a region is not some of them.
_AXIAL = 0.9


@dataclass(frozen=True, slots=True)
class Regions:
    """(lowest, highest) LPS z in millimetres of each region in the field of view; None where it is not in it."""

    head: tuple[float, float] | None
    chest: tuple[float, float] | None


def find_regions(volume: LoadedSeries) -> Regions:
    """The head and the chest in a CT.

    Without lungs nothing is known to be a chest, and all there is may be a head. Raises ``NO_SURFACE`` when there is
    no body, ``NO_GEOMETRY`` for what is no volume.
    """
    skin = find_skin(volume)
    heights = skin.grid.origin[2] + COARSE_MM * np.arange(len(skin.mask))
    body = heights[skin.mask.any(axis=(1, 2))]
    low, high = float(body[0]), float(body[-1])
    try:
        lungs = find_lungs(skin).sum(axis=(1, 2))
    except ImagingError:
        return Regions((low, high), None)
    # The trachea goes on above the lungs; it is narrow.
    seen = heights[lungs > 0.05 * lungs.max()]
    apex, base = float(seen[-1]), float(seen[0])
    head = (apex + HEAD_FROM, high) if high - apex >= HEAD_NEEDS else None
    return Regions(head, (max(low, base - CHEST_BELOW), min(high, apex + CHEST_ABOVE)))


def part_of(volume: LoadedSeries, region: Region) -> LoadedSeries:
    """The slices of a CT that show a region, where it shows the other one too; else the volume as it is.

    A volume that shows one region alone is never cut: whoever looks at it sees all that there is. Nor is one that is
    not axial. Raises what :func:`find_regions` does.
    """
    if volume.modality != "CT" or volume.affine is None or volume.kind != "volume":
        return volume
    step = volume.affine[2, 0]
    extent = FieldOfView.of(volume).shape[0] * abs(step)
    if abs(step) < _AXIAL * np.linalg.norm(volume.affine[:3, 0]) or extent < HEAD_NEEDS + CHEST_ABOVE:
        return volume
    found = find_regions(volume)
    wanted = found.head if region == "head" else found.chest
    if wanted is None or found.head is None or found.chest is None:
        return volume
    first, last = sorted((np.array(wanted) - volume.affine[2, 3]) / step)
    start, stop = max(int(np.floor(first)), 0), min(int(np.ceil(last)) + 1, len(volume.pixels))
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, 0] * start
    uids = volume.sop_instance_uids
    kept = uids[start:stop] if len(uids) == len(volume.pixels) else uids
    return replace(volume, pixels=volume.pixels[start:stop], affine=affine, sop_instance_uids=kept)
