"""Where the chest begins and ends: from the top of the first thoracic vertebra to the bottom of the twelfth, and
between the outermost points of the ribs.

In a CT the ribs are counted where they leave the spine: there every one crosses a narrow strip on either side of it,
and a comb of twelve teeth, wider apart from tooth to tooth as vertebrae grow downwards, is laid over the profile of
bone along that strip. The apex of the lungs, which lies at the first rib, says where to begin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.imaging.grid import Vector
from inference.imaging.rejections import refuse
from inference.imaging.skin import COARSE_MM
from inference.imaging.trunk import BONE_HU, FINE_MM, Trunk

VERTEBRAE = 12
# How many of the twelve have to be in the field of view.
NEED = 9
# The strip beside the spine, lateral of transverse processes and medial of shoulder blades; before and behind the arch.
_STRIP = (38.0, 52.0)
_BEFORE, _BEHIND = 36.0, 30.0
# Bone in a strip counts from _FROM HU and in full at _FULL more.
_FROM, _FULL = 120.0, 500.0
# The comb: millimetres between its fifth and sixth tooth, how much each gap grows on the one above, and by how much
# less each of the first gaps is, where the uppermost ribs leave the spine close together.
_PITCHES = np.arange(13.0, 32.1, 0.5)
_GROWTHS = np.arange(0.0, 1.01, 0.2)
_SQUEEZES, _SQUEEZED = np.arange(0.0, 3.8, 0.75), 4
# No gap is smaller than this share of the usual one.
_LEAST_GAP = 0.42
# Where the first tooth is against the apex of the lungs in millimetres: middle, deviation, least and most; the same
# where the apex is out of view and only the top of what is seen of the lungs is known.
_AT_APEX, _ABOVE_CUT = (2.0, 8.0, -14.0, 18.0), (14.0, 14.0, -2.0, 42.0)
# What a deviation of the first tooth costs, and what a last rib without another one below it is worth.
_COST, _LAST = 0.25, 0.3
# What the profile is compared with: its own surroundings of this many millimetres, clipped at so many deviations.
_AROUND, _CLIP = 60.0, 1.6
# A comb that fits no better is no chest's.
MIN_FIT = 0.35
# Lung beside the trachea, square millimetres, that is the apex; an area that large at the edge of the scan is a cut.
_APEX_AREA, _MEDIASTINUM = 150.0, 22.0
# Ribs lie at most this far outside the lungs; between lungs and skin where none was found, so much.
_RIB_REACH, _CHEST_WALL = 24.0, 12.0
# Below this share of the lungs' height shoulder blades and arms are not beside the ribs.
_FREE = 0.62


@dataclass(frozen=True, slots=True)
class ChestRoi:
    """Edges in LPS millimetres of an upright patient: ``right`` (least x), ``left``, ``bottom`` (least z) and ``top``.

    vertebrae
        (12,) heights of the middles of the thoracic vertebrae, the first one first; also of those out of view.
    fit
        how well the comb fitted, about 1 for a clear count.
    """

    right: float
    left: float
    bottom: float
    top: float
    vertebrae: Vector
    fit: float

    @property
    def side(self) -> float:
        """Edge of the square that holds it, millimetres."""
        return max(self.left - self.right, self.top - self.bottom)


def find_chest_roi(trunk: Trunk) -> ChestRoi:
    """The region between T1 and T12 and between the ribs.

    Raises
    ------
    ImagingError
        ``NO_CHEST`` when ribs cannot be counted; ``CHEST_CUT`` when fewer than nine of the twelve vertebrae are in
        the field of view.
    """
    vertebrae, fit = count_ribs(trunk)
    low, high = trunk.grid.origin[2], trunk.grid.origin[2] + FINE_MM * (len(trunk.grid.values) - 1)
    seen = int(((vertebrae > low) & (vertebrae < high)).sum())
    if seen < NEED:
        raise refuse("CHEST_CUT", f"{seen} of 12 thoracic vertebrae are in the field of view, {NEED} are needed")
    right, left = _lateral_limits(trunk)
    gaps = -np.diff(vertebrae)
    return ChestRoi(
        right=right,
        left=left,
        bottom=float(vertebrae[-1] - gaps[-1] / 2.0),
        top=float(vertebrae[0] + gaps[0] / 2.0),
        vertebrae=vertebrae,
        fit=fit,
    )


def count_ribs(trunk: Trunk) -> tuple[Vector, float]:
    """(12,) LPS heights of the vertebrae and how well they fit. Raises ``NO_CHEST`` or ``CHEST_CUT``."""
    profile = rib_profile(trunk)
    apex, sure = _apex(trunk)
    middle, deviation, least, most = _AT_APEX if sure else _ABOVE_CUT
    offsets = np.arange(least, most + 0.1)
    heights = _combs(apex + offsets)
    index = (heights - trunk.grid.origin[2]) / FINE_MM
    fit, inside = _agreement(_contrasted(profile), index[..., :VERTEBRAE])
    usual = float(np.median(profile[profile > np.median(profile)]))
    ribs = np.nan_to_num(np.clip(_at(profile, index[..., VERTEBRAE - 1 :]) / usual, 0.0, 1.0))
    prior = _COST * ((offsets - middle) / deviation) ** 2
    score = fit + _LAST * (ribs[..., 0] - ribs[..., 1]) - prior[:, None]
    score = np.where(inside >= NEED - 1, score, -np.inf)
    best = np.unravel_index(int(score.argmax()), score.shape)
    if not np.isfinite(score[best]):
        raise refuse("CHEST_CUT", "fewer than eight pairs of ribs are in the field of view")
    if float(fit[best]) < MIN_FIT:
        raise refuse("NO_CHEST", f"twelve pairs of ribs do not fit what is beside the spine ({float(fit[best]):.2f})")
    return np.asarray(heights[best][:VERTEBRAE], dtype=np.float64), float(fit[best])


def rib_profile(trunk: Trunk) -> Vector:
    """(slices,) of the fine grid: how much bone there is in the strips on both sides of the spine, square mm.

    The geometric mean of the two: what is on one side alone is no pair of ribs.
    """
    grid = trunk.grid
    place = trunk.spine_at(grid.origin[2] + FINE_MM * np.arange(len(grid.values)))
    columns = (place[:, 0] - grid.origin[0]) / FINE_MM
    rows = (place[:, 1] - grid.origin[1]) / FINE_MM
    found = np.zeros((len(grid.values), 2))
    for height, (column, row) in enumerate(zip(columns, rows, strict=True)):
        depth = slice(max(round(row - _BEFORE / FINE_MM), 0), max(round(row + _BEHIND / FINE_MM), 0))
        for number, side in enumerate((1, -1)):
            first, last = sorted(round(column + side * edge / FINE_MM) for edge in _STRIP)
            strip = grid.values[height, depth, max(first, 0) : max(last, 0)]
            found[height, number] = float(np.clip((strip - _FROM) / _FULL, 0.0, 1.0).sum())
    return np.asarray(np.sqrt(found.prod(axis=1)) * FINE_MM**2)


def _contrasted(profile: Vector) -> Vector:
    """The profile against its surroundings, in deviations: what rises is a rib, whatever lies behind it."""
    from scipy.ndimage import gaussian_filter1d, uniform_filter1d

    smooth = gaussian_filter1d(profile, 2.0)
    width = round(_AROUND / FINE_MM)
    centred = smooth - uniform_filter1d(smooth, width)
    # A running sum of squares ends a little below nothing where there is nothing.
    spread = np.sqrt(np.maximum(uniform_filter1d(centred**2, width), 0.0)) + 1e-3
    return np.asarray(np.clip(centred / spread, -_CLIP, _CLIP))


def _combs(first: Vector) -> Vector:
    """(offsets, combs, 13) heights of every comb that begins at one of ``first``; the last is the
    place of a thirteenth rib."""
    gaps = np.arange(VERTEBRAE, dtype=np.float64)
    grids = np.meshgrid(_PITCHES, _GROWTHS, _SQUEEZES, indexing="ij")
    pitch, growth, squeeze = (one.ravel() for one in grids)
    early = np.maximum(_SQUEEZED - gaps, 0.0)
    steps = pitch[..., None] + growth[..., None] * (gaps - _SQUEEZED) - squeeze[..., None] * early
    steps = steps[steps.min(axis=-1) >= _LEAST_GAP * pitch]
    below = np.concatenate([np.zeros((len(steps), 1)), np.cumsum(steps, axis=-1)], axis=-1)
    return np.asarray(first[:, None, None] - below)


def _at(profile: Vector, index: Vector) -> Vector:
    """The profile at fractional indices; NaN beyond its ends."""
    found = np.interp(index, np.arange(len(profile)), profile)
    return np.where((index >= 0) & (index <= len(profile) - 1), found, np.nan)


def _agreement(contrast: Vector, index: Vector) -> tuple[Vector, NDArray[np.intp]]:
    """How well each comb's teeth are crests and the middles between them troughs, and how many teeth are in view.

    A wave runs with every comb from tooth to tooth; its mean product with the profile is about 1 for one like it, and
    less for a comb that leaves a crest out.
    """
    shares = np.arange(0.0, 1.0, 0.125)
    points = index[..., :-1, None] + shares * (index[..., 1:, None] - index[..., :-1, None])
    found = _at(contrast, points) * (np.sqrt(2.0) * np.cos(2.0 * np.pi * shares))
    known = np.isfinite(found)
    mean = np.where(known, found, 0.0).sum(axis=(-2, -1)) / np.maximum(known.sum(axis=(-2, -1)), 1)
    return np.asarray(mean), ((index >= 0) & (index <= len(contrast) - 1)).sum(axis=-1)


def _apex(trunk: Trunk) -> tuple[float, bool]:
    """Height of the apex of the lungs, the trachea left out, and whether it is in view."""
    grid = trunk.skin.grid
    x = grid.origin[0] + COARSE_MM * np.arange(trunk.lungs.shape[2])
    beside = np.abs(x[None, :] - trunk.spine[:, :1]) > _MEDIASTINUM
    areas = (trunk.lungs & beside[:, None, :]).sum(axis=(1, 2)) * COARSE_MM**2
    there = np.flatnonzero(areas > _APEX_AREA)
    if not len(there):
        raise refuse("NO_CHEST", "no lungs on either side of the spine")
    top = int(there[-1])
    # find_skin puts two slices of air around the field of view.
    cut = top >= len(areas) - 5 and areas[top] > 8 * _APEX_AREA
    return float(grid.origin[2] + COARSE_MM * top), not cut


def _lateral_limits(trunk: Trunk) -> tuple[float, float]:
    """Least and greatest x of the ribs, where nothing but the skin lies outside them."""
    grid = trunk.skin.grid
    heights = np.flatnonzero(trunk.lungs.any(axis=(1, 2)))
    free = heights[: max(1, round(_FREE * len(heights)))]
    bone = grid.values > BONE_HU
    sides: dict[int, list[float]] = {-1: [], 1: []}
    for height in free:
        across = np.flatnonzero(trunk.lungs[height].any(axis=0))
        bones = np.flatnonzero(bone[height].any(axis=0))
        if not len(across):
            continue
        for side, edge in ((-1, across[0]), (1, across[-1])):
            outside = side * (bones - edge) * COARSE_MM
            near = bones[(outside >= 0) & (outside <= _RIB_REACH)]
            limit = (near.min() if side < 0 else near.max()) if len(near) else edge + side * _CHEST_WALL / COARSE_MM
            sides[side].append(float(grid.origin[0] + COARSE_MM * limit))
    right, left = min(sides[-1]), max(sides[1])
    return _mirrored(right, left, float(np.median(trunk.spine[heights, 0])))


def _mirrored(right: float, left: float, middle: float) -> tuple[float, float]:
    """Where one lung is missing or drowned, its side reaches as far as the other."""
    wide = max(middle - right, left - middle)
    if middle - right < 0.6 * wide:
        right = middle - wide
    if left - middle < 0.6 * wide:
        left = middle + wide
    return right, left


def chest_window(roi: ChestRoi) -> tuple[NDArray[np.float64], float]:
    """Centre (x, z) in LPS millimetres and edge of the square picture of a region: it hangs from the top of T1."""
    centre = np.array([(roi.left + roi.right) / 2.0, roi.top - roi.side / 2.0])
    return centre, roi.side
