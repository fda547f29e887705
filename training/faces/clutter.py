"""What lies around a face and is none: hands, arms, tubes, straps, collars, sheets, head rests and the table.

Shapes in the head's own frame (millimetres; x to the left, y backwards, z up), drawn at random.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from training.cohort.head.frame import Head
from training.cohort.implicit import Chain, Ellipsoid, Matrix, Shape

Clutter = Callable[[Head, np.random.Generator], Sequence[Shape]]

# Share of scenes that have each.
_SHARES: tuple[tuple[str, float], ...] = (
    ("hand", 0.35),
    ("tube", 0.3),
    ("strap", 0.2),
    ("collar", 0.2),
    ("sheet", 0.3),
    ("rest", 0.4),
    ("table", 0.3),
)


def clutter(head: Head, rng: np.random.Generator) -> list[Shape]:
    """Shapes around a head; none at all in some scenes."""
    found: list[Shape] = []
    for name, share in _SHARES:
        if rng.random() < share:
            found += _KINDS[name](head, rng)
    return found


def hand(head: Head, rng: np.random.Generator) -> list[Shape]:
    """A hand on or near cheek, chin, brow or neck, with its forearm: palm, four fingers and a thumb."""
    side = 1.0 if rng.random() < 0.5 else -1.0
    palm = np.array([side * rng.uniform(45, 105), head.incisor + rng.uniform(-25, 60), rng.uniform(-130, 75)])
    inward = np.array([-side * rng.uniform(0.2, 1.0), rng.uniform(-0.5, 0.3), rng.uniform(-0.8, 0.9)])
    inward /= np.linalg.norm(inward)
    across = np.cross(inward, [0.0, 1.0, 0.0])
    across /= np.linalg.norm(across)
    size = rng.uniform(0.85, 1.15)
    shapes: list[Shape] = [_rod(palm - 22 * size * across, palm + 22 * size * across, 17.0 * size, 17.0 * size)]
    for place in (-27, -9, 9, 27):
        start = palm + place * size * across
        bend = rng.normal(0.0, 0.15, 3)
        shapes.append(_rod(start, start + (80 * size) * (inward + bend), 9.0 * size, 6.5 * size))
    thumb = palm - 24 * size * across
    shapes.append(_rod(thumb, thumb + size * (32 * inward - 26 * across), 9.0 * size, 9.0 * size))
    shapes.append(_rod(palm, palm - 170 * (inward + rng.normal(0, 0.2, 3)), 25.0 * size, 36.0 * size))
    return shapes


def _rod(start: Matrix, end: Matrix, radius: float, end_radius: float) -> Chain:
    return Chain([start.tolist(), end.tolist()], [radius, end_radius])


def tube(head: Head, rng: np.random.Generator) -> list[Shape]:
    """A tube out of the mouth, or under the nose, and away to a side."""
    side, radius = (1.0 if rng.random() < 0.5 else -1.0), rng.uniform(2.5, 9.0)
    ahead = head.incisor - 14.0 - rng.uniform(8, 28)
    height = head.bite + (rng.uniform(-4, 4) if rng.random() < 0.7 else 22.0)
    start = (rng.uniform(-12, 12), head.incisor, height)
    bend = (rng.uniform(-15, 15), ahead, height - rng.uniform(0, 12))
    end = (side * rng.uniform(50, 150), ahead + rng.uniform(0, 90), height + rng.uniform(-130, 90))
    return [Chain([start, bend, end], radius)]


def strap(head: Head, rng: np.random.Generator) -> list[Shape]:
    """A band across forehead, cheeks or chin."""
    s = head.shape
    height = (s.brow_height + rng.uniform(12, 50), head.bite + rng.uniform(12, 30), s.chin_z + rng.uniform(0, 10))
    z = height[int(rng.integers(3))]
    wide, front = head.half_breadth + s.scalp_thickness, min(head.front, head.incisor) - s.scalp_thickness
    knots = [
        (wide * np.sin(angle), front + (0.5 * s.vault_length) * (1 - np.cos(angle)), z + rng.normal(0, 1.0))
        for angle in np.radians(np.linspace(-85, 85, 11))
    ]
    return [Chain(knots, rng.uniform(2.5, 6.0), (1.0, 1.0, 0.5))]


def collar(head: Head, rng: np.random.Generator) -> list[Shape]:
    """A ring around the neck, under the chin."""
    s = head.shape
    reach, z = 1.05 * s.neck_width + rng.uniform(4, 14), s.chin_z - rng.uniform(8, 30)
    angles = np.radians(np.linspace(0, 360, 13))
    ring = [(reach * np.sin(a), -12.0 - 1.15 * reach * np.cos(a), z - 14.0 * np.cos(a + np.pi)) for a in angles]
    return [Chain(ring, rng.uniform(8, 16), (1.0, 1.0, 0.5))]


def sheet(head: Head, rng: np.random.Generator) -> list[Shape]:
    """A sheet, a gown or the chest of someone with a bent neck."""
    z = head.shape.chin_z - rng.uniform(45, 95)
    middle = (rng.uniform(-30, 30), head.incisor + rng.uniform(-20, 40), z)
    return [Ellipsoid(middle, (rng.uniform(90, 170), rng.uniform(35, 70), rng.uniform(25, 50)))]


def rest(head: Head, rng: np.random.Generator) -> list[Shape]:
    """A cup, cushions or coil on both sides of the head; one of them only, where it lies aside."""
    width, y = head.half_breadth + rng.uniform(18, 40), rng.uniform(-70, 40)
    radii = (rng.uniform(10, 25), rng.uniform(30, 70), rng.uniform(50, 120))
    sides = (1.0, -1.0) if rng.random() < 0.7 else (1.0,)
    return [Ellipsoid((side * width, y, rng.uniform(-30, 50)), radii) for side in sides]


def table(head: Head, rng: np.random.Generator) -> list[Shape]:
    """A table or mattress behind the head, sometimes so near that it is seen around the face."""
    y = head.shape.vault_centre_y + head.half_length + rng.uniform(-110, 30)
    return [Ellipsoid((rng.uniform(-60, 60), y + 60.0, 0.0), (260.0, 60.0, 320.0))]


_KINDS: dict[str, Clutter] = {
    "hand": hand,
    "tube": tube,
    "strap": strap,
    "collar": collar,
    "sheet": sheet,
    "rest": rest,
    "table": table,
}
