"""Vessels of the lungs: trees that divide the lung among their branches, a person's own, carried along by the breath.

A branch heads for the middle of all the places it has to supply, then splits them between two daughters along their
greatest spread; radii add up by a power law (C. D. Murray, "The physiological principle of minimum work", 1926).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from training.cohort.implicit import Matrix
from training.cohort.projection import Splats, gather
from training.cohort.thorax.frame import Chest
from training.cohort.thorax.heart import hilum

BLOOD = 45.0
# Millimetres of a usual lung along across, back and up: what makes distances in it comparable.
_SIZE = np.array([120.0, 82.0, 225.0])
_ARTERY_ROOT, _VEIN_ROOT = np.array([0.36, 0.22, 0.50]), np.array([0.27, 0.12, 0.40])
_ARTERY_LEAVES, _VEIN_LEAVES = 420, 200
_POWER = 2.9
_LEAF = 0.58


@dataclass(frozen=True, slots=True)
class Tree:
    """Branches in lung places (:meth:`~training.cohort.thorax.frame.Chest.lung_point`): three (n, 3) points each, its
    start, middle and end, and (n,) radii in millimetres."""

    side: int
    start: Matrix
    middle: Matrix
    end: Matrix
    radius: Matrix


@lru_cache(maxsize=8)
def trees(seed: int) -> tuple[Tree, ...]:
    """Arteries and veins of both lungs of a person."""
    rng = np.random.Generator(np.random.PCG64(seed))
    made = []
    for side in (1, -1):
        made.append(_grow(rng, side, _ARTERY_ROOT, _ARTERY_LEAVES))
        made.append(_grow(rng, side, _VEIN_ROOT, _VEIN_LEAVES))
    return tuple(made)


def _grow(rng: np.random.Generator, side: int, root: Matrix, leaves: int) -> Tree:
    segments: list[tuple[Matrix, Matrix, int]] = []
    # The stem gives its first branches off from above downwards.
    waiting = []
    sectors = [_places(rng, leaves)]
    for _ in range(3):
        sectors = [half for sector in sectors for half in _split(rng, sector, sector.mean(axis=0))]
    for sector in sectors:
        height = np.clip((sector[:, 2].mean() - root[2]) * 0.3, -0.09, 0.04)
        waiting.append((root + np.array([0.02, 0.0, 1.0]) * height, sector))
    while waiting:
        start, share = waiting.pop()
        if len(share) == 1:
            segments.append((start, share[0], 1))
            continue
        end = start + (share.mean(axis=0) - start) * rng.uniform(0.32, 0.5)
        segments.append((start, end, len(share)))
        waiting += [(end, half) for half in _split(rng, share, end)]
    start, end = np.array([s for s, _, _ in segments]), np.array([e for _, e, _ in segments])
    radius = _LEAF * np.array([n for _, _, n in segments], float) ** (1 / _POWER)
    bend = rng.normal(0, 0.07, start.shape) * np.linalg.norm((end - start) * _SIZE, axis=1, keepdims=True) / _SIZE
    return Tree(side, start, 0.5 * (start + end) + bend, end, radius)


def _split(rng: np.random.Generator, places: Matrix, seen_from: Matrix) -> tuple[Matrix, Matrix]:
    """Two parts of two or more places, apart along their greatest spread about a point."""
    spread = (places - seen_from) * _SIZE
    axis = np.linalg.eigh(spread.T @ spread)[1][:, -1] if len(places) > 2 else spread[0] - spread[1]
    order = np.argsort(spread @ axis)
    cut = int(np.clip(round(len(places) * rng.uniform(0.3, 0.7)), 1, len(places) - 1))
    return places[order[:cut]], places[order[cut:]]


def _places(rng: np.random.Generator, count: int) -> Matrix:
    """Evenly spread over a lung, none in the heart's place."""
    found = np.zeros((0, 3))
    while len(found) < count:
        p = rng.uniform([0.16, -0.93, 0.03], [0.96, 0.94, 0.96], (4 * count, 3))
        round_ = p[:, 0] ** 2 + p[:, 1] ** 2 - 0.36 * p[:, 0] ** 2 * p[:, 1] ** 2 < 0.9
        heart = (p[:, 0] < 0.5) & (p[:, 1] < 0.1) & (p[:, 2] < 0.5)
        found = np.concatenate([found, p[round_ & ~heart]])
    return found[:count]


def vessels(chest: Chest) -> tuple[Splats, Matrix]:
    """Beads of all vessels in the chest as it is, and for each the direction of its vessel (n, 3)."""
    parts, ways = [], []
    for number, tree in enumerate(trees(chest.shape.vessels)):
        carry = _carrier(chest, tree.side, vein=number % 2 == 1)
        start, middle, end = (carry(p) for p in (tree.start, tree.middle, tree.end))
        radius = tree.radius * chest.shape.vessel_prominence * (1.0 - 0.35 * chest.findings.emphysema)
        for a, b in ((start, middle), (middle, end)):
            beads, way = _beads(a, b, radius)
            parts.append(beads)
            ways.append(way)
        if number % 2 == 0:
            top, foot = hilum(chest, tree.side)
            width = np.array([7.6 * chest.shape.hilum_size])
            stem, way = _beads(top[None], foot[None], width)
            parts.append(stem)
            ways.append(way)
    return gather(parts), np.concatenate(ways)


def _carrier(chest: Chest, side: int, *, vein: bool) -> Callable[[Matrix], Matrix]:
    """Places in the lung to millimetres; near the root they are drawn to the real hilum."""
    top, foot = hilum(chest, side)
    root = _VEIN_ROOT if vein else _ARTERY_ROOT
    pulled = (foot + np.array([-side * 6.0, -8.0, 0.0]) if vein else 0.5 * (top + foot)) - chest.lung_point(side, *root)

    def carry(places: Matrix) -> Matrix:
        points = chest.lung_point(side, places[:, 0], places[:, 1], places[:, 2])
        away = np.linalg.norm((places - root) * _SIZE, axis=1, keepdims=True)
        result: Matrix = points + pulled * np.exp(-away / 45.0)
        return result

    return carry


def _beads(start: Matrix, end: Matrix, radius: Matrix) -> tuple[Splats, Matrix]:
    """Straight vessels as rows of balls, near enough to each other that their sum is smooth."""
    length = np.linalg.norm(end - start, axis=1)
    counts = np.maximum(2, (length / np.maximum(1.1, 0.85 * radius)).astype(int))
    which = np.repeat(np.arange(len(counts)), counts)
    first = np.repeat(np.cumsum(counts) - counts, counts)
    along = ((np.arange(len(which)) - first + 0.5) / counts[which])[:, None]
    size = radius[which]
    spacing = (length / counts)[which]
    way = ((end - start) / np.maximum(length, 1e-6)[:, None])[which]
    frame: NDArray[np.float64] = np.broadcast_to(np.eye(3), (len(which), 3, 3))
    centres = start[which] + (end - start)[which] * along
    return Splats(centres, frame, np.repeat(size[:, None], 3, axis=1), spacing / (1.57 * size)), way


def bronchi(beads: Splats, ways: Matrix, thinnest: float = 1.5) -> Splats:
    """Airways beside the larger arteries, as wide as they."""
    wide = beads.radii[:, 0] > thinnest
    aside = np.cross(ways[wide], np.array([0.35, -0.8, 0.2]))
    aside /= np.maximum(np.linalg.norm(aside, axis=1, keepdims=True), 1e-6)
    radii = np.minimum(beads.radii[wide] * 0.8, 3.6)
    centres = beads.centres[wide] + aside * (beads.radii[wide] + radii + 0.4)
    return Splats(centres, beads.axes[wide], radii, beads.weights[wide])
