"""The bones of a chest CT from in front, as a workstation shows them: what the ``boneprint`` encoder sees of a volume.

Whatever is as bright as bone and is none is taken out before: the table, lines and leads outside the body, arms beside
the trunk, and vessels, heart and kidneys with contrast, which all lie within the cage and before the spine.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

import numpy as np
import structlog
from numpy.typing import NDArray

from inference.imaging.bone_render import Frame, bone_look, render_by_vtk, render_on_cpu
from inference.imaging.bone_roi import ChestRoi, chest_window, find_chest_roi
from inference.imaging.grid import Grid
from inference.imaging.skin import AIR_HU, COARSE_MM
from inference.imaging.trunk import Mask, Trunk, find_trunk
from inference.types import LoadedSeries

__all__ = ["SIZE", "BoneView", "Renderer", "bone_view"]

Renderer = Literal["auto", "vtk", "cpu"]

SIZE = 256
# Air that closes every surface at the edge of the region, millimetres.
_EDGE_MM = 3.0
# Arms are parts of a slice that do not reach within this many millimetres of the lungs.
_ARM_GAP = 9.0
# The inside of the cage ends so far from the hull of the lungs, for ribs lie outside it; below the lungs it is what
# lies under them, to so far down, further from that hull and before the arches of the spine. Millimetres.
_INSIDE, _INSIDE_BELOW, _DOWN = 6.0, 15.0, 90.0
# The spine from the middle of its arches: half the width of bodies and how far they reach to the front (the aorta lies
# beside and before them); half the width of the arches with their processes and the necks of ribs, which begin so far
# before that middle.
_BODY_HALF, _BODY_FRONT = 22.0, 52.0
_ARCH_HALF, _ARCH_FRONT = 48.0, 14.0
# The sternum: half its width about the midline, and how deep behind the front of the hull it may lie where the chest is
# sunken; thinner than _THICK, which chambers of the heart are not.
_STERNUM_HALF, _STERNUM_DEEP, _THICK = 42.0, 20.0, 15.0


@dataclass(frozen=True, slots=True)
class BoneView:
    """A bone view: ``pixels`` uint8 (size, size, 3) RGB on black, the patient's left on the right; row 0 is at the top
    of T1. ``renderer`` is what made it."""

    pixels: NDArray[np.uint8]
    roi: ChestRoi
    renderer: str


def bone_view(volume: LoadedSeries, size: int = SIZE, renderer: Renderer = "auto") -> BoneView:
    """The bone view of a chest CT from T1 to T12, framed by :func:`~inference.imaging.bone_roi.find_chest_roi`.

    How the patient lay does not matter, nor the kernel, nor contrast. What the field of view leaves out stays black.
    ``auto`` takes VTK where it can render without a screen, and otherwise the CPU with nearly the same result.

    Raises
    ------
    ImagingError
        ``NO_CHEST`` (no CT, no lungs, no spine, no countable ribs), ``CHEST_CUT``, ``NO_SURFACE``; ``NO_GEOMETRY`` for
        what is no volume.
    """
    trunk = find_trunk(volume)
    roi = find_chest_roi(trunk)
    bones = bones_of(trunk, roi)
    (x, z), side = chest_window(roi)
    frame = Frame(float(x), float(z), side, size)
    chosen = _renderer(renderer)
    render = render_by_vtk if chosen == "vtk" else render_on_cpu
    return BoneView(render(bones, frame, bone_look()), roi, chosen)


def bones_of(trunk: Trunk, roi: ChestRoi) -> Grid:
    """The region's box on the fine grid, everything but bone set to air or left as soft as it is."""
    grid = trunk.grid
    wide, high = np.array([roi.right, roi.left]), np.array([roi.bottom, roi.top])
    columns = _within(wide, grid.origin[0], grid.spacing, grid.values.shape[2])
    heights = _within(high, grid.origin[2], grid.spacing, grid.values.shape[0])
    origin = grid.origin + grid.spacing * np.array([columns.start, 0, heights.start])
    box = Grid(grid.values[heights, :, columns], origin, grid.spacing)
    kept = _nearest(trunk.skin.grid, box, _trunk_alone(trunk))
    bright = _nearest(trunk.skin.grid, box, _inside_cage(trunk))
    soft = np.minimum(box.values, np.float32(bone_look().threshold - 30.0))
    values = np.where(kept, np.where(bright, soft, box.values), np.float32(AIR_HU))
    edge = round(_EDGE_MM / grid.spacing)
    padded = np.pad(values, edge, constant_values=AIR_HU)
    return replace(box, values=padded, origin=origin - edge * grid.spacing)


def _trunk_alone(trunk: Trunk) -> Mask:
    """The body on the coarse grid without arms that a gap parts from it, lungs filled in."""
    from scipy.ndimage import binary_dilation, binary_opening, label

    found = np.zeros_like(trunk.skin.mask)
    near = binary_dilation(trunk.lungs.any(axis=0), iterations=round(_ARM_GAP / COARSE_MM))
    for height, (part, lung) in enumerate(zip(trunk.skin.mask, trunk.lungs, strict=True)):
        pieces, count = label(binary_opening(part | lung))
        if count:
            wanted = np.unique(pieces[near & (pieces > 0)])
            # What opening took off the surface belongs to the piece that it was taken from.
            found[height] = binary_dilation(np.isin(pieces, wanted[wanted > 0]), iterations=2) & (part | lung)
    return found


def _inside_cage(trunk: Trunk) -> Mask:
    """Where nothing bright is bone: between the lungs and below them, but for the spine and the sternum."""
    from scipy.ndimage import binary_opening

    grid, spine = trunk.skin.grid, trunk.spine
    x = grid.origin[0] + COARSE_MM * np.arange(trunk.lungs.shape[2])
    y = grid.origin[1] + COARSE_MM * np.arange(trunk.lungs.shape[1])
    hull = _hulls(trunk.lungs)
    above = _anywhere_above(hull)
    across = np.abs(x[None, None, :] - spine[:, None, :1])
    behind = y[None, :, None] - spine[:, None, 1:]
    cage = _shrunk(hull, _INSIDE) | _shrunk(above, _INSIDE_BELOW) & (behind < -_ARCH_FRONT)
    vertebra = (across < _BODY_HALF) & (behind > -_BODY_FRONT) | (across < _ARCH_HALF) & (behind > -_ARCH_FRONT)
    front = np.where(hull.any(axis=1, keepdims=True), hull.argmax(axis=1, keepdims=True), 10**6)
    depth = (np.arange(trunk.lungs.shape[1])[None, :, None] - front) * COARSE_MM
    sternum = (across < _STERNUM_HALF) & (depth < _STERNUM_DEEP)
    bright = (grid.values > bone_look().threshold - 30.0) & cage & ~vertebra
    ball = _ball(_THICK / 2.0 / COARSE_MM)
    thick = binary_opening(bright, ball)
    return np.asarray(cage & ~vertebra & (~sternum | thick))


def _hulls(lungs: Mask) -> Mask:
    """Slice by slice the convex hull of the lungs."""
    from skimage import morphology

    hull: Any = morphology.convex_hull_image  # typed only in part
    return np.stack([hull(part) if part.any() else part for part in lungs])


def _anywhere_above(hull: Mask) -> Mask:
    """Where there is hull in a slice or in one not far above it."""
    found = hull.copy()
    for step in range(1, round(_DOWN / COARSE_MM) + 1):
        found[:-step] |= hull[step:]
    return found


def _shrunk(mask: Mask, millimetres: float) -> Mask:
    """Slice by slice without its rim."""
    from scipy.ndimage import binary_erosion

    return np.stack([binary_erosion(part, iterations=round(millimetres / COARSE_MM)) for part in mask])


def _ball(radius: float) -> Mask:
    reach = int(np.ceil(radius))
    z, y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1, -reach : reach + 1]
    return np.asarray(z**2 + y**2 + x**2 <= radius**2)


def _within(edges: NDArray[np.float64], origin: float, spacing: float, count: int) -> slice:
    """The voxels of one axis between two places in millimetres."""
    first, last = np.rint((edges - origin) / spacing).astype(int)
    return slice(int(np.clip(first, 0, count - 1)), int(np.clip(last + 1, 1, count)))


def _nearest(coarse: Grid, fine: Grid, mask: Mask) -> Mask:
    """A mask on the coarse grid, at the voxels of the fine one; False outside. Both have the same axes."""
    indices = []
    for axis, count in enumerate(fine.values.shape):
        start = (fine.origin - coarse.origin)[2 - axis]
        index = np.rint((start + np.arange(count) * fine.spacing) / coarse.spacing).astype(int) + 1
        indices.append(np.clip(index, 0, mask.shape[axis] + 1))
    return np.asarray(np.pad(mask, 1)[np.ix_(*indices)])


@cache
def _vtk_works() -> bool:
    from inference.imaging.isosurface import EGL_PACKAGES, egl_available

    if egl_available():
        return True
    structlog.get_logger(__name__).info(
        "VTK finds no EGL; bone views come from the CPU", hint=f"apt-get install {EGL_PACKAGES}"
    )
    return False


def _renderer(wanted: Renderer) -> Literal["vtk", "cpu"]:
    if wanted == "auto":
        return "vtk" if _vtk_works() else "cpu"
    return wanted
