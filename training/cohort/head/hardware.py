"""What is not the head: head rests, tubes, wires on teeth, plates, collars, bandages."""

from __future__ import annotations

import numpy as np

from training.cohort.head.bones import vault
from training.cohort.head.frame import Head
from training.cohort.implicit import Chain, Ellipsoid, Field, lay, step
from training.cohort.sampling import Slab

_METAL = 3000.0


def lay_head_rest(slab: Slab, image: Field, kind: str, aside: float, back: float) -> None:
    """A head rest in the scanner's frame (cup, wedge, pillow or none); the scalp touches it at ``back``."""
    if kind == "none":
        return
    p = slab.patient
    x, y = p.x - np.float32(0.5 * aside), p.y - np.float32(back)
    low = np.float32(-60.0) - y
    if kind == "cup":
        across = np.hypot(x, y + np.float32(93.0))
        layers = [(np.maximum(np.abs(across - np.float32(101.0)) - np.float32(5.0), low), -930.0),
                  (np.maximum(np.abs(across - np.float32(108.0)) - np.float32(1.6), low), -120.0)]  # fmt: skip
    elif kind == "wedge":
        # Two foam blocks that hold the head from both sides, on a flat board.
        side = np.maximum(np.abs(np.abs(x) - np.float32(94.0) + np.float32(0.25) * y) - np.float32(12.0), low)
        board = np.maximum(np.abs(y - np.float32(12.0)) - np.float32(2.0), np.abs(x) - np.float32(120.0))
        layers = [(np.maximum(side, y - np.float32(8.0)), -940.0), (board, -80.0)]
    else:
        soft = np.hypot(x * np.float32(0.42), y - np.float32(8.0)) - np.float32(22.0)
        sag = np.float32(0.008) * np.square(x) * (np.abs(x) < 60)
        layers = [(np.maximum(soft, np.float32(2.0) - y - sag), -955.0)]
    for distance, value in layers:
        lay(image, np.broadcast_to(distance, image.shape).astype(np.float32), value, 1.5)


def lay_collar(slab: Slab, image: Field, head: Head) -> None:
    """A cervical collar: foam with a plastic shell around the neck and under the chin."""
    s = head.shape
    p = slab.points
    lean = np.float32(0.35) * np.clip(-p.y, 0, 60)
    ring = np.hypot(p.x, (p.y - np.float32(6.0)) * np.float32(0.82)) - np.float32(1.05 * s.neck_width + 12.0) - lean
    high = np.maximum(p.z - np.float32(s.chin_z + 4.0), np.float32(s.chin_z - 95.0) - p.z)
    lay(image, np.maximum(np.abs(ring) - np.float32(9.0), high), -880.0, 1.5)
    lay(image, np.maximum(np.abs(ring - np.float32(10.0)) - np.float32(1.3), high), 60.0, 1.5)


def lay_bandage(slab: Slab, image: Field, head: Head) -> None:
    """Layers of gauze around brow and occiput."""
    s = head.shape
    outside = vault(slab, head) - np.float32(s.scalp_thickness)
    p = slab.points
    middle = np.float32(s.brow_height + 34.0) - np.float32(0.18) * (p.y - np.float32(head.front))
    gauze = np.maximum(np.abs(outside - np.float32(3.5)) - np.float32(3.5), np.abs(p.z - middle) - np.float32(26.0))
    weave = np.float32(-420.0) + np.float32(160.0) * np.sin(outside * np.float32(2.6))
    lay(image, gauze, weave.astype(np.float32), 1.5)


def lay_tube(slab: Slab, image: Field, head: Head, edge: float) -> None:
    """A tracheal tube from the mouth down the throat."""
    chin = head.shape.chin_z
    path = [
        (6, head.incisor - 30, head.bite - 4),
        (4, head.incisor + 20, head.bite + 2),
        (2, -24, head.bite - 4),
        (0, -20, chin),
        (0, -24, -190),
    ]
    slab.paint(image, Chain(path, 4.6), value=180.0, edge=edge)
    slab.paint(image, Chain(path, 3.3), value=-1000.0, edge=edge)


def lay_arch_bar(slab: Slab, image: Field, head: Head, edge: float) -> None:
    """Orthodontic wire and brackets in front of both rows of teeth."""
    closed = head.hinge()
    for sign, through in ((1.0, None), (-1.0, closed)):
        z = head.bite + sign * 6.0
        slab.paint(image, Chain(head.arch(z, 4.2)[1:-1], 0.8), value=_METAL, edge=edge, through=through)
        for x, y in head.tooth_places()[3:13]:
            out = 1.0 + 4.4 / max(20.0, float(np.hypot(x, y - head.incisor - 25.0)))
            at = (x * out, head.incisor + 25.0 + (y - head.incisor - 25.0) * out, z)
            slab.paint(image, Ellipsoid(at, (1.6, 1.6, 1.9)), value=_METAL, edge=edge, through=through)


def lay_plate(slab: Slab, image: Field, head: Head, edge: float) -> None:
    """A bone flap that was put back: its saw line, and three small plates with screws across it."""
    s = head.shape
    side = 1.0 if s.phases[2] > np.pi else -1.0
    y, z = -18.0 + 14.0 * float(np.sin(s.phases[3])), head.vault_centre_z + 12.0
    outside, p = vault(slab, head), slab.points
    flap = np.hypot(p.y - np.float32(y), (p.z - np.float32(z)) * np.float32(1.15)) - np.float32(30.0)
    here = np.float32(12.0) - np.float32(side) * p.x
    shell = np.maximum(np.abs(outside + np.float32(3.0)) - np.float32(4.5), here)
    lay(image, np.maximum(np.abs(flap) - np.float32(0.9), shell), 60.0, edge)
    metal = np.maximum(np.abs(outside - np.float32(0.7)) - np.float32(0.8), here)
    for angle in (0.3, 2.3, 4.5):
        at = (y + 30.0 * np.cos(angle), z + 26.0 * np.sin(angle))
        along, across = np.cos(angle), np.sin(angle)
        u = (p.y - np.float32(at[0])) * np.float32(along) + (p.z - np.float32(at[1])) * np.float32(across)
        v = (p.z - np.float32(at[1])) * np.float32(along) - (p.y - np.float32(at[0])) * np.float32(across)
        bar = np.maximum(np.abs(u) - np.float32(9.0), np.abs(v) - np.float32(1.4))
        lay(image, np.maximum(bar, metal), _METAL, edge)
        for place in (-7.0, 7.0):
            screw = np.maximum(np.hypot(u - np.float32(place), v) - np.float32(1.0), shell)
            lay(image, screw, _METAL, edge)


def lay_strap(slab: Slab, image: Field, head: Head) -> None:
    """The band across the forehead that keeps a head in its rest."""
    s, p = head.shape, slab.points
    outside = vault(slab, head) - np.float32(s.scalp_thickness)
    front = np.float32(1.0) - step(p.y, -10.0, 20.0)
    band = np.maximum(
        np.abs(outside - np.float32(2.4)) - np.float32(1.3), np.abs(p.z - np.float32(68.0)) - np.float32(17.0)
    )
    lay(image, band + np.float32(4.0) * (np.float32(1.0) - front), -220.0, 1.5)
