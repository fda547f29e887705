"""Things of metal and plastic in and on a chest, described as bones are: one description for film and CT."""

from __future__ import annotations

import numpy as np

from training.cohort.implicit import Matrix
from training.cohort.projection import gather
from training.cohort.thorax.bone import ACROSS, BACK, UP, Bone, Tissue, ball, tube
from training.cohort.thorax.frame import Chest
from training.cohort.thorax.heart import Heart

METAL = Tissue("metal", 50.0, 7000.0, 7000.0)
_WIRE = Tissue("wire", 50.0, 5200.0, 5200.0)
_PLASTIC = Tissue("plastic", 50.0, 480.0, 480.0)
_BAR = Tissue("bar", 50.0, 1500.0, 1500.0)


def implants(chest: Chest) -> list[Bone]:
    """What stays in the body from visit to visit."""
    return pacemaker(chest) if chest.findings.pacemaker else []


def pacemaker(chest: Chest) -> list[Bone]:
    """A generator before the pectoral muscle, one lead in the right atrium, one in the right ventricle."""
    s, side, heart = chest.shape, chest.findings.pacemaker_side, Heart(chest)
    z = s.clavicle_height - 34.0
    can = np.array([side * 84.0, skin_y(chest, z) + 0.6 * chest.fat + 7.0, z])
    tilt = np.array([side * 0.55, 0.55, 0.0])
    tilt /= np.linalg.norm(tilt)
    body = tube(np.array([can - 15.0 * UP, can + 15.0 * UP]), tilt, (22.0, 3.6), 2.0)
    header = tube(np.array([can + 16.0 * UP, can + 22.0 * UP]), tilt, (15.0, 3.2), 2.0)
    vein = np.array([side * 62.0, -62.0, s.clavicle_height + 4.0])
    caval = np.array([-24.0, -66.0, s.carina + 26.0])
    start = can + np.array([0.0, 2.0, 20.0])
    loop = can + np.array([side * 16.0, 10.0, 4.0])
    atrium, tip = heart.at(-22, -98, -4), heart.at(34, -118, -66)
    leads = [
        np.array(
            [
                start,
                loop,
                can + np.array([0, 12, 24.0]),
                vein,
                caval,
                heart.at(-21, -70, 6),
                heart.at(-20, -84, -16),
                atrium,
            ]
        ),
        np.array(
            [
                start,
                loop,
                can + np.array([2, 12, 26.0]),
                vein,
                caval,
                heart.at(-20, -72, -4),
                heart.at(-6, -96, -44),
                tip,
            ]
        ),
    ]
    wires = gather([tube(_smooth(path), BACK, (0.75, 0.75), 1.2) for path in leads])
    ends = gather([tube(_smooth(path)[-6:], BACK, (1.3, 1.3), 1.2) for path in leads])
    return [Bone(METAL, body), Bone(_PLASTIC, header), Bone(_WIRE, wires), Bone(METAL, ends)]


def skin_y(chest: Chest, z: float) -> float:
    """y of the skin in front, beside the breastbone."""
    return chest.front_y(z) - 7.0 - 0.3 * chest.shape.muscle - chest.fat


def tracheal_tube(chest: Chest) -> list[Bone]:
    s = chest.shape
    path = np.array(
        [
            [3.0, float(chest.spine_y(220.0)) - 44.0, s.clavicle_height + 210],
            [s.trachea_shift, float(chest.spine_y(s.carina + 60)) - 42.0, s.carina + 62],
            [s.trachea_shift, float(chest.spine_y(s.carina + 30)) - 37.0, s.carina + 28],
        ]
    )
    wall = tube(path, ACROSS, (5.2, 5.2), 1.5)
    line = tube(path + np.array([4.6, 0.0, 0.0]), ACROSS, (0.7, 0.7), 1.2)
    return [Bone(Tissue("tube", 1.2, 420.0, -60.0), wall), Bone(_BAR, line)]


def central_line(chest: Chest) -> list[Bone]:
    s = chest.shape
    path = np.array(
        [
            [-62.0, skin_y(chest, s.clavicle_height + 40) + 20.0, s.clavicle_height + 90],
            [-40.0, -60.0, s.clavicle_height + 36],
            [-26.0, -64.0, s.carina + 32],
            [-23.0, -68.0, s.carina - 8],
        ]
    )
    return [Bone(_BAR, tube(_smooth(path), BACK, (1.1, 1.1), 1.2))]


def ecg_leads(chest: Chest, rng: np.random.Generator) -> list[Bone]:
    """Pads on the skin with their clips, and wires that leave downwards."""
    parts, wires = [], []
    for x, z in ((110, 92), (-110, 92), (118, -64), (-118, -64), (22, -30)):
        place = np.array([x, 0.0, z]) + rng.normal(0, 9, 3) * [1, 0, 1]
        place[1] = skin_y(chest, place[2]) + 0.0035 * place[0] ** 2
        parts.append(ball(place, (4.6, 1.2, 4.6)))
        low = place + np.array([rng.uniform(-60, 60), -8.0, -rng.uniform(160, 300)])
        mid = 0.5 * (place + low) + np.array([rng.uniform(-45, 45), -6.0, 0.0])
        wires.append(tube(_smooth(np.array([place, mid, low])), BACK, (0.8, 0.8), 1.5))
    return [Bone(METAL, gather(parts)), Bone(_BAR, gather(wires))]


def necklace(chest: Chest, rng: np.random.Generator) -> list[Bone]:
    s, low = chest.shape, rng.uniform(10, 55)
    u = np.linspace(-1, 1, 60)
    z = s.clavicle_height + 34.0 - (34.0 + low) * (1 - np.abs(u) ** 1.7)
    y = np.array([skin_y(chest, float(v)) for v in z]) - 1.0
    beads = [ball((float(62.0 * a), float(b), float(c)), (1.5, 1.5, 1.5)) for a, b, c in zip(u, y, z, strict=True)]
    pendant = ball((0.0, float(y[30]), float(z.min()) - 5.0), (5.0, 1.0, 7.0))
    return [Bone(METAL, gather([*beads, pendant]))]


def buttons(chest: Chest, rng: np.random.Generator) -> list[Bone]:
    x, gap = rng.uniform(-16, 16), rng.uniform(46, 70)
    places = [(x + rng.normal(0, 2), 60.0 - n * gap) for n in range(4)]
    return [Bone(_BAR, gather([ball((a, skin_y(chest, z) - 6.0, z), (5.5, 1.4, 5.5)) for a, z in places]))]


def brace(chest: Chest, rng: np.random.Generator) -> list[Bone]:
    """Two bars along the back and one across, of a spinal brace."""
    back = float(chest.back_y(0.0)) + 36.0 + chest.fat
    x, z = rng.uniform(34, 52), rng.uniform(-30, 60)
    bars = [np.array([[k * x, back, -260.0], [k * x, back, 120.0]]) for k in (-1.0, 1.0)]
    bars.append(np.array([[-x - 60, back, z], [x + 60, back, z]]))
    return [Bone(_BAR, gather([tube(bar, UP if n == 2 else ACROSS, (7.0, 1.6), 3.0) for n, bar in enumerate(bars)]))]


def _smooth(knots: Matrix) -> Matrix:
    """A curve through the knots, 1 point per few millimetres."""
    from scipy.interpolate import PchipInterpolator

    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(knots, axis=0), axis=1))])
    at = np.linspace(0.0, length[-1], max(8, int(length[-1] / 4.0)))
    curve: Matrix = PchipInterpolator(length, np.asarray(knots, float))(at)
    return curve
