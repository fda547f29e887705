"""Vessels drawn as ribbons of their own width, smooth to a fraction of a pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from training.cohort.eye.camera import Camera, Plane, Points
from training.cohort.eye.tree import Branch, VesselTree, normals

_SHIFT = 4
_PIECE = 14  # points of a branch that share one depth
_FINE = 2  # pieces are drawn on a grid this much finer
_DENSE = 0.065  # mm of blood that look as dark as blood gets; thinner vessels are paler
_REFLEX_WIDTH = 3.0  # pixels from which a vessel shows its reflex


@dataclass(frozen=True, slots=True, eq=False)
class Layers:
    """How much of each pixel an artery, a vein and a vessel's central light reflex fill: float32, 0 to 1."""

    arteries: Plane
    veins: Plane
    reflex: Plane


def layers(tree: VesselTree, camera: Camera) -> Layers:
    """The tree as the camera sees it."""
    reflex = _canvas(camera)
    arteries, veins = (
        _draw(branches, camera, reflex, wide) for branches, wide in ((tree.arteries, 0.34), (tree.veins, 0.2))
    )
    return Layers(arteries, veins, _shrink(reflex, camera))


def _canvas(camera: Camera) -> NDArray[np.uint8]:
    rows, columns = camera.shape
    return np.zeros((rows * _FINE, columns * _FINE), np.uint8)


def fill_branch(canvas: NDArray[np.uint8], branch: Branch, camera: Camera) -> None:
    """One vessel on a canvas of the picture's own size."""
    for middle, width in _pieces(branch, camera, 1):
        depth = min(1.0, float(width.mean()) / 1.35)
        _fill(canvas, middle, np.maximum(width - 0.8, 0.1), round(255 * depth))


def _draw(branches: Sequence[Branch], camera: Camera, reflex: NDArray[np.uint8], share: float) -> Plane:
    canvas = _canvas(camera)
    pieces = sorted(
        (piece for branch in branches for piece in _pieces(branch, camera, _FINE)), key=lambda piece: float(piece[1][0])
    )
    for middle, width in pieces:
        # A filled polygon covers its rim too, about a pixel in all; what is thinner than that is drawn fainter.
        mean = float(width.mean())
        depth = min(1.0, mean / 1.35) * min(1.0, 0.3 + 0.7 * mean / (_DENSE * camera.scale * _FINE))
        _fill(canvas, middle, np.maximum(width - 0.8, 0.1), round(255 * depth))
        if width[0] > _REFLEX_WIDTH * _FINE:
            _fill(reflex, middle, np.maximum(width * share - 0.8, 0.1), 255 if share > 0.3 else 90)
    return _shrink(canvas, camera)


def _pieces(branch: Branch, camera: Camera, fine: int) -> list[tuple[Points, Points]]:
    """Stretches of a branch that are in the picture: middle line and widths on a grid ``fine`` times finer."""
    place = (camera.pixels(branch.points) + 0.5) * fine - 0.5
    rows, columns = camera.shape
    ends = np.array([columns, rows]) * fine + 40.0
    seen = np.all((place > -40.0) & (place < ends), axis=1)
    width = branch.widths * (camera.scale * fine)
    starts = range(0, len(place) - 1, _PIECE)
    spans = [slice(first, min(first + _PIECE + 1, len(place))) for first in starts]
    return [(place[span], width[span]) for span in spans if seen[span].any()]


def _fill(canvas: NDArray[np.uint8], middle: Points, width: Points, value: int) -> None:
    side = normals(middle) * (width / 2)[:, None]
    outline = np.concatenate([middle + side, (middle - side)[::-1]])
    corners = np.rint(outline * (1 << _SHIFT)).astype(np.int32)
    cv2.fillPoly(canvas, [corners], value, cv2.LINE_AA, _SHIFT)


def _shrink(canvas: NDArray[np.uint8], camera: Camera) -> Plane:
    small = cv2.resize(canvas, camera.shape[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.float32) * np.float32(1 / 255)
