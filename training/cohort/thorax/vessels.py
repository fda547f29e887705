"""Pulmonary vessels: a tree that branches from each hilum, the same for a person at every visit."""

from __future__ import annotations

import numpy as np

from training.cohort.implicit import Matrix
from training.cohort.projection import Splats, gather, rod
from training.cohort.thorax.cage import Chest

_BLOOD_OVER_LUNG = 0.0175
_GENERATIONS = 6


def vessels(chest: Chest) -> Splats:
    """Splats of all vessels; their attenuation is what they add to lung."""
    s = chest.shape
    rng = np.random.Generator(np.random.PCG64(s.vessels))
    parts: list[Splats] = []
    lift = 0.4 * (chest.dome(1) - (s.dome_right - s.dome_difference))
    for side in (1, -1):
        hilum = np.array([side * 27.0, -20.0, s.hilum_height + lift + (8.0 if side > 0 else 0.0)])
        trunk = hilum + np.array([side * 14.0, 4.0, -34.0])
        width = 7.2 * s.hilum_size
        parts.append(rod(np.stack([hilum, trunk]), np.array([0, 1.0, 0]), (width, width), _BLOOD_OVER_LUNG))
        for n in range(10):
            angle = np.radians(82.0 - 18.5 * n + rng.normal(0, 7))
            depth = rng.normal(0, 0.45)
            way = np.array([side * max(0.25, np.cos(angle)), depth, np.sin(angle)])
            start = hilum + (trunk - hilum) * min(1.0, max(0.0, (n - 2) / 5.0))
            radius = s.vessel_prominence * rng.uniform(3.0, 4.6)
            _grow(parts, rng, start, way / np.linalg.norm(way), radius, rng.uniform(22, 34), _GENERATIONS)
    return gather(parts)


def _grow(
    parts: list[Splats], rng: np.random.Generator, start: Matrix, way: Matrix, radius: float, length: float, left: int
) -> None:
    end = start + way * length
    bend = 0.5 * (start + end) + rng.normal(0, 0.06 * length, 3)
    tip = radius * 0.82
    radii = np.array([[radius, radius], [0.5 * (radius + tip)] * 2, [tip, tip]])
    parts.append(
        rod(np.stack([start, bend, end]), np.array([0.3, 0.9, 0.3]), radii, _BLOOD_OVER_LUNG, max(1.0, 0.8 * radius))
    )
    if left == 0 or radius < 0.35:
        return
    for share in (rng.uniform(0.72, 0.84), rng.uniform(0.55, 0.75)):
        turn = rng.normal(0, 0.42, 3)
        onward = way + turn
        _grow(
            parts, rng, end, onward / np.linalg.norm(onward), radius * share, length * rng.uniform(0.72, 0.9), left - 1
        )
