"""The colour of every point of a head: skin with its flush, freckles and moles, lips, brows, beard, hair, cloth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.cohort.chance import stream
from training.cohort.head.bones import vault
from training.cohort.head.cloud import Cloud
from training.cohort.head.frame import Head
from training.cohort.head.look import Look
from training.cohort.head.skin import lips, skin
from training.cohort.implicit import Chain, Ellipsoid, Field, Points, join, step
from training.cohort.sampling import Slab

Array = NDArray[np.float64]

_COLLAR = 58.0  # mm below the chin


@dataclass(frozen=True, slots=True)
class Dress:
    """What a day adds: ``beard`` and ``hair`` as shares of what the person lets grow; ``clothes`` linear RGB;
    ``loose`` hair is not tied back."""

    beard: float
    hair: float
    clothes: tuple[float, float, float]
    loose: bool = True
    cap: bool = False
    mask: bool = False
    bandage: bool = False


def clad(slab: Slab, head: Head, look: Look, dress: Dress) -> Field:
    """Distance to the outermost surface: skin or hair."""
    outside = vault(slab, head)
    surface = skin(slab, head, outside.copy())
    bust = Ellipsoid((0.0, 24.0, head.shape.chin_z - 152.0), (185.0, 88.0, 74.0))
    slab.unite(surface, bust, blend=28.0)
    result: Field = np.minimum(surface, _cap(slab, head, look, dress, outside))
    mane = _mane(slab, head, look, dress)
    if mane is not None:
        result = join(result, mane, 7.0)
    if dress.mask:
        result = np.minimum(result, surface - np.float32(5.0) * _mask_region(slab.points, head))
    return result


def _cap(slab: Slab, head: Head, look: Look, dress: Dress, outside: Field) -> Field:
    """Hair on the scalp, and what is worn there."""
    return outside - np.float32(head.shape.scalp_thickness) - _hair_thickness(slab.points, head, look, dress)


def _mane(slab: Slab, head: Head, look: Look, dress: Dress) -> Field | None:
    """Long hair that is worn open falls behind the face to the shoulders."""
    if not (look.long and dress.loose):
        return None
    half, low = head.half_breadth, head.shape.chin_z
    fall = Chain([(0, 34, 44), (0, 42, -30), (0, 44, low - 42)], [half + 5, half + 1, half - 9], (1, 1.12, 1))
    mane = slab.full(1e3)
    window = slab.window(fall, 12.0)
    if window is not None:
        p = slab.points.at(window)
        front = np.float32(-4.0) + np.float32(0.10) * np.abs(p.z - np.float32(20.0)) - p.y
        strands = np.float32(0.5) * np.sin(np.arctan2(p.x, p.y - np.float32(20.0)) * np.float32(26.0 + look.grain % 9))
        mane[window] = -join(-fall.distance(p) - strands, -front, 8.0)
    return mane


def hair_edge(p: Points, head: Head, look: Look) -> Field:
    """Millimetres inside the hairline; negative on the bare face and neck."""
    s, f = head.shape, head.front
    u = p.y - np.float32(f)
    front = s.brow_height + look.hairline
    line = np.interp(
        u,
        [0, 22, 48, 72, 84, 96, 112, 140, 200],
        [front, front, front - 6, s.brow_height + 16, 2, -2, -20, -34, -40],
    ).astype(np.float32)
    side = np.abs(p.x)
    temple = np.float32(look.recession) * np.exp(-np.square((side - np.float32(34.0)) / np.float32(16.0)))
    temple *= np.float32(1.0) - step(u, 50.0, 40.0)
    result: Field = p.z - line - temple
    return result


def _hair_thickness(p: Points, head: Head, look: Look, dress: Dress) -> Field:
    edge = hair_edge(p, head, look)
    length = look.length * dress.hair
    full = np.float32(length) * step(edge, 12.0, 30.0)
    full += np.float32(0.35 * length) * step(p.z, head.shape.vault_height - 18.0, 50.0) * step(edge, 14.0, 24.0)
    if look.bald > 0.02:
        far = np.hypot(p.x, (p.y - np.float32(18.0)) * np.float32(0.8)) - np.float32(95.0 * look.bald)
        bare = np.float32(1.0) - step(far.astype(np.float32), 0.0, 14.0)
        bare *= step(p.z - np.float32(0.16) * (p.y - np.float32(20.0)), 56.0, 34.0)
        full *= np.float32(1.0) - bare
    wave = np.sin(p.x * np.float32(0.13) + np.float32(look.grain % 5)) * np.sin(
        p.z * np.float32(0.11) + p.y * np.float32(0.09)
    )
    full *= np.float32(1.0) + np.float32(0.12) * wave
    if dress.cap:
        full = np.maximum(full, np.float32(6.0) * step(edge + np.float32(14.0), 2.0, 3.0))
    if dress.bandage:
        full = np.maximum(full, np.float32(5.0) * _bandage(p, head))
    return full - np.float32(1.5)


def _bandage(p: Points, head: Head) -> Field:
    middle = np.float32(head.shape.brow_height + 34.0) - np.float32(0.18) * (p.y - np.float32(head.front))
    result: Field = np.float32(1.0) - step(np.abs(p.z - middle), 24.0, 3.0)
    return result


def _mask_region(p: Points, head: Head) -> Field:
    """Between the bridge of the nose and the chin, in front of the jaws."""
    s = head.shape
    top = np.float32(s.nasion_z - 0.45 * s.nose_length) - np.float32(0.35) * np.abs(p.x)
    low = np.float32(s.chin_z - 4.0)
    result: Field = step(top - p.z, 0.0, 2.0) * step(p.z - low, 0.0, 2.0)
    result *= np.float32(1.0) - step(p.y, head.front + 58.0, 3.0)
    return result


def colour(cloud: Cloud, head: Head, look: Look, dress: Dress) -> tuple[Array, Array]:
    """Linear RGB reflectance (n, 3) and gloss (n,) at points on the surface."""
    s = head.shape
    flat = cloud.bent()
    x, y, z = (v.astype(float) for v in (flat.x, flat.y, flat.z))
    waves = _grain(look, x, y, z)
    base = np.asarray(look.skin)[None] * (1.0 + 0.05 * waves[0] + 0.03 * waves[1])[:, None]
    gloss = np.full(len(x), 0.55)
    _flush(base, head, look, x, y, z, waves)
    _spots(base, head, look, x, y, z, waves)
    _eye_sockets(base, head, look, x, y, z)
    mouth = _lips(head, flat)
    red = np.clip(0.5 - mouth / 1.6, 0, 1) * (0.45 + 0.35 * look.lips)
    base = base * (1 - red[:, None]) + red[:, None] * base * np.array([0.92, 0.55, 0.58])
    gloss += 0.5 * red
    _beard(base, gloss, head, look, dress, (x, y, z), mouth, waves[2])
    _brows(base, gloss, head, look, x, y, z, waves[2])
    _hair(base, gloss, head, look, dress, cloud, waves)
    cloth = z < s.chin_z - _COLLAR + 0.10 * np.abs(x) - 0.25 * np.clip(-y - 10, 0, 60)
    base[cloth] = np.asarray(dress.clothes) * (0.9 + 0.1 * np.sin(x[cloth] * 2.1) * np.sin(z[cloth] * 2.3))[:, None]
    gloss[cloth] = 0.05
    _coverings(base, gloss, head, look, dress, flat)
    return np.clip(base, 0.003, 0.97), gloss


def _grain(look: Look, x: Array, y: Array, z: Array) -> list[Array]:
    """Three textures that belong to the person: coarse, fine, and finest."""
    rng = stream("grain", look.grain)
    textures = []
    for wavelength, count in ((26.0, 5), (7.0, 6), (2.6, 6)):
        total = np.zeros_like(x)
        for _ in range(count):
            k = rng.standard_normal(3)
            k *= 2 * np.pi / wavelength / np.linalg.norm(k) * rng.uniform(0.7, 1.4)
            total += np.sin(k[0] * x + k[1] * y + k[2] * z + rng.uniform(0, 2 * np.pi))
        textures.append(total / np.sqrt(count / 2))
    return textures


def _flush(base: Array, head: Head, look: Look, x: Array, y: Array, z: Array, waves: list[Array]) -> None:
    """Blood under the cheeks, the tip of the nose and the ears."""
    s, f = head.shape, head.front
    cheek = np.exp(-(((np.abs(x) - 40) / 17) ** 2) - ((z + 14) / 17) ** 2) * (y < f + 60)
    nose = np.exp(-((x / 13) ** 2) - ((z - (s.nasion_z - s.nose_length + 6)) / 12) ** 2) * (y < f + 12)
    ear = 1.0 / (1 + np.exp(-(np.abs(x) - head.half_breadth - 6) / 2.5)) * (z > -40)
    red = look.flush * (0.75 * cheek + 0.8 * nose + 0.5 * ear) * (1 + 0.3 * waves[0])
    base *= 1.0 - np.clip(red, 0, 1.2)[:, None] * np.array([0.02, 0.20, 0.17])


def _spots(base: Array, head: Head, look: Look, x: Array, y: Array, z: Array, waves: list[Array]) -> None:
    """Freckles over nose and cheeks, and a few moles where the person has them."""
    if look.freckles > 0.02:
        where = np.exp(-(((z - 4) / 22.0) ** 2)) * (y < head.front + 55)
        spot = np.clip(waves[2] - 1.1, 0, 1) * where * look.freckles
        base *= 1.0 - spot[:, None] * np.array([0.30, 0.42, 0.5])
    angle = np.arctan2(x, -(y - head.front - 80.0))
    for at, height, radius, dark in look.moles:
        far = np.hypot((angle - at) * 75.0, z - height)
        base *= 1.0 - (np.clip(1.2 - far / radius, 0, 1) * dark)[:, None] * np.array([0.75, 0.9, 0.95])


def _eye_sockets(base: Array, head: Head, look: Look, x: Array, y: Array, z: Array) -> None:
    ex, ey, ez = head.eye
    under = np.exp(-(((np.abs(x) - ex + 3) / 13) ** 2) - ((z - ez + 11) / 5.5) ** 2) * (y < ey + 4)
    lid = np.exp(-(((np.abs(x) - ex) / 15) ** 2) - ((z - ez - 5) / 7) ** 2) * (y < ey + 4)
    dark = (0.10 + 0.12 * look.wrinkles) * under + 0.14 * lid
    base *= 1.0 - dark[:, None] * np.array([0.8, 1.1, 1.0])


def _lips(head: Head, flat: Points) -> Array:
    """Millimetres outside the red of the lips."""
    upper, lower = lips(head)
    d = np.minimum(upper.distance(flat), lower.distance(head.hinge()(flat)))
    return np.asarray(d, dtype=float).ravel() + 0.4


def _beard(
    base: Array,
    gloss: Array,
    head: Head,
    look: Look,
    dress: Dress,
    at: tuple[Array, Array, Array],
    mouth: Array,
    fine: Array,
) -> None:
    if look.beard <= 0.0:
        return
    s, (x, y, z) = head.shape, at
    nose = s.nasion_z - s.nose_length - 2.0
    top = np.interp(y - head.front, [0, 10, 30, 55, 78, 84], [nose, nose, head.bite + 6, head.bite + 16, 6, 14])
    grows = np.clip((top - z) / 6.0, 0, 1) * np.clip((z - s.chin_z + 34) / 12, 0, 1)
    grows *= np.clip((head.front + 94 - y) / 12, 0, 1)
    grows *= np.clip((mouth - 1.0) / 2.0, 0, 1) * (0.8 + 0.2 * np.clip(np.abs(x) / 10 - 0.3, 0, 1))
    share = look.beard * (0.16 + 0.80 * dress.beard) * grows * np.clip(0.85 + 0.25 * fine, 0, 1.2)
    share = np.clip(share, 0, 0.95)[:, None]
    shadow = np.asarray(look.hair) * (0.6 if dress.beard < 0.2 else 0.9)
    base *= 1 - share
    base += share * (shadow + (0.35 if dress.beard < 0.2 else 0.05) * np.asarray(look.skin))
    gloss *= 1 - 0.6 * share[:, 0]


def _brows(base: Array, gloss: Array, head: Head, look: Look, x: Array, y: Array, z: Array, fine: Array) -> None:
    half, lift, arch, gap, dark = look.brow
    zb = head.shape.brow_height + lift - 2.0
    side = np.abs(x)
    path = np.interp(side, [gap, 0.62 * 44, 44, 52], [zb - 1.5, zb + arch + 1.0, zb - 1.0, zb - 4.0])
    thick = half * np.interp(side, [gap - 2, gap + 2, 28, 46, 52], [0.0, 1.0, 0.85, 0.4, 0.0])
    share = np.clip(0.5 + (thick - np.abs(z - path)) / 1.6, 0, 1) * (thick > 0.05) * (y < head.front + 45)
    strokes = 0.5 + 0.5 * np.sin(side * 3.2 + z * 1.5 + 2.0 * fine)
    share = (share * dark * (0.65 + 0.35 * strokes))[:, None]
    base *= 1 - share
    base += share * np.asarray(look.hair) * (0.8 - 0.35 * look.grey)
    gloss *= 1 - 0.7 * share[:, 0]


def _hair(base: Array, gloss: Array, head: Head, look: Look, dress: Dress, cloud: Cloud, waves: list[Array]) -> None:
    p = cloud.points
    outside = vault(cloud, head)
    bare = skin(cloud, head, outside.copy())
    over = bare - _cap(cloud, head, look, dress, outside)
    edge = cloud.in_order(hair_edge(p, head, look)).astype(float)
    x, y, z = (cloud.in_order(v).astype(float) for v in (p.x, p.y, p.z))
    wobble = 1.4 * np.sin(x * 0.31 + look.grain % 7) + np.sin(x * 0.83 + y * 0.6)
    cover = np.clip((edge + wobble + 0.8 * waves[2]) / 6.0, 0, 1)
    cover *= np.clip((cloud.in_order(over).astype(float) + 1.7) / 1.4, 0, 1)
    mane = _mane(cloud, head, look, dress)
    if mane is not None:
        cover = np.maximum(cover, np.clip((cloud.in_order(bare - mane).astype(float) + 0.6) / 0.8, 0, 1))
    around = np.arctan2(x, -(y - 25.0)) * 70.0
    flow = around + 5.0 * np.sin(z * 0.045 + look.grain % 11) + 1.2 * waves[1]
    strand = 0.55 * np.sin(flow * 0.95) + 0.4 * np.sin(flow * 1.7 + 1.0) + 0.45 * np.sin(flow * 0.37 + 2.0)
    tint = np.asarray(look.hair)[None] * np.clip(1.0 + 0.26 * strand + 0.10 * waves[1], 0.35, 1.8)[:, None]
    base *= 1 - cover[:, None]
    base += cover[:, None] * tint
    gloss *= 1 - cover
    gloss += cover * (0.18 + 0.14 * np.clip(strand, 0, 1))


def _coverings(base: Array, gloss: Array, head: Head, look: Look, dress: Dress, flat: Points) -> None:
    layers: list[tuple[Array, tuple[float, float, float]]] = []
    if dress.cap:
        edge = np.asarray(hair_edge(flat, head, look), float).ravel()
        layers.append((np.clip((edge + 13.0) / 2.0, 0, 1), (0.18, 0.42, 0.40)))
    if dress.bandage:
        layers.append((np.asarray(_bandage(flat, head), float).ravel(), (0.78, 0.76, 0.70)))
    if dress.mask:
        layers.append((np.asarray(_mask_region(flat, head), float).ravel(), (0.38, 0.60, 0.72)))
    for share, tint in layers:
        base *= 1 - share[:, None]
        base += (
            share[:, None] * np.array(tint) * (0.95 + 0.05 * np.sin(np.asarray(flat.z, float).ravel() * 1.1))[:, None]
        )
        gloss *= 1 - 0.9 * share


def relief(points: Array, head: Head, look: Look) -> Array:
    """Fine height (n,) in mm that age carves: lines of the forehead, crow's feet, the fold beside the mouth."""
    if look.wrinkles < 0.02:
        return np.zeros(len(points))
    s, f, w = head.shape, head.front, look.wrinkles
    x, y, z = points.T
    ex, _, ez = head.eye
    side = np.abs(x)
    brow = np.clip((z - s.brow_height - 9) / 8, 0, 1) * np.clip((s.brow_height + look.hairline - 4 - z) / 8, 0, 1)
    brow *= np.exp(-((x / 38) ** 4)) * (y < f + 30)
    height = -0.28 * w * brow * np.clip(np.sin(2 * np.pi * (z + 2.0 * np.cos(x / 14)) / 9.5), 0.2, 1)
    angle = np.arctan2(z - ez, side - ex - 6)
    near = np.hypot(z - ez, side - ex - 6)
    feet = np.exp(-(((near - 17) / 7) ** 2)) * (np.abs(angle) < 0.9) * (y < f + 60)
    height -= 0.22 * w * feet * np.clip(np.sin(angle * 9.0), 0, 1)
    wing, corner = (s.nose_width / 2 + 3, s.nasion_z - s.nose_length + 8), (s.mouth_width / 2 + 7, head.bite - 1)
    fold = Chain([(wing[0], wing[1], 0), (0.55 * wing[0] + 0.5 * corner[0], 0.5 * (wing[1] + corner[1]), 0),
                  (corner[0], corner[1], 0)], 0.0)  # fmt: skip
    flat = Points(side.astype(np.float32), z.astype(np.float32), np.zeros(len(x), np.float32))
    far = np.asarray(fold.distance(flat), float)
    height -= (0.35 + 1.1 * w) * np.exp(-((far / 2.6) ** 2)) * (y < f + 45)
    return np.asarray(height)
