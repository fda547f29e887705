"""Where the body ends and where its nose is, on a coarse grid of the whole field of view."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.imaging.grid import Grid, Vector, bounds_of, contains, resample
from inference.imaging.rejections import refuse
from inference.types import FloatArray, LoadedSeries

SKIN_HU = -350.0
AIR_HU = -1024.0
COARSE_MM = 3.0
# A body has at least this volume, in millilitres: a small child's face and little more.
MIN_BODY_ML = 150.0

# The nose in millimetres, and how far it stands out at least: against both cheeks beside it, against the root of the
# nose above and the mouth below it. From adults and children; a forehead, a chin or a breast reaches none of the first.
NOSE_HALF_WIDTH, NOSE_HALF_HEIGHT = 18.0, 33.0
MIN_SIDE, MIN_SIDES_MEAN, MIN_VERTICAL = 5.0, 9.0, 4.0
# Skin that is this much deeper than its neighbour is another part of the body, or none.
MAX_SIDE = 70.0
# What has to be in the field of view above and below the tip of the nose.
NEED_ABOVE, NEED_BELOW = 50.0, 25.0


@dataclass(frozen=True, slots=True)
class Skin:
    """A coarse body: ``grid`` with everything but the body set to air, its ``mask``, and the threshold used."""

    grid: Grid
    mask: NDArray[np.bool_]
    threshold: float


def threshold_of(volume: LoadedSeries) -> float:
    """Value between air and skin: a fixed one for CT, for MR what Otsu's method finds in the logarithm.

    The logarithm, because in MR skin is far darker than fat and brain, which would draw the threshold up.
    """
    if volume.modality == "CT":
        return SKIN_HU
    from skimage.filters import threshold_otsu

    sample = np.asarray(volume.pixels[::2, ::2, ::2], dtype=np.float64)
    floor = float(np.percentile(sample, 1))
    logarithm = np.log1p(np.maximum(sample - floor, 0.0))
    return float(np.expm1(threshold_otsu(logarithm)) + floor)


def find_skin(volume: LoadedSeries, threshold: float | None = None) -> Skin:
    """The body in a volume.

    Raises
    ------
    ImagingError
        ``NO_SURFACE`` when nothing the size of a body is above the threshold.
    """
    limit = threshold_of(volume) if threshold is None else threshold
    low, high = bounds_of(volume)
    fill = AIR_HU if volume.modality == "CT" else float(volume.pixels.min())
    # A margin of air around the field of view closes surfaces that it cuts.
    grid = resample(volume, COARSE_MM, low - 2 * COARSE_MM, high + 2 * COARSE_MM, fill)
    mask = _largest_part(grid.values >= limit)
    if mask.sum() * COARSE_MM**3 / 1000.0 < MIN_BODY_ML:
        raise refuse("NO_SURFACE", f"nothing as large as {MIN_BODY_ML:.0f} ml is above {limit:.0f}")
    return Skin(Grid(np.where(mask, grid.values, np.float32(fill)), grid.origin, grid.spacing), mask, limit)


def _largest_part(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest connected part after opening, which cuts it off from table, head rest and tubes."""
    from scipy.ndimage import binary_dilation, binary_erosion, generate_binary_structure, label

    ball = generate_binary_structure(3, 1)
    labels, count = label(binary_erosion(mask, ball, iterations=2))
    if count == 0:
        return np.zeros_like(mask)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    core = labels == int(sizes.argmax())
    return np.asarray(binary_dilation(core, ball, iterations=3, mask=mask))


def find_nose(volume: LoadedSeries, skin: Skin) -> Vector:
    """LPS position of the tip of the nose of a head that looks roughly to anterior.

    Raises
    ------
    ImagingError
        ``NO_FACE`` when nothing stands out as a nose does, ``FACE_CUT`` when the nose or what lies around it is
        outside the field of view.
    """
    height = _height_map(skin)
    spacing = skin.grid.spacing
    score, vertical = _nose_likeness(height, spacing)
    if not np.isfinite(score).any() or score.max() <= 0:
        raise refuse("NO_FACE", "nothing stands out of the skin as a nose does")
    row, column = (int(value) for value in np.unravel_index(int(score.argmax()), score.shape))
    tip = _tip_near(height, row, column, spacing)
    index = np.array([tip[0], -height[tip] / spacing, tip[1]])
    point = skin.grid.point_of(index)
    for offset, what in ((NEED_ABOVE, "eyes"), (-NEED_BELOW, "mouth")):
        # Behind the tip, because a tilted field of view may leave out nothing but air in front of it.
        inside = point + np.array([0.0, 20.0, offset])
        if not contains(volume, inside):
            raise refuse("FACE_CUT", f"the field of view ends before the {what}")
    if not contains(volume, point + np.array([0.0, -2.0, 0.0])):
        raise refuse("FACE_CUT", "the field of view cuts the nose")
    if vertical[row, column] < MIN_VERTICAL:
        raise refuse("NO_FACE", "nothing stands out of the skin as a nose does")
    return point


def _height_map(skin: Skin) -> FloatArray:
    """(z, x): how far anterior the body reaches, in millimetres from the grid's front, negative; NaN where none is."""
    first = skin.mask.argmax(axis=1).astype(np.float32)
    columns = np.arange(skin.mask.shape[0])[:, None], np.arange(skin.mask.shape[2])[None, :]
    index = first.astype(int)
    # Between the first voxel of the body and the one before it, where the value reaches the threshold.
    inside = skin.grid.values[columns[0], index, columns[1]]
    before = skin.grid.values[columns[0], np.maximum(index - 1, 0), columns[1]]
    share = np.clip((skin.threshold - before) / np.maximum(inside - before, 1e-3), 0.0, 1.0)
    height = -(first - 1.0 + share) * skin.grid.spacing
    return np.where(skin.mask.any(axis=1), height, np.nan).astype(np.float32)


def _nose_likeness(height: FloatArray, spacing: float) -> tuple[FloatArray, FloatArray]:
    """Per (z, x): how much the skin stands out like a nose (0 where it does not), and how much vertically."""
    sideways = round(NOSE_HALF_WIDTH / spacing)
    upward = round(NOSE_HALF_HEIGHT / spacing)
    left, right = _shifted(height, 0, sideways), _shifted(height, 0, -sideways)
    above, below = _shifted(height, -upward, 0), _shifted(height, upward, 0)
    sides = np.stack([height - left, height - right])
    with np.errstate(invalid="ignore"):
        lateral = np.where((sides.min(0) > MIN_SIDE) & (sides.max(0) < MAX_SIDE), sides.mean(axis=0), 0.0)
        vertical = height - (above + below) / 2.0
        vertical = np.where(np.isfinite(vertical), vertical, 0.0)
        score = np.where(lateral > MIN_SIDES_MEAN, lateral + np.clip(vertical, 0.0, 40.0), 0.0)
    return np.nan_to_num(score).astype(np.float32), vertical.astype(np.float32)


def _shifted(values: FloatArray, rows: int, columns: int) -> FloatArray:
    """values[z - rows, x - columns], edges repeated."""
    z = np.clip(np.arange(values.shape[0]) - rows, 0, values.shape[0] - 1)
    x = np.clip(np.arange(values.shape[1]) - columns, 0, values.shape[1] - 1)
    shifted: FloatArray = values[z[:, None], x[None, :]]
    return shifted


def _tip_near(height: FloatArray, row: int, column: int, spacing: float) -> tuple[int, int]:
    reach = round(12.0 / spacing)
    top, left = max(0, row - reach), max(0, column - reach)
    window = np.nan_to_num(height[top : row + reach + 1, left : column + reach + 1], nan=-np.inf)
    peak = np.unravel_index(int(window.argmax()), window.shape)
    return top + int(peak[0]), left + int(peak[1])
