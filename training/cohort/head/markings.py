"""Sutures of the vault and the grooves that vessels leave in it: fine lines on films that stay with a person."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.cohort.chance import stream
from training.cohort.head.frame import Head
from training.cohort.implicit import Field, Matrix

Array = NDArray[np.float64]

_BONE = 0.05  # attenuation per mm that only bone has
_REACH = np.arange(45.0, 118.0, 0.8)


@dataclass(frozen=True, slots=True)
class Line:
    """``points`` (n, 3) in the head's frame; ``width`` mm; ``depth`` is the attenuation that is missing along it."""

    points: Array
    width: float
    depth: float


def markings(head: Head, volume: Field, affine: Matrix) -> list[Line]:
    """The lines of a head whose attenuation is ``volume`` with its (4, 4) ``affine`` to the head's frame."""
    rng = stream("markings", head.shape.lines)
    centre = np.array([0.0, head.shape.vault_centre_y, 22.0])
    lines = []
    for directions, width, depth in [*_sutures(head, rng), *_grooves(head, rng)]:
        points = _onto_bone(directions, centre, volume, affine)
        if len(points) > 3:
            lines.append(Line(points, width, depth))
    return lines


def _onto_bone(directions: Array, centre: Array, volume: Field, affine: Matrix) -> Array:
    """The outermost bone in each direction from the centre; directions without any are left out."""
    from scipy.ndimage import map_coordinates

    unit = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    places = centre + unit[:, None, :] * _REACH[None, :, None]
    index = np.linalg.inv(affine) @ np.concatenate(
        [places.reshape(-1, 3).T, np.ones((1, places.shape[0] * len(_REACH)))]
    )
    values = map_coordinates(volume, index[:3], order=1, mode="constant", output=np.float32).reshape(places.shape[:2])
    bone = values > _BONE
    last = bone.shape[1] - 1 - bone[:, ::-1].argmax(axis=1)
    found = bone.any(axis=1)
    return np.asarray((centre + unit * (_REACH[last] - 2.0)[:, None])[found])


def _wander(rng: np.random.Generator, count: int, size: float) -> Array:
    """A line that winds to and fro about zero: ``size`` mm, with teeth on its bends."""
    slow = np.interp(np.arange(count), np.linspace(0, count - 1, 8), rng.normal(0, 1.6 * size, 8))
    return np.asarray(slow + np.convolve(rng.normal(0, size, count), [0.25, 0.5, 0.25], "same"))


def _sutures(head: Head, rng: np.random.Generator) -> list[tuple[Array, float, float]]:
    s, d = head.shape, head.shape.detail
    b, a, h = head.half_breadth, head.half_length, s.vault_height - 22.0
    n = 90
    phi = np.radians(np.linspace(-98, 98, n))
    back = d.coronal_suture - s.vault_centre_y - 20.0 * np.abs(phi) ** 1.5 + _wander(rng, n, 1.5)
    coronal = np.stack([b * np.sin(phi), back, h * np.cos(phi) + 0.0 * phi], axis=1)
    rise = d.lambda_height - 22.0
    at = np.linspace(d.coronal_suture - s.vault_centre_y, 0.82 * a, n)
    top = h * np.sqrt(np.clip(1 - (at / a) ** 2, 0.02, 1))
    sagittal = np.stack([_wander(rng, n, 1.6), at, top], axis=1)
    along = np.linspace(0, 1, n // 2)
    lambdoid = []
    for side in (1.0, -1.0):
        x = side * (58.0 * along) + _wander(rng, n // 2, 0.8)
        z = rise - (rise + 24.0) * along**1.15 + _wander(rng, n // 2, 2.2)
        lambdoid.append(np.stack([x, 0.80 * a - 26.0 * along**2, z], axis=1))
    return [(coronal, 1.2, 0.16), (sagittal, 1.2, 0.12), *((line, 1.3, 0.18) for line in lambdoid)]


def _grooves(head: Head, rng: np.random.Generator) -> list[tuple[Array, float, float]]:
    """The middle meningeal artery on each side, branching upwards and back, and a vein or two."""
    b = head.half_breadth
    lines: list[tuple[Array, float, float]] = []
    for side in (1.0, -1.0):
        start, lean = np.array([-30.0 + rng.normal(0, 4), -18.0]), rng.uniform(75, 100)
        trunk = _branch(rng, start, lean, 70.0)
        lines.append((_beside(trunk, side * b), 1.8, 0.11))
        for _ in range(int(rng.integers(2, 5))):
            at = trunk[int(rng.integers(8, len(trunk) - 4))]
            branch = _branch(rng, at, lean - rng.uniform(25, 70), rng.uniform(35, 75))
            lines.append((_beside(branch, side * b), 1.3, 0.08))
        if rng.random() < 0.6:
            vein = _branch(rng, np.array([rng.uniform(-10, 40), rng.uniform(0, 50)]), rng.uniform(20, 160), 40.0)
            lines.append((_beside(vein, side * b), 2.8, 0.06))
    return lines


def _branch(rng: np.random.Generator, start: Array, degrees: float, length: float) -> Array:
    """(n, 2) y and z of a winding line: 0 degrees is backwards, 90 upwards."""
    count = max(6, int(length / 2.0))
    course = np.radians(degrees + np.cumsum(rng.normal(0, 5.5, count)) - np.linspace(0, 18, count))
    steps = 2.0 * np.stack([np.cos(course), np.sin(course)], axis=1)
    return np.asarray(start + np.cumsum(steps, axis=0))


def _beside(path: Array, x: float) -> Array:
    return np.stack([np.full(len(path), x), path[:, 0], path[:, 1]], axis=1)
