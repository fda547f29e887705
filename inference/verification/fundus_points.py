"""Vessel key points and the robust model through their matches.

Key points are corners of the vessel map: bifurcations, crossings, sharp bends. Each is described by SIFT's histograms
of directions (D. Lowe, IJCV 2004), compared as square roots (R. Arandjelovic, A. Zisserman, CVPR 2012), upright,
because heads and eyes roll by some degrees only. Cameras differ in their field: one side is described at several sizes.

The model is a similarity. With at most ``_MATCHES`` matches every pair of them is tried, which leaves nothing to
chance: the same two templates always give the same answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.types import FloatArray
from inference.verification.picture_alignment import Coefficients, Detail

_POINTS, _QUALITY, _APART = 220, 0.02, 2.5
# Diameters (elements of the vessel map) of what SIFT calls the key point; it looks at six times as much.
_SIZE = 3.5
_SMOOTH, _BRIGHT = 0.5, 64.0
SIZES = (0.5, 0.63, 0.79, 1.0, 1.26, 1.59, 2.0)
_MIDDLE_SIZE = SIZES.index(1.0)
_MATCHES = 80
_RATIO = 0.92
_MIN_MATCHES = 3
# What a similarity may do: scale between cameras, roll in degrees; and how far off a match may lie (coordinates).
_SCALE, _ROLL, _TOLERANCE = (0.5, 2.0), 30.0, 0.035
_MIN_BASE = 0.15
_SAME_PLACE = 0.06


@dataclass(frozen=True, slots=True)
class Points:
    """``places`` (n,) complex (column + i row, from -1 to 1); ``words`` (sizes, n, 128) float32 of length 1."""

    places: NDArray[np.complex128]
    words: FloatArray


@dataclass(frozen=True, slots=True)
class Model:
    """A similarity from the fixed picture's coordinates to the moving one's, and how many matches agree with it."""

    affine: Coefficients
    inliers: int


def key_points(vessels: Detail) -> Points:
    """Key points of a vessel map; there may be none."""
    import cv2

    edge = vessels.values.shape[0]
    picture = np.asarray(np.clip(cv2.GaussianBlur(vessels.values, (0, 0), _SMOOTH) * _BRIGHT, 0, 255), np.uint8)
    # None where there is no corner, though the type says otherwise.
    found: Any = cv2.goodFeaturesToTrack(picture, _POINTS, _QUALITY, _APART, blockSize=5)
    if found is None:
        return Points(np.zeros(0, np.complex128), np.zeros((len(SIZES), 0, 128), np.float32))
    corners = found.reshape(-1, 2)
    sift = cv2.SIFT.create()
    words = []
    for size in SIZES:
        marks = [cv2.KeyPoint(float(x), float(y), _SIZE * size, 0.0) for x, y in corners]
        _, described = sift.compute(picture, marks)
        words.append(np.sqrt(described / np.maximum(described.sum(axis=1, keepdims=True), 1e-6)))
    unit = (corners + 0.5) / edge * 2 - 1
    return Points(unit[:, 0] + 1j * unit[:, 1], np.asarray(words, np.float32))


def models(moving: Points, fixed: Points, count: int) -> tuple[list[Model], int]:
    """The ``count`` best distinct similarities, best first (maybe none), and how many matches there were."""
    first, second = _matches(moving, fixed)
    if len(first) < _MIN_MATCHES:
        return [], len(first)
    source, target = fixed.places[second], moving.places[first]
    one, other = np.triu_indices(len(first), 1)
    base = source[other] - source[one]
    usable = np.abs(base) > _MIN_BASE
    one, other, base = one[usable], other[usable], base[usable]
    turn = (target[other] - target[one]) / base
    possible = (np.abs(turn) > _SCALE[0]) & (np.abs(turn) < _SCALE[1]) & (np.abs(np.angle(turn)) < np.radians(_ROLL))
    turn, one = turn[possible], one[possible]
    shift = target[one] - turn * source[one]
    off = np.abs(turn[:, None] * source[None, :] + shift[:, None] - target[None, :])
    support = np.maximum(1 - np.square(off / _TOLERANCE), 0).sum(axis=1)
    chosen: list[Model] = []
    corners: list[NDArray[np.complex128]] = []
    frame = np.array([-1 - 1j, 1 - 1j, -1 + 1j, 1 + 1j]) * 0.7
    for index in np.argsort(-support, kind="stable"):
        corner = turn[index] * frame + shift[index]
        if all(np.abs(corner - known).max() > _SAME_PLACE for known in corners):
            corners.append(corner)
            chosen.append(_settled(source, target, off[index] < _TOLERANCE, turn[index], shift[index]))
        if len(chosen) == count:
            break
    return chosen, len(first)


def _matches(moving: Points, fixed: Points) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the mutually nearest, the most distinct first; at one size of the moving side for all of them."""
    nothing = np.zeros(0, np.int64)
    if len(moving.places) < 2 or len(fixed.places) < 2:
        return nothing, nothing
    best: tuple[float, NDArray[np.int64], NDArray[np.int64]] = (-1.0, nothing, nothing)
    words = fixed.words[_MIDDLE_SIZE]
    for described in moving.words:
        alike = described @ words.T
        forth, back = alike.argmax(axis=1), alike.argmax(axis=0)
        mutual = np.flatnonzero(back[forth] == np.arange(len(forth)))
        top = -np.partition(-alike[mutual], 1, axis=1)[:, :2]
        distance = np.sqrt(np.maximum(2 - 2 * top, 0))
        ratio = distance[:, 0] / np.maximum(distance[:, 1], 1e-6)
        order = np.argsort(ratio, kind="stable")[:_MATCHES]
        order = order[ratio[order] < _RATIO]
        strength = float((1 - ratio[order]).sum())
        if strength > best[0]:
            best = strength, mutual[order], forth[mutual[order]]
    return best[1], best[2]


def _settled(
    source: NDArray[np.complex128],
    target: NDArray[np.complex128],
    inlier: NDArray[np.bool_],
    turn: complex,
    shift: complex,
) -> Model:
    """Least squares through the inliers."""
    if inlier.sum() >= _MIN_MATCHES:
        middle, aim = source[inlier].mean(), target[inlier].mean()
        centred = source[inlier] - middle
        turn = complex((np.conj(centred) * (target[inlier] - aim)).sum() / (np.abs(centred) ** 2).sum())
        shift = complex(aim - turn * middle)
    affine = np.array([[shift.real, shift.imag], [turn.real, turn.imag], [-turn.imag, turn.real]])
    return Model(affine, int(inlier.sum()))
