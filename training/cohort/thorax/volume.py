"""A chest sampled on a grid: Hounsfield units before the scanner adds its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from training.cohort.implicit import Field, inside
from training.cohort.projection import Splats, gather
from training.cohort.sampling import Grid, Slab
from training.cohort.thorax.bone import Bone, Tissue
from training.cohort.thorax.frame import Chest
from training.cohort.thorax.stamp import Stamp
from training.cohort.thorax.tissue import AIR, SoftParts
from training.cohort.thorax.tree import bronchi, vessels

Surroundings = Callable[[Slab, Field], None]

_SLAB = 8
# Vessels and airways give way to all that is not lung.
_LUNG_BELOW, _LUNG_WIDTH = -250.0, 300.0


def soft_units(grid: Grid, parts: SoftParts, around: Surroundings | None = None) -> Field:
    """float32 HU of ``grid.shape`` without bones and lung vessels.

    ``around`` paints what lies outside the patient into each slab first.
    """
    volume = np.empty(grid.shape, dtype=np.float32)
    for part, slab in grid.slabs(_SLAB):
        image = slab.full(AIR)
        if around is not None:
            around(slab, image)
        parts.lay(slab, image)
        volume[part] = image
    return volume


def lay_vessels(volume: Field, grid: Grid, chest: Chest, blood: float, edge: float) -> None:
    """The trees of the lungs, and the airways beside their larger branches, into ``volume`` in place."""
    stamp, flat = Stamp(grid), volume.reshape(-1)
    beads, ways = vessels(chest)
    pipes = bronchi(beads, ways)
    for splats, value in ((beads, blood), (pipes.scaled(1.3, 1.0), -200.0), (pipes, -960.0)):
        index, distance = stamp.distances(splats, 0.5 * edge)
        share = inside(distance, edge)
        if value > _LUNG_BELOW:
            share *= np.clip((np.float32(_LUNG_BELOW) - flat[index]) * np.float32(1 / _LUNG_WIDTH), 0, 1)
        else:
            share *= flat[index] < 0
        flat[index] += share * (np.float32(value) - flat[index])


def lay_bones(volume: Field, grid: Grid, bones: Sequence[Bone], edge: float) -> None:
    """Bones into ``volume``, in place: compact outside, spongy within."""
    stamp, flat = Stamp(grid), volume.reshape(-1)
    for bone in _by_tissue(bones):
        tissue = bone.tissue
        index, distance = stamp.distances(bone.splats, 0.5 * edge)
        deep = np.clip((-distance - np.float32(tissue.cortex)) * np.float32(1 / max(0.7, 0.5 * edge)), 0, 1)
        units = np.float32(tissue.compact) + np.float32(tissue.spongy - tissue.compact) * deep
        share = inside(distance, edge)
        flat[index] += share * (units - flat[index])


def _by_tissue(bones: Sequence[Bone]) -> list[Bone]:
    """Bones of one tissue together, in the order in which tissues first come."""
    grouped: dict[Tissue, list[Splats]] = {}
    for bone in bones:
        grouped.setdefault(bone.tissue, []).append(bone.splats)
    return [Bone(tissue, gather(splats)) for tissue, splats in grouped.items()]
