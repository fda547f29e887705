"""A head sampled on a grid: Hounsfield units before the scanner adds its own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from training.cohort.head import bones, inside
from training.cohort.head.frame import Head
from training.cohort.head.skin import skin
from training.cohort.implicit import Field, cut, lay
from training.cohort.sampling import Grid, Slab

Surroundings = Callable[[Slab, Field], None]

_SLAB = 8


def head_units(grid: Grid, head: Head, edge: float, around: Surroundings | None = None) -> Field:
    """float32 HU of ``grid.shape``; ``edge`` is the width in mm over which tissues pass into each other.

    ``around`` paints what lies outside the head into each slab first.
    """
    volume = np.empty(grid.shape, dtype=np.float32)
    for part, slab in grid.slabs(_SLAB, head.shape.warp):
        volume[part] = _slab_units(slab, head, edge, around)
    return volume


def _slab_units(slab: Slab, head: Head, edge: float, around: Surroundings | None) -> Field:
    image = slab.full(inside.AIR)
    if around is not None:
        around(slab, image)
    scene = image.copy()
    outside = bones.vault(slab, head)
    surface = skin(slab, head, outside)
    inside.lay_soft_tissue(slab, head, image, surface, edge)
    solid, cavity = bones.braincase(slab, head, outside)
    bones.add_skull_base(slab, head, solid)
    bones.add_face(slab, head, solid)
    bone = cut(solid, cavity, 1.5)
    bones.add_jaw(slab, head, bone)
    bones.add_neck(slab, head, bone)
    lay(image, bone, _bone_units(bone), edge)
    inside.lay_brain(slab, head, image, cavity, edge)
    inside.lay_orbits(slab, head, image, edge)
    inside.lay_mastoid_cells(slab, head, image, edge)
    inside.lay_airways(slab, head, image, edge)
    inside.lay_teeth(slab, head, image, edge)
    # Air that any shape pushed through the surface ends there.
    lay(image, -surface - np.float32(0.5), scene, edge)
    return image


def _bone_units(bone: Field) -> Field:
    """Compact outside, spongy within."""
    spongy = (-bone - np.float32(1.0)) * np.float32(1 / 1.6)
    np.clip(spongy, 0, 1, out=spongy)
    result: Field = np.float32(1350.0) - np.float32(800.0) * spongy
    return result
