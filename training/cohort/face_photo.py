"""The photographer: a person's face on one day, from the front and from the sides, each with a light of its own."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from training.cohort.chance import stream
from training.cohort.dials.face_photo import FacePhotoVisit, Shot
from training.cohort.head.cloud import Cloud
from training.cohort.head.complexion import Dress, clad, colour, relief
from training.cohort.head.eyeball import Eyes
from training.cohort.head.frame import Head
from training.cohort.head.look import Look, look_of
from training.cohort.head.surface import Tracer
from training.cohort.head.today import head_of
from training.cohort.implicit import Matrix, rotation
from training.cohort.person import Person
from training.cohort.sampling import Slab
from training.cohort.visit import Visit

Array = NDArray[np.float64]

# Where the camera stands, in the room: looking backwards (at a frontal face), to the left, to the right.
_FORWARD = {"FRONTAL": (0.0, 1.0, 0.0), "RIGHT": (1.0, 0.0, 0.0), "LEFT": (-1.0, 0.0, 0.0)}
_UP = np.array([0.0, 0.0, 1.0])
# Light that skin lets through softens its terminator, red most.
_WRAP = np.array([0.30, 0.16, 0.11])


def face_photos(who: Person, when: Visit) -> list[NDArray[np.uint8]]:
    """uint8 RGB (rows, columns, 3) for each of ``when.face_photo.shots``, sRGB."""
    visit = when.face_photo
    head = head_of(who, when, visit)
    look = look_of(who, who.years(when.moment.date()))
    dress = Dress(visit.beard, visit.haircut, visit.clothes, visit.loose, visit.cap, visit.mask, visit.bandage)
    scene = _Scene(head, look, dress, _tracer(head, look, dress, visit.frame / visit.matrix))
    return [
        _photograph(scene, visit, shot, stream(who.seed, "visit", who.number, when.number, "face photo noise", n))
        for n, shot in enumerate(visit.shots)
    ]


@dataclass(frozen=True, slots=True)
class _Scene:
    head: Head
    look: Look
    dress: Dress
    tracer: Tracer


def _tracer(head: Head, look: Look, dress: Dress, pixel: float) -> Tracer:
    s = head.shape
    low = np.array([-162.0, min(head.incisor - s.nose_protrusion, head.front) - 16.0, s.chin_z - 150.0])
    high = np.array([162.0, s.vault_centre_y + head.half_length + 40.0, s.vault_height + 36.0])

    def surface(slab: Slab) -> NDArray[np.float32]:
        return clad(slab, head, look, dress)

    return Tracer.of(surface, head, low, high, spacing=min(max(2.8 * pixel, 1.6), 5.0))


def _photograph(scene: _Scene, visit: FacePhotoVisit, shot: Shot, rng: np.random.Generator) -> NDArray[np.uint8]:
    rows, columns = visit.matrix, round(0.8 * visit.matrix)
    turn = rotation(*shot.tilt)
    start, rays, light = _camera(scene.head, visit, shot, turn, (rows, columns))
    hit, points = scene.tracer.picture(start, rays)
    image = _background(visit, shot, rows, columns)
    image[hit] = _shade(scene, visit, shot, points[hit], rays[hit], light, start)
    return _develop(image, visit, shot, rng)


def _camera(
    head: Head, visit: FacePhotoVisit, shot: Shot, turn: Matrix, shape: tuple[int, int]
) -> tuple[Array, Array, Array]:
    """The camera's place, a unit ray for each pixel and the direction to the light: all in the head's own frame."""
    forward = np.array(_FORWARD[shot.view])
    right = np.cross(forward, _UP)
    aim = np.array([0.0, head.front + 62.0, 0.5 * (head.shape.vault_height + head.shape.chin_z) - 22.0])
    rows, columns = shape
    pixel = visit.frame / rows
    across = (np.arange(columns) - columns / 2 + 0.5) * pixel - shot.shift[0]
    down = (np.arange(rows) - rows / 2 + 0.5) * pixel + shot.shift[1]
    plane = across[None, :, None] * right - down[:, None, None] * _UP + forward * visit.distance
    rays = plane / np.linalg.norm(plane, axis=2, keepdims=True)
    aside, above = np.radians(shot.light)
    light = np.cos(above) * (-np.cos(aside) * forward + np.sin(aside) * right) + np.sin(above) * _UP
    return aim - turn.T @ forward * visit.distance, rays @ turn, light @ turn


def _shade(
    scene: _Scene, visit: FacePhotoVisit, shot: Shot, points: Array, rays: Array, light: Array, camera: Array
) -> Array:
    head, look, tracer = scene.head, scene.look, scene.tracer
    distance, normals = tracer.exact(points)
    points = points - normals * distance[:, None]
    cloud = Cloud(points, head.shape.warp)
    bent = cloud.bent()
    at = np.stack([bent.x, bent.y, bent.z], axis=1).astype(float)
    normals = _carved(at, normals, head, look)
    base, gloss = colour(cloud, head, look, scene.dress)
    facing = normals @ light
    shadow = tracer.lit(points + 0.8 * normals, light)
    open_ = tracer.open(points, normals)
    ambient = shot.ambient * open_ * (0.75 + 0.25 * normals[:, 2])
    key = (1.0 - shot.ambient) * 1.15
    soft = np.clip((facing[:, None] + _WRAP) / (1 + _WRAP), 0, 1) * (0.08 + 0.92 * shadow)[:, None]
    result = base * (ambient[:, None] + key * soft)
    half = light - rays
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    shine = np.clip(np.sum(normals * half, axis=1), 0, 1)
    result += (key * shadow * gloss * (0.10 * shine**14 + 0.12 * shine**60) * (facing > 0))[:, None]
    eyes = Eyes.of(head, look, shot.lids, np.radians(shot.gaze), camera if shot.view == "FRONTAL" else None)
    eyes.lay(result, at, rays, light, (ambient, key * shadow))
    return np.asarray(result)


def _carved(at: Array, normals: Array, head: Head, look: Look) -> Array:
    """Normals tilted by the fine relief that is too small for the surface itself."""
    if look.wrinkles < 0.02:
        return normals
    lined = np.flatnonzero((at[:, 1] < head.front + 60.0) & (at[:, 2] > head.bite - 12.0))
    part, facing, step = at[lined], normals[lined], 0.4
    here = relief(part, head, look)
    slope = np.stack([(relief(part + step * np.eye(3)[n], head, look) - here) / step for n in range(3)], axis=1)
    slope -= facing * np.sum(slope * facing, axis=1, keepdims=True)
    bumped = normals.copy()
    bumped[lined] -= slope
    return np.asarray(bumped / np.linalg.norm(bumped, axis=1, keepdims=True))


def _background(visit: FacePhotoVisit, shot: Shot, rows: int, columns: int) -> Array:
    """A plain wall, brighter on the side of the light."""
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    lit = 1.0 + 0.22 * np.sin(np.radians(shot.light[0])) * x - 0.16 * y - 0.08 * (x**2 + y**2)
    return np.asarray(np.asarray(visit.background)[None, None] * 0.8 * lit[..., None])


def _develop(image: Array, visit: FacePhotoVisit, shot: Shot, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Exposure, white balance, lens, noise, the camera's curve."""
    balance = np.exp(np.array([0.5, 0.0, -0.5]) * visit.warmth)
    scaled = image * balance * (1.55 * 2.0**shot.exposure)
    scaled = cv2.GaussianBlur(scaled.astype(np.float32), (0, 0), visit.blur * visit.matrix / 400)
    shown = np.clip(scaled, 0, None)
    # Highlights roll off instead of clipping; then the transfer curve of sRGB (IEC 61966-2-1).
    shown = np.where(shown > 0.7, 0.7 + 0.3 * np.tanh((shown - 0.7) / 0.3), shown)
    curve = np.where(shown <= 0.0031308, 12.92 * shown, 1.055 * np.power(np.maximum(shown, 1e-6), 1 / 2.4) - 0.055)
    curve = np.clip(0.5 + (curve - 0.5) * visit.contrast, 0, 1)
    grain = rng.standard_normal((*curve.shape[:2], 1), dtype=np.float32) * 0.8
    grain = grain + rng.standard_normal(curve.shape, dtype=np.float32) * 0.6
    curve = curve + visit.noise * cv2.GaussianBlur(grain, (0, 0), 0.6) * 1.8
    return np.asarray(np.clip(np.rint(curve * 255), 0, 255), dtype=np.uint8)
