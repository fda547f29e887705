"""Where the body ends and where its nose is, on a coarse grid of the whole field of view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.imaging.grid import FieldOfView, Grid, Vector, bounds_of, resample
from inference.imaging.rejections import refuse
from inference.types import FloatArray, LoadedSeries

SKIN_HU = -350.0
AIR_HU = -1024.0
COARSE_MM = 3.0
MAX_VOXELS = 60e6
REGROWTH = 11
# A body has at least this volume, in millilitres: a small child's face and little more.
MIN_BODY_ML = 150.0

# The nose in millimetres, and how far it stands out at least: against both cheeks beside it, and against the root of
# the nose above and the mouth below it. Chins, foreheads and breasts stay below in one.
NOSE_HALF_WIDTH, NOSE_ABOVE, NOSE_BELOW = 18.0, 33.0, 25.0
MIN_SIDE, MIN_SIDES_MEAN, MIN_VERTICAL = 3.0, 6.0, 3.0
# Whatever is narrower than this is a tube, not a nose.
NOSE_WIDTH = 8.0
# A head is no wider than this at the height of its nose, in its front part.
MAX_WIDTH, FRONT_MM = 220.0, 140.0
MAX_CANDIDATES = 8
# Surface closer than this to the edge of the field of view may be a cut; closer than this it is one. A face of which
# more square millimetres are cut has lost its nose.
CUT_MM, CUT_SURFACE_MM = 4.0, 0.5
MAX_CUT_AREA = 120.0
# Skin that is this much deeper than its neighbour is another part of the body, or none.
MAX_SIDE = 70.0
# What has to be in the field of view above and below the tip of the nose.
NEED_ABOVE, NEED_BELOW = 50.0, 25.0
# Air in Hounsfield units, and the least share of it in a scan; what is soft, what is dense, and their shares of a body.
_HIGHEST_AIR, _LEAST_AIR = -850.0, 0.01
_LEAST_MATTER, _SOFT, _DENSE = -500.0, (-250.0, 250.0), (900.0, 1150.0)
# Bone is spread over a thousand units and more; so much in so few is soft tissue without its intercept.
_LEAST_SOFT, _MOST_DENSE = 0.3, 0.12
# A scan that begins at the brow: it is no longer than this, its first sections (so many) are nearly the largest, which
# is a head's (square millimetres), and it ends near the top of the head, unless no neck is as wide.
_BRAIN_LENGTH, _BRAIN_SECTION, _NO_NECK = 140.0, (9e3, 40e3), 18e3
_FIRST_SHARE, _LAST_SHARE, _BRIM = 0.7, 0.5, 6
_SUPERIOR, _ANTERIOR = np.array([0.0, 0.0, 1.0]), np.array([0.0, -1.0, 0.0])


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
    from skimage import filters

    otsu: Any = filters.threshold_otsu  # typed only in part

    sample = np.asarray(volume.pixels[::2, ::2, ::2], dtype=np.float64)
    floor = float(np.percentile(sample, 1))
    logarithm = np.log1p(np.maximum(sample - floor, 0.0))
    return float(np.expm1(otsu(logarithm)) + floor)


def find_skin(volume: LoadedSeries, threshold: float | None = None) -> Skin:
    """The body in a volume.

    Raises
    ------
    ImagingError
        ``NO_SURFACE`` when nothing the size of a body is above the threshold, ``NO_FACE`` when the field of view is
        too large to be searched.
    """
    limit = threshold_of(volume) if threshold is None else threshold
    low, high = bounds_of(volume)
    fill = AIR_HU if volume.modality == "CT" else float(volume.pixels.min())
    if float(np.prod((high - low) / COARSE_MM)) > MAX_VOXELS:
        raise refuse("NO_FACE", "the field of view is larger than any patient")
    # A margin of air around the field of view closes surfaces that it cuts.
    grid = resample(volume, COARSE_MM, low - 2 * COARSE_MM, high + 2 * COARSE_MM, fill)
    mask = _largest_part(grid.values >= limit)
    if mask.sum() * COARSE_MM**3 / 1000.0 < MIN_BODY_ML:
        raise refuse("NO_SURFACE", f"nothing as large as {MIN_BODY_ML:.0f} ml is above {limit:.0f}")
    return Skin(Grid(np.where(mask, grid.values, np.float32(fill)), grid.origin, grid.spacing), mask, limit)


def _largest_part(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest connected part after erosion, which cuts it off from table, head rest and tubes.

    It then grows back inside the mask, far enough for nostril wings and for the scalp in MR, where the dark skull
    leaves it a sheet of its own.
    """
    from scipy.ndimage import binary_dilation, binary_erosion, generate_binary_structure, label

    ball = generate_binary_structure(3, 1)
    labels, count = label(binary_erosion(mask, ball, iterations=2))
    if count == 0:
        return np.zeros_like(mask)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    core = labels == int(sizes.argmax())
    return np.asarray(binary_dilation(core, ball, iterations=REGROWTH, mask=mask))


def check_hounsfield(volume: LoadedSeries) -> None:
    """Raises ``NOT_HOUNSFIELD`` unless air is near -1000 in a CT, and most of what is no air near 0."""
    sample = volume.pixels[::3, ::3, ::3]
    air = float((sample < _HIGHEST_AIR).mean())
    if air < _LEAST_AIR:
        raise refuse(
            "NOT_HOUNSFIELD", f"{100 * air:.1f} % of the field of view is air near -1000: the rescale is wrong, or "
            "the field of view ends inside the body"
        )  # fmt: skip
    # Corners outside of what was scanned are filled with the value of air, whatever the rescale: that says little.
    matter = sample[sample > _LEAST_MATTER]
    if len(matter) < _LEAST_AIR * sample.size:
        return
    soft, dense = (float(((matter > low) & (matter < high)).mean()) for low, high in (_SOFT, _DENSE))
    if soft < _LEAST_SOFT or dense > _MOST_DENSE:
        raise refuse(
            "NOT_HOUNSFIELD", f"{100 * soft:.0f} % of what is no air is near 0 HU, {100 * dense:.0f} % near 1024: "
            "the rescale is wrong"
        )  # fmt: skip


def find_nose(skin: Skin, field: FieldOfView) -> Vector:
    """LPS position on the nose, near its tip, of a head that looks roughly to anterior.

    Raises
    ------
    ImagingError
        ``NO_FACE`` when nothing stands out as a nose does; ``FACE_CUT_AT_BROW`` when the scan begins above it;
        ``FACE_CUT`` when something may be one, but the field of view ends too near to tell.
    """
    spacing = skin.grid.spacing
    surface = _surface(skin)
    height = np.where(np.isfinite(surface[..., 1]), -surface[..., 1], np.nan).astype(np.float32)
    height = _without_tubes(height, spacing)
    # Where the field of view cuts the body there is a surface, but no skin.
    margin = np.where(np.isfinite(height), field.margin(np.nan_to_num(surface)), np.inf)
    sound = np.where(margin < CUT_MM, np.float32(np.nan), height)
    for row, column in _peaks(_nose_likeness(sound, spacing), spacing):
        if _width(skin, row) <= MAX_WIDTH:
            point: Vector = surface[row, column]
            _check_front(field, surface, point, spacing)
            return point
    if any(_width(skin, row) <= MAX_WIDTH for row, _ in _peaks(_nose_likeness(height, spacing, True), spacing)):
        raise refuse("FACE_CUT", "the field of view ends at the nose, or next to it")
    if _begins_at_brow(skin, field):
        raise refuse("FACE_CUT_AT_BROW", "the field of view ends above the nose: a scan of the brain")
    raise refuse("NO_FACE", "nothing stands out of the skin as a nose does")


def _check_front(field: FieldOfView, surface: Vector, nose: Vector, spacing: float) -> None:
    """Raises ``FACE_CUT`` where the front of the field of view cuts the face: what stands out is then not its nose."""
    points = np.nan_to_num(surface)
    # The ends of the field of view cut every head somewhere; what lies behind such a cut is as near to the edge.
    cut = (field.margin(points) < CUT_SURFACE_MM) & (field.margin(points + np.array([0.0, 10.0, 0.0])) > CUT_MM)
    sideways, upward = np.abs(points[..., 0] - nose[0]), np.abs(points[..., 2] - nose[2])
    cut &= np.isfinite(surface[..., 0]) & (sideways < 40.0) & (upward < 100.0)
    if cut.sum() * spacing**2 > MAX_CUT_AREA:
        raise refuse("FACE_CUT", "the front of the field of view cuts the face")


def _begins_at_brow(skin: Skin, field: FieldOfView) -> bool:
    """Whether the body is the upper part of a head, which the lower end of the field of view cuts."""
    spacing = skin.grid.spacing
    sections = skin.mask.sum(axis=(1, 2)) * spacing**2
    rows = np.flatnonzero(sections)
    largest = float(sections.max())
    first = np.argwhere(skin.mask[rows[0]]).mean(axis=0)
    below = field.margin(skin.grid.point_of(np.array([rows[0] - 2, *first])))
    return bool(
        below < 0
        and len(rows) * spacing <= _BRAIN_LENGTH
        and _BRAIN_SECTION[0] <= largest <= _BRAIN_SECTION[1]
        and sections[rows[0] : rows[0] + _BRIM].max() >= _FIRST_SHARE * largest
        and (sections[rows[-1]] <= _LAST_SHARE * largest or largest >= _NO_NECK)
    )


def check_field_of_view(field: FieldOfView, tip: Vector, up: Vector = _SUPERIOR, forward: Vector = _ANTERIOR) -> None:
    """Raises ``FACE_CUT`` unless eyes and mouth can be seen, and the nose to its tip.

    ``up`` and ``forward`` are the head's, unit vectors in LPS.
    """
    for offset, what in ((NEED_ABOVE, "eyes"), (-NEED_BELOW, "mouth")):
        # Behind the tip, because a tilted field of view may leave out nothing but air in front of it.
        if field.margin(tip - 20.0 * forward + offset * up) < 0:
            raise refuse("FACE_CUT", f"the field of view ends before the {what}")
    if field.margin(tip + 2.0 * forward) < 0:
        raise refuse("FACE_CUT", "the field of view cuts the nose")


def _width(skin: Skin, row: int) -> float:
    """How wide the front of the body is at one height, in millimetres: a table is behind it."""
    depths = np.flatnonzero(skin.mask[row].any(axis=1))
    if not len(depths):
        return np.inf
    front = skin.mask[row, depths[0] : depths[0] + round(FRONT_MM / skin.grid.spacing)]
    across = np.flatnonzero(front.any(axis=0))
    return float(across[-1] - across[0] + 1) * skin.grid.spacing


def _without_tubes(height: FloatArray, spacing: float) -> FloatArray:
    from scipy.ndimage import grey_opening

    width = 2 * round(NOSE_WIDTH / spacing / 2) + 1
    opened = grey_opening(np.nan_to_num(height, nan=-1e6), size=(3, width))
    return np.where(np.isfinite(height) & (opened > -1e5), opened, np.nan).astype(np.float32)


def _peaks(score: FloatArray, spacing: float) -> list[tuple[int, int]]:
    """The best places, at least a nose's height apart."""
    left = score.copy()
    reach = round(NOSE_ABOVE / spacing)
    found: list[tuple[int, int]] = []
    while len(found) < MAX_CANDIDATES and left.max() > 0:
        row, column = (int(value) for value in np.unravel_index(int(left.argmax()), left.shape))
        found.append((row, column))
        left[max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1] = 0.0
    return found


def _surface(skin: Skin) -> Vector:
    """(z, x, 3): LPS position of the foremost point of the body in each column of voxels; NaN where there is none."""
    first = skin.mask.argmax(axis=1)
    rows, columns = np.indices(first.shape)
    # Between the first voxel of the body and the one before it, where the value reaches the threshold.
    inside = skin.grid.values[rows, first, columns]
    before = skin.grid.values[rows, np.maximum(first - 1, 0), columns]
    share = np.clip((skin.threshold - before) / np.maximum(inside - before, 1e-3), 0.0, 1.0)
    points = skin.grid.point_of(np.stack([rows, first - 1.0 + share, columns], axis=-1))
    there = np.asarray(skin.mask.any(axis=1))
    return np.where(there[..., None], points, np.nan)


def _nose_likeness(height: FloatArray, spacing: float, beyond_edges: bool = False) -> FloatArray:
    """Per (z, x): how many millimetres the skin stands out, sideways and vertically, where it does so like a nose.

    What the nose is compared with has to be there, unless ``beyond_edges`` lets the last row stand for what is missing.
    """
    sideways, up, down = (round(length / spacing) for length in (NOSE_HALF_WIDTH, NOSE_ABOVE, NOSE_BELOW))
    sides = np.stack([height - _shifted(height, 0, sideways), height - _shifted(height, 0, -sideways)])
    above, below = _shifted(height, -up, 0), _shifted(height, down, 0)
    if beyond_edges:
        above, below = np.where(np.isfinite(above), above, below), np.where(np.isfinite(below), below, above)
    vertical = height - (above + below) / 2.0
    with np.errstate(invalid="ignore"):
        lateral = sides.mean(axis=0)
        score = lateral + np.minimum(vertical, 30.0) - np.abs(sides[0] - sides[1])
        like = (sides.min(axis=0) > MIN_SIDE) & (sides.max(axis=0) < MAX_SIDE)
        like &= (lateral > MIN_SIDES_MEAN) & (vertical > MIN_VERTICAL)
    return np.where(like & np.isfinite(score), np.maximum(score, 0.1), 0.0).astype(np.float32)


def _shifted(values: FloatArray, rows: int, columns: int) -> FloatArray:
    """values[z - rows, x - columns], NaN beyond the edges."""
    margin = max(abs(rows), abs(columns))
    padded = np.pad(values, margin, constant_values=np.nan)
    return padded[
        margin - rows : padded.shape[0] - margin - rows, margin - columns : padded.shape[1] - margin - columns
    ]
