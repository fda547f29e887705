"""The trunk in a chest CT: body, lungs and spine, upright along the patient's axes whatever way he lay.

Only the patient coordinate system counts, so prone, feet first and decubitus scans are like any other. How far the
patient himself leans to a side in it, by his own spine, is taken out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from inference.imaging.grid import Grid, Vector, bounds_of, resample
from inference.imaging.rejections import refuse
from inference.imaging.skin import AIR_HU, COARSE_MM, MAX_VOXELS, Skin, find_skin
from inference.types import FloatArray, LoadedSeries

# What ribs are counted and rendered on; the first step makes everything this coarse, so that it stays quick.
FINE_MM = 1.5
# Air in a trunk that is no lung: gas in stomach and bowel, the gap between the arms and the head.
MIN_LUNG_ML, MIN_SHARE = 150.0, 0.15
BONE_HU = 200.0
# How far the spine may be from the middle of the lungs, and how far in one slice from where it is in all of them; the
# width over which its bone is summed. Millimetres.
_FAR, _NEAR, _SPINE_WIDTH = 70.0, 27.0, 40.0
# Lamina and processes lie in the rearmost share of the lungs' depth; aorta and heart, bright with contrast, before it.
_REAR = 0.72
_BEHIND_LUNGS = 36.0
# Leaning less than this is not worth another interpolation; more than _MOST is no patient on a table.
_LEAST_DEGREES, _MOST_DEGREES = 1.0, 35.0

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
    areas = lungs.sum(axis=(1, 2))
    # Slices with little of the lungs, at their ends, say little of where the spine is.
    heights = np.flatnonzero(areas > 0.3 * areas.max())
    rears = [_rear(skin, lungs, height) for height in heights.tolist()]
    across = np.asarray(lungs.any(axis=(0, 1)))
    middle = _strongest(np.sum([part.sum(axis=0) for _, part in rears], axis=0), across, _FAR)
    half, found = round(_SPINE_WIDTH / COARSE_MM / 2), []
    near = np.zeros(lungs.shape[2], dtype=bool)
    near[max(round(middle - _NEAR / COARSE_MM), 0) : round(middle + _NEAR / COARSE_MM) + 1] = True
    for height, (rear, part) in zip(heights, rears, strict=True):
        column = _strongest(part.sum(axis=0), near, _NEAR)
        around = part[:, max(column - half, 0) : column + half + 1]
        weight = float(around.sum())
        if weight > 0:
            x = max(column - half, 0) + float(around.sum(axis=0) @ np.arange(around.shape[1])) / weight
            y = rear + float(around.sum(axis=1) @ np.arange(around.shape[0])) / weight
            found.append((height, x, y))
    if len(found) < 0.5 * len(heights) or len(found) < 20:
        raise refuse("NO_CHEST", "no spine behind the lungs")
    places = np.array(found)
    curves = [_curve(places[:, 0], places[:, 1 + axis], len(lungs)) for axis in (0, 1)]
    return np.stack([skin.grid.origin[axis] + COARSE_MM * curves[axis] for axis in (0, 1)], axis=1)


def _rear(skin: Skin, lungs: Mask, height: int) -> tuple[int, FloatArray]:
    """The first row behind most of the lungs of a slice, and the bone from there to the back."""
    depths = np.flatnonzero(lungs[height].any(axis=1))
    first = round(depths[0] + _REAR * (depths[-1] - depths[0]))
    part = skin.grid.values[height, first : depths[-1] + round(_BEHIND_LUNGS / COARSE_MM)]
    return first, np.clip(part - np.float32(BONE_HU), 0.0, 600.0)


def _strongest(profile: FloatArray, wanted: Mask, reach: float) -> int:
    """The column about which most bone is, at most ``reach`` millimetres from the middle of the wanted ones."""
    from scipy.ndimage import uniform_filter1d

    columns = np.flatnonzero(wanted)
    middle = (columns[0] + columns[-1]) / 2.0
    first = max(round(middle - reach / COARSE_MM), 0)
    smooth = uniform_filter1d(profile, 2 * round(_SPINE_WIDTH / COARSE_MM / 2) + 1)
    return int(first + smooth[first : round(middle + reach / COARSE_MM) + 1].argmax())


def _curve(z: Vector, values: Vector, count: int) -> Vector:
    """A parabola through the values without those far from it, at ``count`` slices; level beyond the ends."""
    kept = np.ones(len(z), dtype=bool)
    for _ in range(3):
        fit = np.polyfit(z[kept], values[kept], 2)
        apart = np.abs(values - np.polyval(fit, z))
        kept = apart <= max(2.0, 2.5 * float(np.median(apart)))
    return np.asarray(np.polyval(fit, np.clip(np.arange(count), z[0], z[-1])))


def _lean(lungs: Mask, spine: Vector) -> NDArray[np.float64] | None:
    """The rotation that takes out how the patient leans to a side; None for next to nothing.

    A turn about his length stays: no landmark shows it as surely as the spine shows a lean.
    """
    from scipy.spatial.transform import Rotation

    heights = np.flatnonzero(lungs.any(axis=(1, 2)))
    degrees = float(np.degrees(np.arctan(np.polyfit(heights * COARSE_MM, spine[heights, 0], 1)[0])))
    if abs(degrees) > _MOST_DEGREES:
        raise refuse("NO_CHEST", f"what is behind the lungs leans by {degrees:.0f} degrees: no spine")
    if abs(degrees) < _LEAST_DEGREES:
        return None
    return np.asarray(Rotation.from_euler("y", -degrees, degrees=True).as_matrix())
