"""The trunk in a chest CT: body, lungs and spine, upright along the patient's axes whatever way he lay.

Only the patient coordinate system counts, so prone, feet first and decubitus scans are like any other. What the patient
himself leans or turns in it, by his own spine and by the shape of his trunk, is taken out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.imaging.grid import Grid, Vector, bounds_of, resample
from inference.imaging.rejections import refuse
from inference.imaging.skin import AIR_HU, COARSE_MM, MAX_VOXELS, Skin, find_skin
from inference.types import LoadedSeries

# What ribs are counted and rendered on; the first step makes everything this coarse, so that it stays quick.
FINE_MM = 1.5
# Air in a trunk that is no lung: gas in stomach and bowel, the gap between the arms and the head.
MIN_LUNG_ML, MIN_SHARE = 150.0, 0.15
BONE_HU = 200.0
# How far from the middle of the lungs the spine may be, and the width over which its bone is summed, millimetres.
_SPINE_REACH, _SPINE_WIDTH = 45.0, 40.0
# Lamina and processes lie in the rearmost share of the lungs' depth; aorta and heart, bright with contrast, before it.
_REAR = 0.72
_BEHIND_LUNGS = 36.0
# Leaning less than this is not worth another interpolation; more than _MOST is no patient on a table.
_LEAST_DEGREES, _MOST_DEGREES = 1.0, 35.0
# How the turn of the cage is seen: slices, and how much wider than deep it has to be.
_SLICES, _ELONGATED = 12, 1.15

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Trunk:
    """A trunk on grids of :data:`COARSE_MM` (``skin``, ``lungs``) and of :data:`FINE_MM` (``grid``).

    spine
        (slices, 2) LPS x and y in millimetres of the vertebral arches at each coarse slice.
    """

    skin: Skin
    lungs: Mask
    grid: Grid
    spine: Vector

    def spine_at(self, z: Vector) -> Vector:
        """(..., 2) x and y of the vertebral arches at heights in LPS millimetres; level beyond the lungs."""
        heights = self.skin.grid.origin[2] + np.arange(len(self.spine)) * COARSE_MM
        return np.stack([np.interp(z, heights, self.spine[:, axis]) for axis in (0, 1)], axis=-1)

    def extent(self) -> tuple[Vector, Vector]:
        """Lowest and highest LPS corner of the lungs."""
        index = np.argwhere(self.lungs)
        corners = self.skin.grid.point_of(np.array([index.min(axis=0), index.max(axis=0)]))
        return corners[0], corners[1]


def find_trunk(volume: LoadedSeries) -> Trunk:
    """Finds the trunk of a CT, stands it upright and resamples it.

    Raises
    ------
    ImagingError
        ``NO_GEOMETRY`` for what is no volume, ``NO_SURFACE`` or ``NO_CHEST`` when there is no body with lungs in it.
    """
    if volume.modality != "CT":
        raise refuse("NO_CHEST", "bones can be told from other tissue in CT alone")
    reduced = _reduced(volume)
    skin = find_skin(reduced)
    lungs = find_lungs(skin)
    spine = _spine(skin, lungs)
    turn = _lean(lungs, spine)
    if turn is not None:
        reduced = _turned(reduced, turn)
        skin = find_skin(reduced)
        lungs = find_lungs(skin)
        spine = _spine(skin, lungs)
    low, high = bounds_of(reduced)
    return Trunk(skin, lungs, resample(reduced, FINE_MM, low, high, AIR_HU), spine)


def find_lungs(skin: Skin) -> Mask:
    """Air inside the body, slice by slice, in pieces of the size of lungs; bool, on the grid of ``skin``."""
    from scipy.ndimage import binary_fill_holes, binary_opening, label

    filled = np.stack([binary_fill_holes(part) for part in skin.mask])
    pieces, count = label(binary_opening(filled & ~skin.mask))
    sizes = np.bincount(pieces.ravel(), minlength=count + 1) * COARSE_MM**3 / 1000.0
    sizes[0] = 0.0
    chosen = np.flatnonzero((sizes > MIN_LUNG_ML) & (sizes > MIN_SHARE * sizes.max()))
    if not len(chosen):
        raise refuse("NO_CHEST", f"no air of more than {MIN_LUNG_ML:.0f} ml inside the body: no lungs in view")
    return np.asarray(np.isin(pieces, chosen))


def _reduced(volume: LoadedSeries) -> LoadedSeries:
    """The volume on :data:`FINE_MM`, along the patient's axes."""
    low, high = bounds_of(volume)
    if float(np.prod((high - low) / COARSE_MM)) > MAX_VOXELS:
        raise refuse("NO_CHEST", "the field of view is larger than any patient")
    grid = resample(volume, FINE_MM, low, high, AIR_HU)
    affine = np.eye(4)
    affine[:3, :3] = np.fliplr(np.eye(3)) * FINE_MM
    affine[:3, 3] = grid.origin
    return replace(volume, pixels=grid.values, spacing=(FINE_MM,) * 3, affine=affine)


def _turned(volume: LoadedSeries, turn: NDArray[np.float64]) -> LoadedSeries:
    """The patient turned about the middle of the volume: only where the voxels lie changes."""
    assert volume.affine is not None
    middle = np.mean(bounds_of(volume), axis=0)
    affine = volume.affine.copy()
    affine[:3, :3] = turn @ affine[:3, :3]
    affine[:3, 3] = turn @ (affine[:3, 3] - middle) + middle
    return replace(volume, affine=affine)


def _spine(skin: Skin, lungs: Mask) -> Vector:
    """(slices, 2) LPS x and y of the arches, a smooth curve through what is found beside the lungs."""
    from scipy.ndimage import median_filter, uniform_filter1d

    bone = np.clip(skin.grid.values - BONE_HU, 0.0, 600.0)
    # Slices with little of the lungs, at their ends, say little of where the middle is.
    areas = lungs.sum(axis=(1, 2))
    heights = np.flatnonzero(areas > 0.15 * areas.max())
    across = np.flatnonzero(lungs[heights].any(axis=(0, 1)))
    middle, reach = (across[0] + across[-1]) / 2.0, _SPINE_REACH / COARSE_MM
    first, last = max(round(middle - reach), 0), round(middle + reach) + 1
    half = round(_SPINE_WIDTH / COARSE_MM / 2)
    found = []
    for height in heights:
        depths = np.flatnonzero(lungs[height].any(axis=1))
        rear = round(depths[0] + _REAR * (depths[-1] - depths[0]))
        part = bone[height, rear : depths[-1] + round(_BEHIND_LUNGS / COARSE_MM)]
        column = first + int(uniform_filter1d(part.sum(axis=0), 2 * half + 1)[first:last].argmax())
        near = part[:, max(column - half, 0) : column + half + 1]
        weight = float(near.sum())
        if weight > 0:
            x = max(column - half, 0) + float(near.sum(axis=0) @ np.arange(near.shape[1])) / weight
            y = rear + float(near.sum(axis=1) @ np.arange(near.shape[0])) / weight
            found.append((height, x, y))
    if len(found) < 0.5 * len(heights) or len(found) < 20:
        raise refuse("NO_CHEST", "no spine behind the lungs")
    z, x, y = np.array(found).T
    slices = np.arange(len(lungs))
    clipped = np.clip(slices, z[0], z[-1])
    curves = [np.polyval(np.polyfit(z, median_filter(values, 9), 2), clipped) for values in (x, y)]
    return np.stack([skin.grid.origin[axis] + COARSE_MM * curves[axis] for axis in (0, 1)], axis=1)


def _lean(lungs: Mask, spine: Vector) -> NDArray[np.float64] | None:
    """The rotation that takes out how the patient leans to a side and turns about his length; None for next to none."""
    from scipy.spatial.transform import Rotation

    heights = np.flatnonzero(lungs.any(axis=(1, 2)))
    side = float(np.degrees(np.arctan(np.polyfit(heights * COARSE_MM, spine[heights, 0], 1)[0])))
    turn = _turn(lungs, heights)
    if max(abs(side), abs(turn)) > _MOST_DEGREES:
        raise refuse("NO_CHEST", f"the spine leans by {side:.0f} degrees and the trunk is turned by {turn:.0f}")
    if max(abs(side), abs(turn)) < _LEAST_DEGREES:
        return None
    return np.asarray(Rotation.from_euler("yz", [-side, -turn], degrees=True).as_matrix())


def _turn(lungs: Mask, heights: NDArray[np.intp]) -> float:
    """Degrees of the cage's long axis to the patient's left-right axis, seen along his length.

    The cage is the convex hull of both lungs: the heart does not dent it, arms and breasts are outside. One that is
    nearly as deep as wide has no long axis, and counts as straight.
    """
    from skimage import morphology

    hull: Any = morphology.convex_hull_image  # typed only in part
    middle = heights[round(0.25 * len(heights)) : round(0.75 * len(heights))]
    sums = np.zeros((2, 2))
    for height in middle[:: max(1, len(middle) // _SLICES)]:
        y, x = np.nonzero(hull(lungs[height]))
        sums += np.cov(x, y)
    wide, deep = np.sqrt(np.linalg.eigvalsh(sums)[::-1])
    if wide < _ELONGATED * deep:
        return 0.0
    return float(np.degrees(0.5 * np.arctan2(2.0 * sums[0, 1], sums[0, 0] - sums[1, 1])))
