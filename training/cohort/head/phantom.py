"""A head sampled on a grid: the values of its tissues before the scanner adds its own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from training.cohort.head import airways, bones, inside, soft
from training.cohort.head.bleed import lay_bleed
from training.cohort.head.brain import lay_brain
from training.cohort.head.frame import Head
from training.cohort.head.skin import skin
from training.cohort.head.tissue import CT, Tissues
from training.cohort.implicit import Field, cut, lay
from training.cohort.sampling import Grid, Slab

Surroundings = Callable[[Slab, Field], None]

_SLAB = 24


def head_image(
    grid: Grid,
    head: Head,
    edge: float,
    tissue: Tissues = CT,
    around: Surroundings | None = None,
    within: Surroundings | None = None,
) -> Field:
    """float32 of ``grid.shape``, in the units of ``tissue``: Hounsfield units by default.

    ``edge`` is the width in mm over which tissues pass into each other; ``around`` paints what lies outside the head
    into each slab first, ``within`` what was put into it last.
    """
    volume = np.empty(grid.shape, dtype=np.float32)
    for part, slab in grid.slabs(_SLAB, head.shape.warp):
        volume[part] = _slab_image(slab, head, edge, tissue, around, within)
    return volume


def _slab_image(
    slab: Slab,
    head: Head,
    edge: float,
    tissue: Tissues,
    around: Surroundings | None,
    within: Surroundings | None,
) -> Field:
    image = slab.full(tissue.air)
    if around is not None:
        around(slab, image)
    scene = image.copy()
    outside = bones.vault(slab, head)
    surface = skin(slab, head, outside)
    soft.lay_soft_tissue(slab, head, image, surface, edge, tissue)
    soft.lay_vessels(slab, head, image, edge, tissue)
    solid, cavity = bones.braincase(slab, head, outside)
    bones.add_skull_base(slab, head, solid)
    bones.add_face(slab, head, solid)
    bone = cut(solid, cavity, 1.5)
    bones.add_jaw(slab, head, bone)
    bones.add_neck(slab, head, bone)
    lay(image, bone, _bone(bone, tissue), edge)
    lay_brain(slab, head, image, cavity, edge, tissue)
    lay_bleed(slab, head, image, outside, cavity, edge, tissue)
    soft.lay_canal(slab, head, image, edge, tissue)
    inside.lay_orbits(slab, head, image, edge, tissue)
    airways.lay_mastoid_cells(slab, head, image, edge, tissue)
    airways.lay_airways(slab, head, image, edge, tissue)
    inside.lay_teeth(slab, head, image, edge, tissue)
    # Air that any shape pushed through the surface ends there.
    lay(image, -surface - np.float32(0.5), scene, edge)
    if within is not None:
        within(slab, image)
    return image


def _bone(bone: Field, tissue: Tissues) -> Field:
    """Compact outside, spongy within."""
    spongy = (-bone - np.float32(1.0)) * np.float32(1 / 1.6)
    np.clip(spongy, 0, 1, out=spongy)
    result: Field = np.float32(tissue.compact) - np.float32(tissue.compact - tissue.spongy) * spongy
    return result
