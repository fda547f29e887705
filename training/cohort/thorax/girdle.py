"""The shoulder girdle: clavicles, scapulae and the upper arms, as the arms hold them."""

from __future__ import annotations

import numpy as np

from training.cohort.implicit import Matrix, rotation
from training.cohort.projection import gather
from training.cohort.thorax.bone import BACK, UP, Bone, Tissue, Vector, ball, plate, tube
from training.cohort.thorax.frame import Chest

# For each pose of the arms: how the scapula turns (degrees about x, y and z, on the left) about its own middle, how far
# it slides (outwards, back, up), how the collar bone's outer end moves, and where the elbow is from the shoulder.
_TURN = {"forward": (4.0, -3.0, -16.0), "down": (0.0, 0.0, 0.0), "up": (-12.0, -26.0, -10.0)}
_SLIDE = {"forward": (15.0, -12.0, 0.0), "down": (0.0, 0.0, 6.0), "up": (2.0, -8.0, 26.0)}
_COLLAR = {"forward": (0.0, -9.0, -4.0), "down": (0.0, 0.0, 3.0), "up": (-22.0, 8.0, 26.0)}
_ELBOW = {"forward": (42.0, 26.0, -285.0), "down": (34.0, 12.0, -290.0), "up": (-6.0, -70.0, 280.0)}


def shoulders(chest: Chest) -> list[Bone]:
    return [
        bone for side in (1, -1) for bone in (*_clavicle(chest, side), *_scapula(chest, side), *_humerus(chest, side))
    ]


def _clavicle(chest: Chest, side: int) -> list[Bone]:
    s = chest.shape
    ends = collar(chest, side)
    u = np.linspace(0.0, 1.0, 46)
    base = ends[0] + (ends[1] - ends[0]) * u[:, None]
    # An S: bowed forward near the sternum, backward near the shoulder.
    bow = np.sin(2 * np.pi * u * 0.92) * np.where(u < 0.54, 1.0, 0.75)
    base[:, 1] -= s.clavicle_bow * bow
    base[:, 2] += 4.5 * np.sin(np.pi * u)
    radius = s.clavicle_radius * np.interp(u, [0, 0.06, 0.2, 0.55, 0.85, 1], [1.35, 1.45, 1.02, 0.9, 0.95, 0.8])
    wide = radius * np.interp(u, [0, 0.6, 0.85, 1], [1.0, 1.05, 1.65, 1.5])
    tissue = Tissue("clavicle", 1.7, 1150.0, 240.0)
    return [Bone(tissue, tube(base, UP, np.stack([radius, wide], axis=1)))]


def collar(chest: Chest, side: int) -> tuple[Vector, Vector]:
    """The inner and the outer end of a clavicle."""
    s = chest.shape
    out, back, up = _COLLAR[chest.arms]
    inner = np.array([side * 21.0, chest.front_y(s.clavicle_height - 4.0) + 4.0, s.clavicle_height])
    long = 0.9 * s.clavicle_length
    outer = inner + np.array([side * long, 74.0, 0.9 * s.clavicle_rise + 6.0])
    return inner, outer + np.array([side * out, back, up])


def scapula_points(chest: Chest, side: int) -> dict[str, Vector]:
    """Landmarks of a scapula: socket, its three corners, the acromion and the coracoid."""
    s = chest.shape
    # The resting pose hangs on the resting collar bone; the pose then turns and slides the whole bone.
    inner = np.array([21.0, chest.front_y(s.clavicle_height - 4.0) + 4.0, s.clavicle_height])
    tip = inner + np.array([0.9 * s.clavicle_length, 74.0, 0.9 * s.clavicle_rise + 6.0])
    socket = tip + np.array([-4.0, 8.0, -34.0])
    top_z = socket[2] + 0.2 * s.scapula_height
    low_z = top_z - s.scapula_height
    points = {
        "socket": socket,
        "top": np.array([s.scapula_apart, float(chest.back_y(top_z)) + 8.0, top_z]),
        "root": np.array([s.scapula_apart - 5.0, float(chest.back_y(top_z - 34)) + 17.0, top_z - 34.0]),
        "low": np.array([s.scapula_apart + 19.0, float(chest.back_y(low_z)) + 14.0, low_z]),
        "acromion": tip + np.array([8.0, 16.0, -3.0]),
        "coracoid": socket + np.array([-16.0, -34.0, 6.0]),
    }
    middle = 0.25 * (points["socket"] + points["top"] + points["low"] + points["acromion"])
    slide = np.array(_SLIDE[chest.arms])
    turn = rotation(*_TURN[chest.arms])
    moved = {name: turn @ (p - middle) + middle + slide for name, p in points.items()}
    return {name: p * np.array([side, 1.0, 1.0]) for name, p in moved.items()}


def _scapula(chest: Chest, side: int) -> list[Bone]:
    p = scapula_points(chest, side)
    u = np.linspace(0, 1, 20)[:, None]
    away = np.array([side * 1.0, 0.0, 0.0])

    def edge(a: Vector, b: Vector, bow: Vector | float = 0.0) -> Matrix:
        path: Matrix = a + (b - a) * u + np.asarray(bow) * np.sin(np.pi * u)
        return path

    neck = p["socket"] - away * 9.0
    medial = np.concatenate([edge(p["top"], p["root"])[:-1], edge(p["root"], p["low"], -away * 3.0)])
    lateral = edge(neck, p["low"], -away * 6.0)
    notch = edge(p["top"], neck + np.array([0.0, 0.0, 14.0]), np.array([0.0, 0.0, -4.0]))
    thin, thick = Tissue("blade", 1.1, 520.0, 300.0), Tissue("scapula", 1.1, 760.0, 280.0)
    rim = [
        tube(lateral, BACK, (4.6, 3.6)),
        tube(medial, BACK, (2.0, 1.8)),
        tube(notch, BACK, (1.9, 1.8)),
    ]
    sheet_medial = medial[np.linspace(0, len(medial) - 1, 34).astype(int)]
    outer = np.concatenate([notch[::-1][:14], lateral])
    sheet = plate(sheet_medial, outer, 0.75)
    ridge = edge(p["root"] + (neck - p["root"]) * 0.05, p["acromion"], np.array([0.0, 14.0, 0.0]))
    foot = edge(p["root"], neck + np.array([0.0, 2.0, 6.0]))
    spine = [
        tube(ridge[:17], UP, np.interp(u[:17], [0, 1], [1, 1]) * np.array([[4.2, 2.6]])),
        tube(ridge[15:], UP, (3.4, 8.0)),
    ]
    fin = plate(foot[1:18], ridge[1:18], 0.8)
    socket = [
        ball(p["socket"] - away * 5.0, (4.6, 12.0, 17.0)),
        tube(np.stack([p["socket"] - away * 12, p["socket"] - away * 4]), UP, np.array([[11.0, 7.0], [16.5, 11.0]])),
        tube(
            np.stack([neck + np.array([0, 0, 12.0]), neck + np.array([0, -14.0, 17.0]), p["coracoid"]]),
            UP,
            np.array([[6, 6.0], [5, 5], [4, 5]]),
        ),
    ]
    return [Bone(thin, gather([sheet, fin])), Bone(thick, gather([*rim, *spine, *socket]))]


def shoulder_joint(chest: Chest, side: int) -> Vector:
    """Middle of the head of the humerus."""
    out = side * 0.92 * chest.shape.humerus_radius
    joint: Vector = scapula_points(chest, side)["socket"] + np.array([out, -3.0, 0.0])
    return joint


def elbow_of(chest: Chest, side: int) -> Vector:
    """Where the upper arm ends."""
    elbow: Vector = shoulder_joint(chest, side) + np.array(_ELBOW[chest.arms]) * np.array([side, 1.0, 1.0])
    return elbow


def _humerus(chest: Chest, side: int) -> list[Bone]:
    head, r = shoulder_joint(chest, side), chest.shape.humerus_radius
    elbow = elbow_of(chest, side)
    way = (elbow - head) / np.linalg.norm(elbow - head)
    # The shaft stands a little outside the head, where the tubercles are.
    out = np.array([side * 1.0, 0.0, 0.0]) - way * way[0] * side
    points = [head + out * 3.0 + way * 6.0, head + out * 8.0 + way * 22.0]
    points += [head + out * 8.0 + way * 48.0, head + out * 6.0 + way * 90.0, elbow]
    wide = np.array([0.93, 0.86, 0.62, 0.5, 0.5]) * r
    spongy = Tissue("humeral head", 1.3, 700.0, 230.0)
    shaft = Tissue("humeral shaft", 4.2, 1250.0, 10.0)
    return [
        Bone(shaft, tube(np.array(points[1:]), BACK, np.stack([wide[1:], wide[1:]], axis=1), 3.0)),
        Bone(
            spongy,
            gather(
                [ball(head, (r, r, r)), tube(np.array(points[:3]), BACK, np.stack([wide[:3], wide[:3]], axis=1), 2.5)]
            ),
        ),
    ]
