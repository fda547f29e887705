"""Points of a face that can be named: where its anatomy puts them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from training.cohort.head.bones import vault
from training.cohort.head.cloud import Cloud
from training.cohort.head.frame import Head
from training.cohort.head.skin import mouth_line, nose_tip, skin
from training.cohort.implicit import Matrix
from training.cohort.sampling import bend

# How far around the ball of the nose its foremost point is sought, and how far along a ray the skin may be (mm).
_AROUND_TIP, _ALONG = 8.0, 22.0
_STEP = 0.5
# The bend of space moves points by a few millimetres and is smooth: so many rounds leave nothing of the difference.
_ROUNDS = 12


def landmarks(head: Head) -> Matrix:
    """(5, 3): centres of the left and right eye, tip of the nose, left and right corner of the mouth.

    Millimetres in the head's own frame (x to the left, y backwards, z up). The tip is the foremost point of the nose on
    the skin; the corners of the mouth lie on the skin before the ends of the line where the lips meet.
    """
    x, y, z = head.eye
    right, *_, left = mouth_line(head).knots
    places = unbent(np.array([[x, y, z], [-x, y, z], nose_tip(head), left, right]), head.shape.warp)
    tip = _foremost(head, places[2] + _around(_AROUND_TIP))
    corners = [_foremost(head, place[None]) for place in places[3:]]
    return np.stack([*places[:2], tip, *corners])


def unbent(points: Matrix, warp: Sequence[Sequence[float]]) -> Matrix:
    """Where (n, 3) points of the shapes' frame show in the head's own: the inverse of the bend of space."""
    found = points.copy()
    for _ in range(_ROUNDS):
        moved = bend([found[:, n].astype(np.float32) for n in range(3)], warp)
        found += points - np.stack([moved.x, moved.y, moved.z], axis=1)
    return found


def distance_to_skin(head: Head, points: Matrix) -> NDArray[np.float64]:
    """(n,) millimetres of (n, 3) points of the head's own frame to its skin, negative inside; to first order."""
    cloud = Cloud(points, head.shape.warp)
    return cloud.in_order(skin(cloud, head, vault(cloud, head))).astype(np.float64)


def _around(reach: float) -> Matrix:
    across = np.arange(-reach, reach + 1.0, 1.0)
    x, z = np.meshgrid(across, across)
    return np.stack([x.ravel(), np.zeros(x.size), z.ravel()], axis=1)


def _foremost(head: Head, starts: Matrix) -> Matrix:
    """(3,): the foremost point of skin on rays through (n, 3) points, forwards and backwards."""
    along = np.arange(-_ALONG, _ALONG, _STEP)
    points = starts[:, None] + along[None, :, None] * np.array([0.0, 1.0, 0.0])
    distance = distance_to_skin(head, points.reshape(-1, 3)).reshape(len(starts), len(along))
    first = (distance < 0).argmax(axis=1)
    inside = np.take_along_axis(distance, first[:, None], 1)[:, 0]
    before = np.take_along_axis(distance, np.maximum(first - 1, 0)[:, None], 1)[:, 0]
    met = (inside < 0) & (first > 0)
    reach = along[first] - _STEP * inside / np.minimum(inside - before, -1e-6)
    y = np.where(met, starts[:, 1] + reach, np.inf)
    best = int(y.argmin())
    return np.array([starts[best, 0], y[best], starts[best, 2]])
