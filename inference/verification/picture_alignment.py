"""Bringing two pictures of detail onto each other: all affine maps of a grid first, then a smooth refinement.

The search correlates one picture, warped by every scale, aspect and rotation of the grid, with the other one at every
shift at once (Fourier). The refinement minimises the weighted squared difference by the inverse compositional algorithm
(S. Baker, I. Matthews, "Lucas-Kanade 20 years on", IJCV 2004) with the brightness gain of the enhanced correlation
coefficient (G. Evangelidis, E. Psarakis, TPAMI 2008) and bounded residuals. Maps are polynomials: degree 1 is affine,
higher ones let breath and posture bend a chest, held stiff by a penalty.

Coordinates are (column, row), both from -1 to 1 across the picture, whatever its number of elements.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from inference.types import FloatArray

Coefficients = NDArray[np.float64]
"""(terms, 2): a map from the fixed picture's coordinates to the moving one's, in Legendre products of rising degree."""

SCALES = (0.82, 0.90, 1.0, 1.11, 1.22)
ASPECTS = (0.84, 1.0, 1.19)
ROTATIONS = (-8.0, -4.0, 0.0, 4.0, 8.0)
_TRANSFORM = 64
_REACH = 14
_SAME_PLACE = 2.5
# The overlap's power by which a correlation is divided: 0.5 would favour slivers, 1 whatever overlaps little.
_OVERLAP_POWER, _MIN_OVERLAP = 0.75, 0.25
# How much better a film must fit inverted to be taken for a film with its greys inverted.
_INVERSION_HANDICAP = 1.1
_LARGEST_RESIDUAL = 1.5
_MIN_GAIN = 0.2
_LARGEST_UPDATE, _SETTLED = 4.0, 0.05
_NO_MAP = np.empty(0, np.float32)


@dataclass(frozen=True, slots=True)
class Detail:
    """``values`` (n, n) float32 of mean 0 and spread 1 in every neighbourhood; ``weight`` (n, n) float32 in [0, 1]."""

    values: FloatArray
    weight: FloatArray


@dataclass(frozen=True, slots=True)
class Spectra:
    """One picture, ready for the search: as the moving one under every warp, and as the fixed one."""

    warped: NDArray[np.complex64]
    moving_weight: NDArray[np.complex64]
    fixed: NDArray[np.complex64]
    fixed_weight: NDArray[np.complex64]
    size: int


@dataclass(frozen=True, slots=True)
class Start:
    """A candidate of the search. ``sign`` is -1 where the greys of one picture are inverted."""

    score: float
    affine: Coefficients
    sign: float


@lru_cache(maxsize=1)
def warps() -> NDArray[np.float64]:
    """(n, 2, 2) linear maps from moving to fixed picture."""
    made = []
    for scale in SCALES:
        for aspect in ASPECTS:
            for angle in np.radians(ROTATIONS):
                turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
                made.append(turn * (scale * np.array([np.sqrt(aspect), 1 / np.sqrt(aspect)])))
    return np.array(made)


def spectra(coarse: Detail) -> Spectra:
    """Fourier transforms (float32) of a coarse picture of at most ``_TRANSFORM`` elements a side."""
    import cv2
    from scipy.fft import rfft2

    size = coarse.values.shape[0]
    padded = np.zeros((len(warps()) + 2, _TRANSFORM, _TRANSFORM), np.float32)
    middle = (size - 1) / 2
    for plane, linear in zip(padded, warps(), strict=False):
        matrix = np.column_stack([linear, middle - linear @ (middle, middle)])
        plane[:size, :size] = cv2.warpAffine(coarse.values, matrix, (size, size), flags=cv2.INTER_LINEAR)
    padded[-2, :size, :size], padded[-1, :size, :size] = coarse.values, coarse.weight
    found = rfft2(padded)
    return Spectra(found[:-2], found[-1], np.conj(found[-2]), np.conj(found[-1]), size)


def search(moving: Spectra, fixed: Spectra, count: int) -> list[Start]:
    """The ``count`` best distinct affine maps, best first."""
    from scipy.fft import irfft2

    shape = (_TRANSFORM, _TRANSFORM)
    near = np.r_[0 : _REACH + 1, _TRANSFORM - _REACH : _TRANSFORM]
    shifts = np.r_[0 : _REACH + 1, -_REACH:0]
    overlap = irfft2(moving.moving_weight * fixed.fixed_weight, s=shape)[np.ix_(near, near)]
    least = _MIN_OVERLAP * moving.size**2
    scale = np.maximum(overlap, least) ** np.float32(-_OVERLAP_POWER)
    products = irfft2(moving.warped * fixed.fixed, s=shape)[:, near][:, :, near] * scale
    sign = -1.0 if -float(products.min()) > _INVERSION_HANDICAP * float(products.max()) else 1.0
    flat = (products * np.float32(sign)).reshape(len(products), -1)
    best = flat.argmax(axis=1)
    values = flat[np.arange(len(flat)), best]
    starts: list[Start] = []
    corners: list[NDArray[np.float64]] = []
    for index in np.argsort(-values):
        row, column = divmod(int(best[index]), len(shifts))
        affine = _inverse(warps()[index], -np.array([shifts[column], shifts[row]]) * (2 / moving.size))
        corner = polynomials(2, 1) @ affine * (moving.size / 2)
        if all(np.abs(corner - other).max() > _SAME_PLACE for other in corners):
            starts.append(Start(float(values[index]), affine, sign))
            corners.append(corner)
        if len(starts) == count:
            break
    return starts


def _inverse(linear: NDArray[np.float64], shift: NDArray[np.float64]) -> Coefficients:
    back = np.linalg.inv(linear)
    return np.vstack([-back @ shift, back.T])


@lru_cache(maxsize=16)
def polynomials(size: int, degree: int) -> FloatArray:
    """(size * size, terms) Legendre products up to ``degree`` on a grid; the first three are 1, column, row."""
    places = (np.arange(size) + 0.5) / size * 2 - 1
    single = np.polynomial.legendre.legvander(places, degree)
    made = [np.outer(single[:, j], single[:, i]).ravel() for i, j in _powers(degree)]
    return np.stack(made, axis=1).astype(np.float32)


def _powers(degree: int) -> list[tuple[int, int]]:
    return [(total - j, j) for total in range(degree + 1) for j in range(total + 1)]


def sampled(moving: Detail, mapped: Coefficients, size: int) -> Detail:
    """The moving picture as seen through a map, on a grid of ``size``; without weight outside of it."""
    return _sampled(_planes(moving), mapped, size)


def _planes(detail: Detail) -> FloatArray:
    return np.dstack([detail.values, detail.weight])


def _sampled(planes: FloatArray, mapped: Coefficients, size: int) -> Detail:
    import cv2

    places = polynomials(size, _degree(len(mapped))) @ mapped.astype(np.float32)
    half = np.float32(planes.shape[0] / 2)
    pixel: FloatArray = (places * half + (half - np.float32(0.5))).reshape(size, size, 2)
    seen = np.asarray(cv2.remap(planes, pixel, _NO_MAP, cv2.INTER_LINEAR), np.float32)
    return Detail(seen[:, :, 0], seen[:, :, 1])


def _degree(terms: int) -> int:
    return int(np.sqrt(2 * terms + 0.25) - 1.5 + 1e-9)


def refine(
    moving: Detail, fixed: Detail, start: Coefficients, degree: int, stiffness: float, rounds: int
) -> Coefficients:
    """The map near ``start`` under which ``moving`` looks most like ``fixed``; both of the same size."""
    size = fixed.values.shape[0]
    basis = polynomials(size, degree)
    terms = basis.shape[1]
    mapped = np.zeros((terms, 2))
    mapped[: len(start)] = start
    gradient = _gradient(fixed.values)
    planes, hessian = _planes(moving), None
    for _ in range(rounds):
        seen = _sampled(planes, mapped, size)
        weight = seen.weight * fixed.weight
        energy = float((weight * fixed.values * fixed.values).sum())
        if energy <= 0:
            return mapped
        gain = max(float((weight * seen.values * fixed.values).sum()) / energy, _MIN_GAIN)
        residual = seen.values / np.float32(gain) - fixed.values
        bounded = weight * np.clip(residual, -_LARGEST_RESIDUAL, _LARGEST_RESIDUAL)
        if hessian is None:
            hessian = _hessian(gradient, weight, basis, stiffness, degree)
        slope = np.concatenate([(part * bounded).ravel() @ basis for part in gradient]).astype(np.float64)
        update = np.linalg.solve(hessian, slope).reshape(2, terms).T
        longest = float(np.abs(basis @ update.astype(np.float32)).max()) * size / 2
        update *= min(1.0, _LARGEST_UPDATE / max(longest, 1e-9))
        # To first order: the map after a small step back on the fixed picture.
        mapped = mapped - update @ mapped[1:3]
        if longest < _SETTLED:
            break
    return mapped


def _gradient(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Along columns and along rows, per unit of coordinate."""
    import cv2

    # Scharr's kernel sums to 32 per element; coordinates run over 2 units.
    scale = values.shape[0] / 2 / 32
    along = [cv2.Scharr(values, cv2.CV_32F, *order, scale=scale) for order in ((1, 0), (0, 1))]
    return np.asarray(along[0], np.float32), np.asarray(along[1], np.float32)


def _hessian(
    gradient: tuple[FloatArray, FloatArray], weight: FloatArray, basis: FloatArray, stiffness: float, degree: int
) -> NDArray[np.float64]:
    slopes = np.concatenate([part.reshape(-1, 1) * basis for part in gradient], axis=1)
    matrix = ((slopes * weight.reshape(-1, 1)).T @ slopes).astype(np.float64)
    bending = np.array([stiffness * max(i + j - 1, 0) ** 2 for i, j in _powers(degree)])
    scale = float(np.trace(matrix)) / len(matrix) + 1e-9
    return np.asarray(matrix + np.diag(np.tile(bending, 2) + 1e-4) * scale)
