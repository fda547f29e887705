"""Implicit surfaces: signed distances in millimetres (negative inside), smooth unions, and painting by partial volume.

Ellipsoid and capsule distances and the polynomial smooth minimum follow the well known first-order forms of
I. Quilez, "Distance functions" and "Smooth minimum" (iquilezles.org).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
Matrix = NDArray[np.float64]
Vector = Sequence[float]
Box = tuple[NDArray[np.float64], NDArray[np.float64]]

FAR = np.float32(1e3)


@dataclass(frozen=True, slots=True)
class Points:
    """Sampling points: three float32 arrays of one shape, in the frame of the anatomy."""

    x: Field
    y: Field
    z: Field

    def at(self, window: tuple[slice, ...]) -> Points:
        return Points(self.x[window], self.y[window], self.z[window])

    def mirrored(self) -> Points:
        """The other side: what is left of the midline becomes right."""
        return Points(-self.x, self.y, self.z)

    def turned(self, rotation: Matrix, about: Vector) -> Points:
        """The points as seen from a frame that was turned by ``rotation`` about a point."""
        q = [self.x - _f(about[0]), self.y - _f(about[1]), self.z - _f(about[2])]
        r = rotation.astype(np.float32)
        x, y, z = (q[0] * r[0, n] + q[1] * r[1, n] + q[2] * r[2, n] + _f(about[n]) for n in range(3))
        return Points(x, y, z)


Transform = Callable[[Points], Points]


class Shape(Protocol):
    """A closed surface."""

    def box(self) -> Box:
        """Lowest and highest corner of a box that holds the surface."""
        ...

    def distance(self, p: Points) -> Field:
        """Signed distance, to first order."""
        ...


@dataclass(frozen=True, slots=True)
class Ellipsoid:
    """``turn`` rotates it about its centre: (about x, about y, about z) in degrees."""

    centre: Vector
    radii: Vector
    turn: Vector | None = None

    def box(self) -> Box:
        centre, radii = np.asarray(self.centre, float), np.asarray(self.radii, float)
        reach = radii if self.turn is None else np.full(3, radii.max())
        return centre - reach, centre + reach

    def distance(self, p: Points) -> Field:
        if self.turn is not None:
            p = p.turned(rotation(*self.turn), self.centre)
        c, r = self.centre, self.radii
        qx, qy, qz = ((p.x - _f(c[0])) / _f(r[0]), (p.y - _f(c[1])) / _f(r[1]), (p.z - _f(c[2])) / _f(r[2]))
        np.square(qx, out=qx)
        np.square(qy, out=qy)
        np.square(qz, out=qz)
        outer = qx + qy
        outer += qz
        qx *= _f(r[0] ** -2.0)
        qy *= _f(r[1] ** -2.0)
        qz *= _f(r[2] ** -2.0)
        qx += qy
        qx += qz
        inner = np.sqrt(qx, out=qx)
        np.sqrt(outer, out=outer)
        inner += _f(1e-6)
        result = outer - _f(1.0)
        result *= outer
        result /= inner
        # At the very centre that form is 0/0; the smallest radius is the true depth there.
        return np.where(outer < _f(0.05), _f(-min(r)), result)


@dataclass(frozen=True, slots=True)
class Chain:
    """Round-ended rods end to end through ``knots``; ``scale`` < 1 makes them that much wider along an axis.

    ``radii`` is one radius for all or one for each knot.
    """

    knots: Sequence[Vector]
    radii: float | Sequence[float]
    scale: Vector = (1.0, 1.0, 1.0)

    def _radii(self) -> list[float]:
        return [float(self.radii)] * len(self.knots) if isinstance(self.radii, float | int) else list(self.radii)

    def box(self) -> Box:
        knots = np.asarray(self.knots, float)
        reach = max(self._radii()) / np.asarray(self.scale, float)
        return knots.min(axis=0) - reach, knots.max(axis=0) + reach

    def distance(self, p: Points) -> Field:
        radii = self._radii()
        scaled = Points(*(v if k == 1 else v * _f(k) for v, k in zip((p.x, p.y, p.z), self.scale, strict=True)))
        knots = np.asarray(self.knots, float) * np.asarray(self.scale, float)
        result = _rod(scaled, knots[0], knots[1], radii[0], radii[1])
        for n in range(1, len(knots) - 1):
            np.minimum(result, _rod(scaled, knots[n], knots[n + 1], radii[n], radii[n + 1]), out=result)
        return result


def _rod(p: Points, start: Matrix, end: Matrix, radius: float, end_radius: float) -> Field:
    axis = (end - start).astype(np.float32)
    px, py, pz = p.x - _f(start[0]), p.y - _f(start[1]), p.z - _f(start[2])
    along = px * axis[0]
    along += py * axis[1]
    along += pz * axis[2]
    along *= _f(1.0 / max(float(axis @ axis), 1e-9))
    np.clip(along, 0, 1, out=along)
    px -= along * axis[0]
    py -= along * axis[1]
    pz -= along * axis[2]
    px *= px
    py *= py
    pz *= pz
    px += py
    px += pz
    np.sqrt(px, out=px)
    px -= _f(radius)
    if end_radius != radius:
        along *= _f(end_radius - radius)
        px -= along
    return px


def rotation(about_x: float, about_y: float, about_z: float) -> Matrix:
    """A (3, 3) rotation: about x, then y, then z; degrees."""
    a, b, c = np.radians([about_x, about_y, about_z])
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    result: Matrix = z @ y @ x
    return result


def join(a: Field, b: Field, blend: float) -> Field:
    """Smooth union: like the minimum, with a fillet of ``blend`` millimetres."""
    gap = a - b
    np.abs(gap, out=gap)
    np.subtract(_f(blend), gap, out=gap)
    np.maximum(gap, 0, out=gap)
    gap *= gap
    gap *= _f(-0.25 / blend)
    gap += np.minimum(a, b)
    return gap


def cut(a: Field, b: Field, blend: float) -> Field:
    """Smooth difference: ``a`` without ``b``."""
    return -join(-a, b, blend)


def inside(distance: Field, edge: float) -> Field:
    """Partial volume in [0, 1] of what lies inside, with an edge that is ``edge`` millimetres wide."""
    result = distance * _f(-1.0 / edge)
    result += _f(0.5)
    np.clip(result, 0, 1, out=result)
    return result


def lay(image: Field, distance: Field, value: float | Field, edge: float) -> None:
    """Lays a tissue over ``image`` (changed in place) wherever ``distance`` is negative."""
    share = inside(distance, edge)
    share *= value - image
    image += share


def step(values: Field, centre: float, width: float) -> Field:
    """A smooth rise from 0 to 1 around ``centre``."""
    t = (values - _f(centre - width / 2)) * _f(1.0 / width)
    np.clip(t, 0, 1, out=t)
    result: Field = t * t * (_f(3.0) - _f(2.0) * t)
    return result


def _f(value: float) -> np.float32:
    return np.float32(value)
