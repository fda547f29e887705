"""The retinal vessels of one eye: arteries and veins from the disc along the arcades to the last twig.

Main branches follow the arcades that the eye's measures describe. All finer ones are grown towards points that want
blood by a greedy tree that balances vessel length against the way to the disc (Cuntz et al. 2010, PLoS Comput Biol
6:e1000877), and calibres follow from what each part supplies (Murray 1926; the exponent is the eye's own).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from training.cohort.chance import stream
from training.cohort.eye.shape import EyeShape

Points = NDArray[np.float64]

_MAIN_STEP = 0.42
_POINT_STEP = 0.06
_REACH = 9.8  # mm around the fovea and around the disc that are supplied
_AVASCULAR = 0.24  # radius around the centre of the fovea without vessels (Chui et al. 2012)
_MAKES_ROOM = 0.9  # radius within which vessels are pushed out of it
_WAY = 0.20  # how dear the way to the disc is against the length of a new piece
_TURN = 0.85  # how dear it is to turn
_MACULA = 3.2  # radius around the fovea in which vessels run towards it
_OUTWARDS = 1.5  # how dear it is there to run away from it
_TWIG_WAY = 3.0  # how dear a twig of the disc begins: the arcades supply the macula


@dataclass(frozen=True, slots=True, eq=False)
class Branch:
    """One vessel from where it leaves its parent: ``points`` (n, 2) and ``widths`` (n,), millimetres."""

    points: Points
    widths: Points


@dataclass(frozen=True, slots=True, eq=False)
class VesselTree:
    """All vessels of an eye, in the eye's frame; thick ones first."""

    arteries: tuple[Branch, ...]
    veins: tuple[Branch, ...]


@lru_cache(maxsize=4)
def vessel_tree(eye: EyeShape) -> VesselTree:
    """The tree of an eye; the same eye has the same tree. The last few are kept, a study shows each eye twice."""
    ways = _Arcades(eye)
    arteries = _grow(eye, "artery", ways)
    return VesselTree(arteries, _grow(eye, "vein", ways))


class _Arcades:
    """Middle lines between which artery and vein of each quadrant weave: superior, inferior; temporal, nasal."""

    def __init__(self, eye: EyeShape) -> None:
        self.eye = eye
        self.rng = stream(eye.seed, "arcades")
        self._shift = {q: self.rng.normal(0, 0.22, (8, 2)) for q in range(4)}
        self._nasal = {up: self.rng.normal(48.0, 9.0) for up in (1, -1)}
        # Whether the vein lies outside the artery where each arcade begins; they change places where they cross.
        self._outside = {q: 1.0 if self.rng.random() < 0.6 else -1.0 for q in range(4)}
        self._crossing = {q: self.rng.uniform(0.5, 2.6) for q in range(4)}

    def line(self, kind: str, quadrant: int) -> Points:
        """Points of one main branch, closely spaced, beginning in the cup."""
        eye, up = self.eye, (1 if quadrant % 2 == 0 else -1)
        rng = stream(eye.seed, "arcade", kind, quadrant)
        knots = self._temporal(up) if quadrant < 2 else self._nasal_line(up)
        weight = np.linspace(0.0, 1.0, len(knots))[:, None]
        knots = knots + self._shift[quadrant][: len(knots)] * weight
        knots[2:] += rng.normal(0, 0.07, knots[2:].shape)
        # The temporal and the nasal branch leave the cup as one vessel, which leans as it likes.
        lean = stream(eye.seed, "lean", kind, up).normal(0.0, 0.10, 3)
        knots[0] += [0.25 * lean[2], -0.02 * up]
        knots[1] += [lean[0], 0.3 * lean[1]]
        line = smooth_line(knots, _MAIN_STEP)
        for _ in range(4):  # an arcade has no corners
            line[2:-1] += 0.5 * (0.5 * (line[1:-2] + line[3:]) - line[2:-1])
        normal = normals(line)
        along = np.arange(len(line)) * _MAIN_STEP
        side = self._outside[quadrant] * (1 if kind == "vein" else -1) * up * (1 if quadrant < 2 else -1)
        apart = 0.29 * np.cos(along / (1.6 + self._crossing[quadrant])) + 0.10 * np.sin(along / 1.9 + quadrant)
        apart = apart * np.clip((along - 0.6) / 1.8, 0.0, 1.0) * (1.0 + 0.12 * along / 4.0)
        # In the disc the vein lies temporal of the artery.
        beside = np.array([0.055 if kind == "artery" else -0.055, 0.0]) * np.clip(1.4 - along, 0.0, 1.0)[:, None]
        return np.asarray(line - normal * (side * apart)[:, None] + beside)

    def _start(self, up: int) -> Points:
        eye = self.eye
        width = eye.disc_height * eye.disc_ovality
        return np.asarray(np.array(eye.disc) + np.array([eye.trunk_shift * width, up * 0.01 * eye.disc_height]))

    def _temporal(self, up: int) -> Points:
        eye = self.eye
        x, y = eye.disc
        high = eye.arcade_superior if up > 0 else eye.arcade_inferior
        half = eye.disc_height / 2
        knots = [
            self._start(up),
            (x + 0.02, y + up * half),
            (x - 0.42, y + up * (half + 0.34 * (high - half))),
            (x - 1.45, y * 0.7 + up * 0.80 * high),
            (x * 0.32, up * 0.97 * high),
            (-0.28 * eye.arcade_reach, up * 0.93 * high),
            (-0.72 * eye.arcade_reach, up * 0.66 * high),
            (-1.05 * eye.arcade_reach, up * 0.42 * high),
        ]
        return np.array(knots)

    def _nasal_line(self, up: int) -> Points:
        eye = self.eye
        x, y = eye.disc
        half = eye.disc_height / 2
        angle = np.radians(self._nasal[up])
        far = [(r * np.cos(angle * (1 - 0.03 * r)), up * r * np.sin(angle * (1 - 0.03 * r))) for r in (2.0, 4.0, 7.0)]
        knots = [self._start(up), (x + 0.40 * half * np.cos(angle) + 0.06, y + up * half * 0.85)]
        return np.array(knots + [(x + a, y + b) for a, b in far])

    def twigs(self, kind: str) -> list[Points]:
        """Small vessels straight from the disc: towards the macula, and to the nose."""
        eye = self.eye
        rng = stream(eye.seed, "disc twigs", kind)
        x, y = eye.disc
        width = eye.disc_height * eye.disc_ovality
        angles = [180 + rng.choice([-1, 1]) * rng.uniform(14, 46) for _ in range(int(rng.integers(1, 3)))]
        angles += [rng.uniform(-30, 30)]
        result = []
        for angle in np.radians(angles):
            direction = np.array([np.cos(angle), np.sin(angle)])
            begin = self._start(1)
            end = np.array([x, y]) + direction * (width * 0.5 + rng.uniform(0.5, 1.0))
            bend = np.array([-direction[1], direction[0]]) * rng.normal(0, 0.12)
            result.append(smooth_line(np.array([begin, (begin + end) / 2 + bend, end]), _MAIN_STEP))
        return result


def smooth_line(knots: Points, step: float) -> Points:
    """Points about every ``step`` along a smooth curve through ``knots`` (n, 2): cubic Hermite pieces."""
    lengths = np.sqrt(np.square(np.diff(knots, axis=0)).sum(axis=1)) + 1e-9
    at = np.concatenate([[0.0], np.cumsum(np.sqrt(lengths))])  # centripetal: no loops where knots crowd
    run = np.concatenate([[0.0], np.cumsum(lengths)])
    slope = np.empty_like(knots)
    slope[1:-1] = (knots[2:] - knots[:-2]) / (at[2:] - at[:-2])[:, None]
    slope[0], slope[-1] = (knots[1] - knots[0]) / at[1], (knots[-1] - knots[-2]) / (at[-1] - at[-2])
    where = np.interp(np.linspace(0, run[-1], max(3, round(run[-1] / step) + 1)), run, at)
    piece = np.clip(np.searchsorted(at, where, side="right") - 1, 0, len(knots) - 2)
    wide = at[piece + 1] - at[piece]
    t = ((where - at[piece]) / wide)[:, None]
    wide = wide[:, None]
    ends = (1 + 2 * t) * (1 - t) ** 2 * knots[piece] + t * t * (3 - 2 * t) * knots[piece + 1]
    return np.asarray(ends + wide * (t * (1 - t) ** 2 * slope[piece] + t * t * (t - 1) * slope[piece + 1]))


def normals(line: Points) -> Points:
    """Unit vectors to the left of a line, at each of its points."""
    along = np.empty_like(line)
    along[1:-1] = line[2:] - line[:-2]
    along[0], along[-1] = line[1] - line[0], line[-1] - line[-2]
    along /= np.sqrt(np.square(along).sum(axis=1, keepdims=True)) + 1e-12
    return np.stack([-along[:, 1], along[:, 0]], axis=1)


def _thirsty(eye: EyeShape, kind: str, mains: Points) -> Points:
    """Points that want blood: an uneven lattice over the retina, closer in the macula, none where no vessel goes."""
    rng = stream(eye.seed, "thirsty", kind)
    disc = np.array(eye.disc)
    points = []
    for spacing, middle, reach in ((0.92, disc / 2, _REACH + disc[0] / 2), (0.60, np.zeros(2), 2.3)):
        spacing = spacing / eye.branch_density
        n = int(reach / spacing) + 1
        column, row = np.meshgrid(np.arange(-n, n + 1.0), np.arange(-n, n + 1.0))
        lattice = np.stack([column + 0.5 * (row % 2), row * 0.866], axis=-1).reshape(-1, 2) * spacing
        turn = rng.uniform(0, np.pi)
        lattice = lattice @ np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        lattice += rng.normal(0, 0.30 * spacing, lattice.shape) + middle
        points.append(lattice[np.linalg.norm(lattice - middle, axis=1) < reach])
    both = np.concatenate(points)
    far = np.minimum(np.linalg.norm(both, axis=1), np.linalg.norm(both - disc, axis=1))
    centre = np.linalg.norm(both, axis=1)
    keep = (far < _REACH) & (centre > _AVASCULAR) & (np.linalg.norm(both - disc, axis=1) > 0.72 * eye.disc_height)
    both = both[keep]
    gap = np.linalg.norm(both[:, None] - mains[None], axis=2).min(axis=1)
    return np.asarray(both[gap > 0.35])


@dataclass(slots=True, eq=False)
class _Nodes:
    """A growing tree: where its nodes are, where each heads, its parent, and the way from the disc."""

    place: Points
    heading: Points
    way: Points
    parent: NDArray[np.int64]
    children: NDArray[np.int64]
    count: int


def _grow(eye: EyeShape, kind: str, ways: _Arcades) -> tuple[Branch, ...]:
    lines = [ways.line(kind, q) for q in range(4)] + ways.twigs(kind)
    wanted = _thirsty(eye, kind, np.concatenate(lines))
    nodes, roots = _planted(lines, len(wanted))
    _reach_all(nodes, wanted, _TURN * (0.6 + 0.8 * eye.branch_straightness))
    fixed = sum(len(line) for line in lines)
    return _branches(eye, kind, nodes, roots, fixed)


def _planted(lines: list[Points], room: int) -> tuple[_Nodes, list[int]]:
    total = sum(len(line) for line in lines) + room
    nodes = _Nodes(
        np.zeros((total, 2)), np.zeros((total, 2)), np.zeros(total), np.full(total, -1), np.zeros(total, np.int64), 0
    )
    roots = []
    for number, line in enumerate(lines):
        first, n = nodes.count, len(line)
        part = slice(first, first + n)
        nodes.place[part] = line
        along = np.gradient(line, axis=0)
        nodes.heading[part] = along / np.linalg.norm(along, axis=1, keepdims=True)
        # A main branch is a fast road: its way counts for less than that of a twig.
        nodes.way[part] = 0.55 * np.arange(n) * _MAIN_STEP + (_TWIG_WAY if number > 3 else 0.0)
        nodes.parent[first + 1 : first + n] = np.arange(first, first + n - 1)
        nodes.children[first : first + n - 1] = 1
        nodes.children[first : first + 3] = 2  # nothing branches off within the cup
        roots.append(first)
        nodes.count += n
    return nodes, roots


def _cost(nodes: _Nodes, index: NDArray[np.int64] | slice, points: Points, turn: float) -> Points:
    """(len(index), len(points)): what it costs to join each point to each node."""
    place, heading = nodes.place[index], nodes.heading[index]
    dx, dy = points[None, :, 0] - place[:, :1], points[None, :, 1] - place[:, 1:]
    length = np.sqrt(dx * dx + dy * dy) + 1e-9
    aligned = (dx * heading[:, :1] + dy * heading[:, 1:]) / length
    # Around the fovea every vessel runs inwards.
    middle_x, middle_y = points[None, :, 0] + place[:, :1], points[None, :, 1] + place[:, 1:]
    away = (dx * middle_x + dy * middle_y) / (length * np.sqrt(middle_x * middle_x + middle_y * middle_y) + 1e-9)
    near = np.maximum(0.0, 1.0 - (np.square(points).sum(axis=1) / _MACULA**2))[None]
    bent = turn * (1.0 - aligned) + _OUTWARDS * near * (1.0 + away)
    return np.asarray(length * (1.0 + bent) + _WAY * nodes.way[index][:, None])


def _reach_all(nodes: _Nodes, points: Points, turn: float) -> None:
    """Joins every point to the tree, the cheapest first; a node bears two children at most."""
    cost = _cost(nodes, slice(0, nodes.count), points, turn)
    cost[nodes.children[: nodes.count] >= 2] = np.inf
    best, owner = cost.min(axis=0), cost.argmin(axis=0)
    for _ in range(len(points)):
        while True:
            chosen = int(best.argmin())
            parent = int(owner[chosen])
            if nodes.children[parent] < 2:
                break
            own = _cost(nodes, slice(0, nodes.count), points[chosen : chosen + 1], turn)[:, 0]
            own[nodes.children[: nodes.count] >= 2] = np.inf
            best[chosen], owner[chosen] = own.min(), own.argmin()
        new = nodes.count
        step = points[chosen] - nodes.place[parent]
        length = float(np.hypot(step[0], step[1])) + 1e-9
        heading = 0.65 * step / length + 0.35 * nodes.heading[parent]
        nodes.place[new] = points[chosen]
        nodes.heading[new] = heading / (np.hypot(heading[0], heading[1]) + 1e-9)
        nodes.way[new] = nodes.way[parent] + length
        nodes.parent[new] = parent
        nodes.children[parent] += 1
        nodes.count += 1
        best[chosen] = np.inf
        fresh = _cost(nodes, np.array([new]), points, turn)[0]
        cheaper = (fresh < best) & np.isfinite(best)
        best[cheaper], owner[cheaper] = fresh[cheaper], new


def _branches(eye: EyeShape, kind: str, nodes: _Nodes, roots: list[int], fixed: int) -> tuple[Branch, ...]:
    n = nodes.count
    supply = np.ones(n)
    supply[:fixed] = 0.15  # a main branch feeds the retina beside it as well
    for node in range(n - 1, -1, -1):  # a parent always comes before its children
        if nodes.parent[node] >= 0:
            supply[nodes.parent[node]] += supply[node]
    heir = np.full(n, -1)
    for node in range(n):
        parent = nodes.parent[node]
        if parent >= 0 and (heir[parent] < 0 or _claim(supply, node, fixed) > _claim(supply, int(heir[parent]), fixed)):
            heir[parent] = node
    _relax(nodes, heir, fixed)
    calibre = eye.artery_calibre if kind == "artery" else eye.artery_calibre / eye.artery_vein_ratio
    main = np.mean(supply[roots[:4]])
    width = calibre * (supply / main) ** (1.0 / eye.junction_exponent)
    width = np.where(heir < 0, 0.4, 1.0) * np.maximum(width, 0.014)
    return _drawn(eye, kind, nodes, heir, width)


def _claim(supply: Points, node: int, fixed: int) -> float:
    """Along a main branch the main branch goes on, however much a side branch supplies."""
    return float(supply[node]) + (1e9 if node < fixed else 0.0)


def _relax(nodes: _Nodes, heir: NDArray[np.int64], fixed: int) -> None:
    """Pulls every vessel straighter between its neighbours; the main branches stay."""
    inner = np.flatnonzero((np.arange(nodes.count) >= fixed) & (heir >= 0))
    for _ in range(5):
        middle = 0.5 * (nodes.place[nodes.parent[inner]] + nodes.place[heir[inner]])
        nodes.place[inner] += 0.42 * (middle - nodes.place[inner])


def _drawn(eye: EyeShape, kind: str, nodes: _Nodes, heir: NDArray[np.int64], width: Points) -> tuple[Branch, ...]:
    rng = stream(eye.seed, "tortuosity", kind)
    wind = eye.artery_tortuosity if kind == "artery" else eye.vein_tortuosity
    moved = nodes.place.copy()  # where each node lies after its own vessel has been bent
    result = []
    for first in range(nodes.count):
        parent = int(nodes.parent[first])
        if parent >= 0 and heir[parent] == first:
            continue
        chain = [first]
        while heir[chain[-1]] >= 0:
            chain.append(int(heir[chain[-1]]))
        knots = nodes.place[chain]
        widths = width[chain]
        if parent >= 0:
            knots = np.concatenate([moved[parent][None], knots])
            widths = np.concatenate([[min(widths[0] * 1.08, width[parent])], widths])
        line = smooth_line(knots, _POINT_STEP)
        at = np.linspace(0, 1, len(line))
        run = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(knots, axis=0), axis=1))])
        size = np.interp(at, run / run[-1], widths)
        line = line + normals(line) * _wiggle(rng, at * run[-1], wind, float(widths[0]))[:, None]
        line = _around_fovea(line)
        near = np.rint(run / run[-1] * (len(line) - 1)).astype(int)
        moved[chain] = line[near[-len(chain) :]]
        result.append(Branch(line, size))
    result.sort(key=lambda branch: -branch.widths[0])
    return tuple(result)


def _around_fovea(line: Points) -> Points:
    """Makes room for the avascular zone: what runs close to the centre of the fovea is pushed outwards."""
    far = np.hypot(line[:, 0], line[:, 1]) + 1e-9
    kept = _AVASCULAR + far * (1 - _AVASCULAR / _MAKES_ROOM)
    return np.asarray(line * np.where(far < _MAKES_ROOM, kept / far, 1.0)[:, None])


def _wiggle(rng: np.random.Generator, along: Points, wind: float, width: float) -> Points:
    """Sideways bends of a vessel: longer waves for thicker ones, none where it leaves its parent."""
    waves = np.zeros_like(along)
    for wave, amplitude in ((3.2, 0.055), (1.5, 0.030), (0.75, 0.012)):
        wave = wave * (0.6 + 3.0 * width) * rng.uniform(0.8, 1.25)
        swell = 1.0 + 0.5 * np.sin(along / rng.uniform(2.0, 5.0) + rng.uniform(0, 6.28))
        waves += amplitude * swell * np.sin(2 * np.pi * along / wave + rng.uniform(0, 6.28))
    return np.asarray(wind * waves * np.minimum(1.0, along / 0.8))
