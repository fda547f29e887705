"""Two registered volumes as a reviewer sees them: the reference as a shaded body, the probe's points laid onto it.

From the front, from the patient's left and from above. A point is green where both surfaces agree, red where they are
``WORST_MM`` or more apart, and blue where the reference's field of view had ended.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inference.imaging.grid import Vector
from inference.verification.volume_agreement import residuals
from inference.verification.volume_cloud import Cloud

SIZE = 320
WORST_MM = 3.0
_MARGIN_PX, _LEGEND_PX = 14, 34
# Discs as wide as points are apart make a closed surface; dots on them leave most of it to be seen.
_DISC_MM, _DOT_PX = 7.0, 2
_SHIFT, _FRACTION = 4, 16
_BODY, _UNSEEN, _GROUND = (214, 206, 192), (86, 122, 214), 16
_AGREES, _BETWEEN, _DIFFERS = (46, 204, 113), (241, 196, 15), (231, 60, 48)
# Rows: right on the picture, up on the picture, towards the viewer; LPS.
_VIEWS = (
    ("front", np.array([[1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]])),
    ("left", np.array([[0, 1.0, 0], [0, 0, 1.0], [1.0, 0, 0]])),
    ("above", np.array([[1.0, 0, 0], [0, -1.0, 0], [0, 0, 1.0]])),
)

Picture = NDArray[np.uint8]


def overlay(probe: Cloud, reference: Cloud, transform: NDArray[np.float64]) -> Picture:
    """uint8 (SIZE + legend, 3 SIZE, 3) RGB of ``probe`` taken onto ``reference`` by ``transform`` (4, 4)."""
    moved = probe.points @ transform[:3, :3].T + transform[:3, 3]
    normals = probe.normals @ transform[:3, :3].T
    colours = _colours(residuals(probe, reference, transform))
    everything = np.concatenate([moved, reference.points])
    middle = (everything.min(axis=0) + everything.max(axis=0)) / 2
    scale = (SIZE - 2 * _MARGIN_PX) / max(1.0, float(np.ptp(everything, axis=0).max()))
    panels = []
    for name, axes in _VIEWS:
        panel = np.full((SIZE, SIZE, 3), _GROUND, np.uint8)
        _draw_body(panel, (reference.points - middle) @ axes.T * scale, reference.normals @ axes.T, _DISC_MM * scale)
        _draw_points(panel, (moved - middle) @ axes.T * scale, normals @ axes.T, colours)
        _write(panel, name, (10, SIZE - 10))
        panels.append(panel)
    return np.vstack([np.hstack(panels), _legend(3 * SIZE)])


def _colours(millimetres: Vector) -> Picture:
    """(n, 3) RGB of residuals: green over yellow to red, blue where NaN."""
    share = np.clip(np.nan_to_num(millimetres, nan=0.0, posinf=WORST_MM) / WORST_MM, 0.0, 1.0)
    stops = np.array([_AGREES, _BETWEEN, _DIFFERS], np.float64)
    colours = np.stack([np.interp(share, [0.0, 0.5, 1.0], stops[:, channel]) for channel in range(3)], axis=1)
    colours[np.isnan(millimetres)] = _UNSEEN
    return np.asarray(np.rint(colours), np.uint8)


def _draw_body(panel: Picture, points: Vector, normals: Vector, radius: float) -> None:
    """Discs that face the viewer, far ones first, darker where they turn away or lie deep."""
    import cv2

    towards = normals[:, 2]
    depth = points[:, 2]
    nearness = (depth - depth.min()) / max(1e-6, float(np.ptp(depth)))
    light = np.clip(0.25 + 0.75 * towards, 0.0, 1.0) * (0.35 + 0.65 * nearness)
    for number in np.argsort(depth):
        if towards[number] > 0.0:
            colour = tuple(float(channel * 0.62 * light[number]) for channel in _BODY)
            cv2.circle(panel, _pixel(points[number]), round(radius * _FRACTION), colour, -1, cv2.LINE_AA, _SHIFT)


def _draw_points(panel: Picture, points: Vector, normals: Vector, colours: Picture) -> None:
    import cv2

    for number in np.argsort(points[:, 2]):
        if normals[number, 2] > 0.0:
            colour = tuple(float(channel) for channel in colours[number])
            cv2.circle(panel, _pixel(points[number]), _DOT_PX * _FRACTION, colour, -1, cv2.LINE_AA, _SHIFT)


def _pixel(point: Vector) -> tuple[int, int]:
    """Centre of a point in sixteenths of a pixel."""
    return round((SIZE / 2 + float(point[0])) * _FRACTION), round((SIZE / 2 - float(point[1])) * _FRACTION)


def _legend(width: int) -> Picture:
    strip = np.full((_LEGEND_PX, width, 3), _GROUND, np.uint8)
    start, length = 200, 240
    strip[12:22, start : start + length] = _colours(np.linspace(0.0, WORST_MM, length))[None]
    strip[12:22, start + length + 110 : start + length + 130] = _UNSEEN
    _write(strip, "surfaces apart: 0 mm", (10, 22))
    _write(strip, f"{WORST_MM:.0f} mm", (start + length + 8, 22))
    _write(strip, "outside the field of view", (start + length + 140, 22))
    return strip


def _write(picture: Picture, text: str, at: tuple[int, int]) -> None:
    import cv2

    cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (225, 225, 225), 1, cv2.LINE_AA)
