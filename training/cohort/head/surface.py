"""Rays onto the skin of a head: where they meet it, which way it faces there, and how open it lies to light."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.cohort.head.cloud import Cloud
from training.cohort.head.frame import Head
from training.cohort.implicit import Field, Matrix
from training.cohort.sampling import Grid, Slab

_STEPS = 64
_FAR = np.float32(9.0)
_CAREFUL, _LEAST = 0.8, 0.5
_NEAR, _GRAZING = 0.25, 1.5
# Every so many pixels a ray goes ahead; the others start this many millimetres before where their neighbours met it.
_EVERY, _BACK = 4, 12.0
# The shadow map: millimetres of a cell, and where it is read around each point.
_SHADOW = 2.4
_TAPS = [(y, x) for y in (-1.3, -0.4, 0.5, 1.4) for x in (-1.4, -0.5, 0.4, 1.3)]
# Corners of a tetrahedron: four values give distance and normal at once.
_CORNERS = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], float)
_OFFSET = 0.45  # mm

Surface = Callable[[Slab], Field]


@dataclass(frozen=True, slots=True)
class Tracer:
    """A surface sampled on a grid for marching, and the surface itself for the last step.

    ``surface`` gives signed distances on a slab. Points and directions are in the head's own frame.
    """

    surface: Surface
    warp: tuple[tuple[float, ...], ...]
    field: Field
    low: Matrix
    spacing: float

    @classmethod
    def of(cls, surface: Surface, head: Head, low: Matrix, high: Matrix, spacing: float = 2.4) -> Tracer:
        """Samples a box between two corners every ``spacing`` millimetres."""
        count = [int((b - a) / spacing) + 2 for a, b in zip(low, high, strict=True)]
        grid = Grid((count[2], count[1], count[0]), (spacing,) * 3, (low[2], low[1], low[0]), np.eye(3), np.zeros(3))
        field = np.empty(grid.shape, np.float32)
        for part, slab in grid.slabs(24, head.shape.warp):
            field[part] = surface(slab)
        # Shapes are only evaluated near themselves: beyond that a distance says no more than "far".
        np.minimum(field, _FAR, out=field)
        return cls(surface, head.shape.warp, field, np.asarray(low, float), spacing)

    def near(self, points: Matrix) -> NDArray[np.float64]:
        """Distances of (n, 3) points by interpolation; outside the grid those at its border."""
        from scipy.ndimage import map_coordinates

        index = ((points - self.low) / self.spacing).T[::-1]
        return np.asarray(map_coordinates(self.field, index, order=1, mode="nearest", output=float))

    def exact(self, points: Matrix) -> tuple[Matrix, Matrix]:
        """Distance (n,) and outward normal (n, 3) at points near the surface."""
        corners = (points[None] + _OFFSET * _CORNERS[:, None]).reshape(-1, 3)
        cloud = Cloud(corners, self.warp)
        values = cloud.in_order(self.surface(cloud)).reshape(4, -1).astype(float)
        slope = values.T @ _CORNERS
        return values.mean(axis=0), slope / np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), 1e-9)

    def picture(self, start: Matrix, rays: Matrix) -> tuple[NDArray[np.bool_], Matrix]:
        """Where rays (rows, columns, 3) of one camera hit: bool (rows, columns), and the points (rows, columns, 3)."""
        from scipy.ndimage import minimum_filter

        rows, columns = rays.shape[:2]
        few = rays[::_EVERY, ::_EVERY]
        hit, reach = self.meet(np.broadcast_to(start, few.shape).reshape(-1, 3), few.reshape(-1, 3))
        rough = minimum_filter(np.where(hit, reach, np.inf).reshape(few.shape[:2]), 3, mode="nearest")
        begin = rough.repeat(_EVERY, 0).repeat(_EVERY, 1)[:rows, :columns].ravel()
        wanted = np.flatnonzero(np.isfinite(begin))
        flat = rays.reshape(-1, 3)
        found, reach = self.meet(np.broadcast_to(start, (len(wanted), 3)), flat[wanted], begin[wanted] - _BACK)
        seen = np.zeros(len(flat), bool)
        seen[wanted] = found
        points = np.zeros_like(flat)
        points[wanted] = start + flat[wanted] * reach[:, None]
        return seen.reshape(rows, columns), points.reshape(rows, columns, 3)

    def meet(self, start: Matrix, ray: Matrix, after: Matrix | float = 0.0) -> tuple[NDArray[np.bool_], Matrix]:
        """Sphere tracing of rays (n, 3) from a distance on: which hit, and how far (n,) they got."""
        first, last = self._inside(start, ray)
        reach = np.maximum(first, after)
        hit = np.zeros(len(ray), bool)
        active = np.flatnonzero(last > reach)
        for _ in range(_STEPS):
            if not len(active):
                break
            distance = self.near(start[active] + ray[active] * reach[active, None])
            done = distance < _NEAR
            hit[active[done]] = True
            active, distance = active[~done], distance[~done]
            reach[active] += np.maximum(_CAREFUL * distance, _LEAST)
            active = active[reach[active] < last[active]]
        # What creeps along the surface for so long is as good as upon it.
        hit[active] = self.near(start[active] + ray[active] * reach[active, None]) < _GRAZING
        return hit, reach

    def lit(self, points: Matrix, light: Matrix) -> NDArray[np.float64]:
        """Share of a distant light in the unit direction ``light`` that reaches points (n, 3): a soft shadow map."""
        across = np.cross(light, [0.0, 0.0, 1.0] if abs(light[2]) < 0.9 else [0.0, 1.0, 0.0])
        across /= np.linalg.norm(across)
        up = np.cross(across, light)
        high = self.low + self.spacing * (np.array(self.field.shape[::-1]) - 1)
        corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)]) * (high - self.low) + self.low
        plane = np.stack([corners @ across, corners @ up], axis=1)
        edge, far = plane.min(axis=0), float((corners @ light).max()) + 1.0
        count = np.ceil((plane.max(axis=0) - edge) / _SHADOW).astype(int) + 1
        v, u = np.mgrid[: count[1], : count[0]] * _SHADOW
        start = (edge[0] + u.ravel())[:, None] * across + (edge[1] + v.ravel())[:, None] * up + far * light
        hit, reach = self.meet(start, np.broadcast_to(-light, start.shape))
        depth = np.where(hit, reach, 1e4).reshape(v.shape)
        column, row = (points @ across - edge[0]) / _SHADOW, (points @ up - edge[1]) / _SHADOW
        own = far - points @ light
        share = np.zeros(len(points))
        for dy, dx in _TAPS:
            at = (np.clip(np.rint(n + d), 0, size - 1).astype(int)
                  for n, d, size in zip((row, column), (dy, dx), depth.shape, strict=True))  # fmt: skip
            share += np.clip((depth[tuple(at)] - own) / 3.0 + 2.0, 0, 1)
        return np.asarray(share / len(_TAPS))

    def open(self, points: Matrix, normals: Matrix) -> NDArray[np.float64]:
        """Ambient occlusion in [0, 1]: 1 where nothing stands around."""
        shade = np.zeros(len(points))
        for far, weight in ((2.5, 0.45), (5.5, 0.35), (9.0, 0.3)):
            shade += weight * np.clip(1.0 - self.near(points + normals * far) / far, 0, 1)
        return np.clip(1.0 - shade, 0, 1)

    def _inside(self, start: Matrix, ray: Matrix) -> tuple[Matrix, Matrix]:
        """Where rays enter and leave the grid's box."""
        high = self.low + self.spacing * (np.array(self.field.shape[::-1]) - 1)
        safe = np.where(np.abs(ray) < 1e-9, 1e-9, ray)
        a, b = (self.low - start) / safe, (high - start) / safe
        return np.minimum(a, b).max(axis=1), np.maximum(a, b).min(axis=1)
