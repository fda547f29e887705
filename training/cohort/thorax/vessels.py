"""Pulmonary vessels: a tree that branches from each hilum, the same for a person at every visit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.cohort.implicit import Matrix
from training.cohort.projection import Splats, gather
from training.cohort.thorax.cage import Chest

_BLOOD_OVER_LUNG = 0.0175
_TRUNKS = 10
_GENERATIONS = 6
_THINNEST = 0.35


@dataclass(frozen=True, slots=True)
class _Twigs:
    """One generation of branches: (n, 3) starts and unit directions, (n,) radii and lengths."""

    start: Matrix
    way: Matrix
    radius: Matrix
    length: Matrix

    @property
    def end(self) -> Matrix:
        return self.start + self.way * self.length[:, None]


def vessels(chest: Chest) -> Splats:
    """Splats of all vessels; their attenuation is what they add to lung."""
    rng = np.random.Generator(np.random.PCG64(chest.shape.vessels))
    parts: list[Splats] = []
    for side in (1, -1):
        hilum, foot = _hilum(chest, side)
        width = 7.2 * chest.shape.hilum_size
        parts.append(_beads(hilum[None], foot[None], np.array([width]), np.array([width])))
        twigs = _trunks(rng, chest, side, hilum, foot)
        for _ in range(_GENERATIONS + 1):
            middle = 0.5 * (twigs.start + twigs.end) + rng.normal(0, 0.06, twigs.start.shape) * twigs.length[:, None]
            parts.append(_beads(twigs.start, middle, twigs.radius, 0.91 * twigs.radius))
            parts.append(_beads(middle, twigs.end, 0.91 * twigs.radius, 0.82 * twigs.radius))
            twigs = _branch(rng, twigs)
    return gather(parts)


def _hilum(chest: Chest, side: int) -> tuple[Matrix, Matrix]:
    """Both ends of the large artery of a lung; it moves with the diaphragm, but less."""
    s = chest.shape
    lift = 0.4 * (chest.dome(1) - (s.dome_right - s.dome_difference))
    hilum = np.array([side * 27.0, -20.0, s.hilum_height + lift + (8.0 if side > 0 else 0.0)])
    return hilum, hilum + np.array([side * 14.0, 4.0, -34.0])


def _trunks(rng: np.random.Generator, chest: Chest, side: int, hilum: Matrix, foot: Matrix) -> _Twigs:
    n = np.arange(_TRUNKS)
    angle = np.radians(82.0 - 18.5 * n + rng.normal(0, 7, _TRUNKS))
    way = np.stack([side * np.maximum(0.25, np.cos(angle)), rng.normal(0, 0.45, _TRUNKS), np.sin(angle)], axis=1)
    start = hilum + (foot - hilum) * np.clip((n - 2) / 5.0, 0, 1)[:, None]
    radius = chest.shape.vessel_prominence * rng.uniform(3.0, 4.6, _TRUNKS)
    return _Twigs(start, way / np.linalg.norm(way, axis=1, keepdims=True), radius, rng.uniform(22, 34, _TRUNKS))


def _branch(rng: np.random.Generator, twigs: _Twigs) -> _Twigs:
    """Each branch forks into a stronger and a weaker one."""
    count = len(twigs.radius)
    way = np.repeat(twigs.way, 2, axis=0) + rng.normal(0, 0.42, (2 * count, 3))
    share = np.stack([rng.uniform(0.72, 0.84, count), rng.uniform(0.55, 0.75, count)], axis=1).ravel()
    radius = np.repeat(twigs.radius, 2) * share
    length = np.repeat(twigs.length, 2) * rng.uniform(0.72, 0.9, 2 * count)
    kept = radius > _THINNEST
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    return _Twigs(np.repeat(twigs.end, 2, axis=0)[kept], way[kept], radius[kept], length[kept])


def _beads(start: Matrix, end: Matrix, radius: Matrix, tip: Matrix) -> Splats:
    """Straight vessels as rows of balls, near enough to each other that their sum is smooth."""
    length = np.linalg.norm(end - start, axis=1)
    counts = np.maximum(2, (length / np.maximum(1.0, 0.8 * radius)).astype(int))
    which = np.repeat(np.arange(len(counts)), counts)
    first = np.repeat(np.cumsum(counts) - counts, counts)
    along = ((np.arange(len(which)) - first + 0.5) / counts[which])[:, None]
    size = radius[which] + (tip - radius)[which] * along[:, 0]
    spacing = (length / counts)[which]
    return Splats(
        start[which] + (end - start)[which] * along,
        np.broadcast_to(np.eye(3), (len(which), 3, 3)),
        np.repeat(size[:, None], 3, axis=1),
        _BLOOD_OVER_LUNG * spacing / (2.0 * size),
    )
