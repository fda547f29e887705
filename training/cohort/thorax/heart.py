"""Heart, great vessels, gullet and airways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.cohort.implicit import Chain, Ellipsoid, Field, Shape
from training.cohort.sampling import Slab
from training.cohort.thorax.frame import Chest, Point

Vector = np.ndarray[tuple[int], np.dtype[np.float64]]
# Of the reference heart: where it rests on the diaphragm, and the middle about which it is scaled.
_FLOOR = -70.0


@dataclass(frozen=True, slots=True)
class Blood:
    """HU of blood by where it is: veins, right heart and lung arteries, left heart and aorta."""

    veins: float = 42.0
    right: float = 42.0
    left: float = 42.0


class Heart:
    """The heart of one chest: a reference anatomy, scaled to the person and set upon the diaphragm."""

    def __init__(self, chest: Chest) -> None:
        s = chest.shape
        self.chest = chest
        ill = chest.findings.heart
        # However large, a heart keeps to its chest.
        self.wide = min(s.heart_width / 124.0 * ill * (1.04 if chest.supine else 1.0), s.cage_width / 205.0)
        self.tall = (s.heart_height / 116.0) ** 0.6 * ill**0.6 * (1.0 - 0.07 * (1.0 - chest.breath))
        self.deep = s.cage_depth / 178.0 * ill**0.7 * (0.96 if chest.supine else 1.0)
        self.floor = chest.dome(1) - 3.0
        self.tilt = np.radians(0.55 * (s.heart_tilt - 37.0) + 6.0 * (1.0 - chest.breath))
        self.aside = min(s.heart_left - 15.5, 0.5 * s.cage_width - 92.0 * self.wide)

    @property
    def size(self) -> float:
        return float((self.wide * self.tall * self.deep) ** (1 / 3))

    def at(self, x: float, y: float, z: float) -> Point:
        """From the reference heart to this chest."""
        # A steeper or flatter heart turns in the frontal plane about its root.
        dx, dz = x - 2.0, z - 20.0
        c, n = float(np.cos(self.tilt)), float(np.sin(self.tilt))
        x, z = 2.0 + c * dx - n * dz * 0.5, 20.0 + n * dx * -0.35 + dz
        wide = self.wide if x > 0 else self.wide**0.5 * self.chest.shape.right_atrium / 34.5
        return (
            self.aside * 0.8 + wide * x,
            -30.0 + self.deep * (y + 30.0),
            self.floor + self.tall * (z - _FLOOR),
        )

    def radii(self, x: float, y: float, z: float) -> Point:
        return self.wide * x, self.deep * y, self.tall * z

    def chambers(self) -> dict[str, Shape]:
        """Outer walls of the four chambers and of the outflow of the right one."""
        return {
            "left ventricle": Ellipsoid(self.at(41, -80, -36), self.radii(51, 38, 36), (0, 34, -38)),
            "right ventricle": Ellipsoid(self.at(17, -107, -42), self.radii(54, 30, 36), (0, 26, -20)),
            "right atrium": Ellipsoid(self.at(-18, -76, -26), self.radii(22, 30, 40)),
            "left atrium": Ellipsoid(self.at(4, -50, 8), self.radii(36, 21, 25)),
            "outflow": Chain([self.at(14, -118, -20), self.at(17, -104, 24)], [20 * self.size, 14.5 * self.size]),
        }

    def cavities(self) -> list[tuple[Shape, str]]:
        """The blood in the chambers, and of which side it is."""
        return [
            (Ellipsoid(self.at(38, -82, -34), self.radii(37, 23, 22), (0, 34, -38)), "left"),
            (Ellipsoid(self.at(13, -110, -42), self.radii(46, 24, 31), (0, 26, -20)), "right"),
            (Ellipsoid(self.at(-18, -76, -26), self.radii(20, 27, 37)), "right"),
            (Ellipsoid(self.at(4, -50, 8), self.radii(34, 19, 23)), "left"),
            (Chain([self.at(14, -118, -20), self.at(17, -104, 24)], [17 * self.size, 12.5 * self.size]), "right"),
        ]

    def vessels(self) -> list[tuple[Chain, str]]:
        """Aorta with its branches, lung arteries, great veins: (shape, whose blood)."""
        s, c = self.chest.shape, self.chest.shape.carina
        knob, unfold = s.aortic_knob, s.aorta_unfolding
        top = c + 17.0
        root = self.at(0, -82, 6)
        rise = (-15.0 - 0.45 * unfold, root[1] - 4.0, 0.55 * root[2] + 0.45 * top)
        arch = [
            root,
            rise,
            (-10 - 0.3 * unfold, root[1] + 10.0, top - 10.0),
            (4.0, -52.0, top),
            (17.0 + 0.3 * unfold, -30.0, top - 2.0),
        ]
        knee = (21.0 + 0.5 * unfold, -14.0, top - 18.0)
        down = [(17.0 + 0.75 * unfold, self._before(z, -1.0), z) for z in (40.0, 0.0, -40.0)]
        low = [
            (12.0 + 0.3 * unfold, self._before(-90.0, 4.0), -90.0),
            (5.0, self._before(-150.0, 9.0), -150.0),
            (4.0, self._before(-300.0, 14.0), -300.0),
        ]
        aorta = [1.08 * knob, 1.06 * knob, 1.0 * knob, 0.95 * knob, 0.93 * knob]
        aorta += [0.88 * knob, 0.82 * knob, 0.8 * knob, 0.78 * knob, 0.74 * knob, 0.66 * knob, 0.6 * knob]
        trunk = self.at(19, -94, 36)
        fork = (24.0, -68.0, min(c - 6.0, trunk[2] + 16.0))
        hila = {side: hilum(self.chest, side)[0] for side in (1, -1)}
        g = self.chest.shape.hilum_size
        up = s.clavicle_height + 60.0
        sup = (-24.0 - 0.1 * unfold, -66.0, c + 26.0)
        vena = self.at(-19, -68, 4)
        hepatic = self.chest.dome(-1) - 26.0
        return [
            (Chain([*arch, knee, *down, *low], aorta), "left"),
            (Chain([(-6.0, root[1] + 16.0, top + 2), (-22.0, -50.0, top + 38), (-30.0, -46.0, up)], [7, 6, 4]), "left"),
            (Chain([(6.0, -50.0, top + 4), (16.0, -44.0, top + 45), (22.0, -42.0, up)], [4.6, 4, 3.6]), "left"),
            (
                Chain(
                    [(16.0, -34.0, top), (25.0, -26.0, top + 42), (48.0, -34.0, s.clavicle_height + 14)], [5.4, 5, 4.5]
                ),
                "left",
            ),
            (Chain([self.at(17, -104, 24), trunk, fork], [13.5 * g, 13.5 * g, 12.0 * g]), "right"),
            (
                Chain([fork, (float(hila[1][0]), float(hila[1][1]), float(hila[1][2]) + 6.0)], [11.5 * g, 9.0 * g]),
                "right",
            ),
            (Chain([fork, (-8.0, -58.0, fork[2] - 8.0), tuple(hila[-1])], [11.5 * g, 10.5 * g, 8.5 * g]), "right"),
            (Chain([vena, (-23.0, -68.0, 0.5 * (vena[2] + sup[2])), sup], [10.5, 9.5, 9.0]), "veins"),
            (Chain([sup, (10.0, -76.0, c + 42.0), (44.0, -62.0, s.clavicle_height + 12)], [7.0, 6.5, 5.5]), "veins"),
            (
                Chain(
                    [sup, (-40.0, -60.0, s.clavicle_height + 10), (-72.0, -58.0, s.clavicle_height + 8)],
                    [7.0, 6.0, 5.0],
                ),
                "veins",
            ),
            (
                Chain(
                    [self.at(-16, -66, -48), (-20.0, -56.0, hepatic), (-20.0, self._before(-180.0, 16.0), -300.0)],
                    [12.0, 11.0, 10.0],
                ),
                "right",
            ),
            (Chain([self.at(8, -44, 12), tuple(hilum(self.chest, 1)[1] + [-6, -6, -4])], [9.0, 6.0]), "left"),
            (Chain([self.at(0, -44, 10), tuple(hilum(self.chest, -1)[1] + [6, -8, -4])], [9.0, 6.0]), "left"),
        ]

    def gullet(self) -> Chain:
        c = self.chest
        path = [(3.0, self._before(z, 8.0), z) for z in (210.0, 150.0, 100.0, 50.0, 0.0)]
        path += [
            (4.0, self._before(-40.0, 12.0), -40.0),
            (16.0, -36.0, c.dome(1) - 4.0),
            (30.0, -44.0, c.dome(1) - 30.0),
        ]
        return Chain(path, 6.5, (0.8, 1.0, 1.0))

    def windpipe(self, wall: float = 0.0) -> list[Chain]:
        """Trachea and main bronchi with the beginning of their branches, from above; ``wall`` mm wider than the air."""
        s = self.chest.shape
        c, x, w = s.carina, s.trachea_shift, s.trachea_width
        fork = (x * 0.6, self._before(c, 20.0), c)
        throat = (x * 0.2, self._before(230.0, 30.0), 230.0)
        right, left = hilum(self.chest, -1)[1], hilum(self.chest, 1)[1]
        r0 = (-20.0, fork[1] + 3.0, c - 18.0)
        l0 = (32.0, fork[1] + 4.0, c - 27.0)
        r1 = tuple(right + np.array([6.0, -4.0, 4.0]))
        l1 = tuple(left + np.array([-6.0, -4.0, 0.0]))
        courses: list[tuple[list[Point], list[float]]] = [
            ([throat, (x, self._before(c + 60.0, 27.0), c + 60.0), fork], [1.0, 1.0, 1.0]),
            ([fork, r0, r1], [0.9, 0.8, 0.55]),
            ([r0, (-42.0, r0[1] - 2.0, c - 16.0)], [0.6, 0.42]),
            ([fork, l0, l1], [0.85, 0.7, 0.52]),
            ([l0, (48.0, l0[1] - 12.0, c - 26.0)], [0.55, 0.4]),
        ]
        return [Chain(knots, [share * w + wall for share in shares]) for knots, shares in courses]

    def _before(self, z: float, gap: float) -> float:
        """y a little in front of the vertebral bodies."""
        return float(self.chest.spine_y(z)) - 15.0 - gap


def hilum(chest: Chest, side: int) -> tuple[Vector, Vector]:
    """Both ends of the descending artery of a lung; it moves with the diaphragm, but less."""
    s = chest.shape
    lift = 0.28 * (chest.dome(1) - (s.dome_right - s.dome_difference))
    top = np.array([side * (36.0 if side > 0 else 38.0), -40.0, s.hilum_height + lift + (9.0 if side > 0 else 0.0)])
    return top, top + np.array([side * 13.0, 9.0, -34.0])


def heart_field(slab: Slab, chambers: Sequence[Shape]) -> Field:
    """Distance to the outer wall of the heart."""
    d = slab.full(1e3)
    slab.unite(d, *chambers, blend=16.0)
    return d


def mediastinum(slab: Slab, walls: Field, pad: float, contents: Sequence[tuple[Shape, float]]) -> Field:
    """Distance to all that lies between the lungs; ``walls`` is the heart in ``pad`` mm of fat."""
    d = walls - np.float32(pad)
    for shape, blend in contents:
        slab.unite(d, shape, blend=blend)
    return d


def mediastinal_contents(chest: Chest, heart: Heart) -> list[tuple[Shape, float]]:
    """Fat around vessels and gullet, the spine, great vessels, the pads of fat on the diaphragm; with their blends."""
    s = chest.shape
    upper: Sequence[Point] = [
        (0.0, -44.0, s.clavicle_height + 60),
        (-2.0, -52.0, s.carina + 24),
        (0.0, -58.0, s.carina - 24),
        (6.0, -48.0, -30.0),
        (6.0, -44.0, -110.0),
        (4.0, -44.0, -260.0),
    ]
    mw = s.mediastinum_width
    wide = [0.8 * mw, 0.8 * mw, 0.62 * mw, 0.42 * mw, 0.45 * mw, 0.8 * mw]
    levels = (220.0, 150.0, 100.0, 50.0, 0.0, -50.0, -100.0, -150.0, -250.0)
    column = [(float(chest.spine_x(z)), float(chest.spine_y(z)) + 2.0, z) for z in levels]
    bone = 0.5 * s.vertebra_width
    apex, right = heart.at(58, -112, -62), heart.at(-26, -104, -64)
    fat = chest.fat
    pads = [
        Ellipsoid((apex[0] + 2, apex[1] - 4, chest.dome(1) - 4.0), (16 + 0.5 * fat, 14, 9 + 0.3 * fat)),
        Ellipsoid((right[0] - 4, right[1] - 6, chest.dome(-1) - 4.0), (13 + 0.4 * fat, 14, 8 + 0.3 * fat)),
    ]
    return [
        (Chain(upper, wide, (1.05, 0.85, 1)), 10.0),
        (Chain(column, [0.95 * bone, 0.95 * bone] + [1.12 * bone] * 7), 7.0),
        *((shape, 5.0) for shape, _ in heart.vessels()),
        *((pad, 10.0) for pad in pads),
    ]
