"""What stands between the retina and the film: media, light and shadow, the lens of the camera."""

from __future__ import annotations

import cv2
import numpy as np

from training.cohort.dials.fundus import FundusVisit, Shot
from training.cohort.eye.camera import Camera, Plane
from training.cohort.eye.retina import Colour

_VEIL = np.array([0.62, 0.42, 0.25], np.float32)


def through_media(image: Colour, camera: Camera, shot: Shot, yellow: float, rng: np.random.Generator) -> Colour:
    """Defocus, movement, the yellow of the lens, and light scattered on the way; linear light, RGB."""
    blur = 0.45 + shot.defocus * camera.shape[1] / 640.0
    image = np.asarray(cv2.GaussianBlur(image, (0, 0), blur), dtype=np.float32)
    if shot.smear:
        image = _smeared(image, shot.smear * camera.shape[1] / 640.0, rng)
    haze = np.float32(min(0.85, shot.haze + 0.45 * shot.murk))
    veil = _VEIL * np.float32(float(image[::8, ::8, 0].mean()) / float(_VEIL[0]))
    image += (haze * (1 + np.float32(0.3 if shot.murk else 0.12) * _clouds(camera, rng, 4)))[..., None] * (veil - image)
    if shot.murk:
        threads = np.maximum(_clouds(camera, rng, 9) - np.float32(0.9), 0) * np.float32(1.1 * shot.murk)
        image *= np.exp(-threads[..., None] * np.array([0.5, 0.8, 0.8], np.float32))
    image *= np.exp(np.array([0.0, -0.08, -0.50], np.float32) * np.float32(yellow))
    return image


def illuminate(image: Colour, camera: Camera, visit: FundusVisit, shot: Shot, rng: np.random.Generator) -> None:
    """The flash: falling off to the edge, uneven, mirrored by the edge of a small pupil, shaded by lashes. In place."""
    off_axis, (x, y) = camera.off_axis(), _axes(camera)
    light = 1 - np.float32(visit.vignette) * np.square(off_axis) * np.sqrt(np.minimum(off_axis, np.float32(1.2)))
    light *= np.exp(np.float32(shot.gradient[0]) * x + np.float32(shot.gradient[1]) * y)
    light *= np.exp(np.float32(0.6 * shot.patches) * _clouds(camera, rng, 5))
    if shot.lashes:
        light *= _lashes(camera, rng)
    image *= (light * np.float32(1.22 * shot.exposure))[..., None]
    if shot.flare:
        angle = np.radians(shot.flare_angle)
        facing = x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))
        edge = np.exp(-np.square((off_axis - np.float32(1.03)) * np.float32(1 / 0.13)))
        image += (edge * np.clip(facing - np.float32(0.35), 0, 1))[..., None] * np.array([0.75, 0.52, 0.36], np.float32)
    if shot.dust:
        _dust(image, camera, rng)


def _axes(camera: Camera) -> tuple[Plane, Plane]:
    """Columns and rows from -1 to 1."""
    rows, columns = camera.shape
    return (
        np.linspace(-1, 1, columns, dtype=np.float32)[None, :],
        np.linspace(-1, 1, rows, dtype=np.float32)[:, None],
    )


def _clouds(camera: Camera, rng: np.random.Generator, knots: int) -> Plane:
    """Smooth noise over the picture, of the order of 1, with so many knots along each edge."""
    knotted = rng.standard_normal((knots, knots)).astype(np.float32)
    return np.asarray(cv2.resize(knotted, camera.shape[::-1], interpolation=cv2.INTER_CUBIC), dtype=np.float32)


def _smeared(image: Colour, length: float, rng: np.random.Generator) -> Colour:
    size = int(length) * 2 + 3
    kernel = np.zeros((size, size), np.float32)
    angle, middle = rng.uniform(0, np.pi), size // 2
    step = (length / 2 * np.cos(angle), length / 2 * np.sin(angle))
    ends = [(round(middle + way * step[0]), round(middle + way * step[1])) for way in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 1.0)
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), dtype=np.float32)


def _lashes(camera: Camera, rng: np.random.Generator) -> Plane:
    """The lower lid's shadow with the streaks of its lashes, 1 where there is none."""
    rows, columns = camera.shape
    shade = np.zeros((rows, columns), np.uint8)
    for _ in range(int(rng.integers(7, 15))):
        root = (int(rng.uniform(0.1, 0.9) * columns), rows + 5)
        tip = (int(root[0] + rng.normal(0, 0.06) * columns), int(rows * rng.uniform(0.74, 0.92)))
        cv2.line(shade, root, tip, int(rng.integers(90, 220)), max(2, columns // 90), cv2.LINE_AA)
    streaks = cv2.GaussianBlur(shade.astype(np.float32) / np.float32(255), (0, 0), columns / 90)
    lid = np.clip((_axes(camera)[1] - np.float32(rng.uniform(0.62, 0.9))) * np.float32(3.0), 0, 1)
    return np.asarray(np.exp(-np.float32(1.1) * (streaks + lid)), dtype=np.float32)


def _dust(image: Colour, camera: Camera, rng: np.random.Generator) -> None:
    """Grains and scratches on the lens: dark rings and pale lines."""
    rows, columns = camera.shape
    spots, lines = np.zeros((rows, columns), np.uint8), np.zeros((rows, columns), np.uint8)
    for _ in range(int(rng.integers(6, 22))):
        place = (int(rng.integers(columns)), int(rng.integers(rows)))
        cv2.circle(spots, place, int(rng.uniform(0.006, 0.022) * columns), int(rng.integers(70, 200)), -1, cv2.LINE_AA)
    for _ in range(int(rng.integers(3, 11))):
        start = np.array([rng.uniform(0, columns), rng.uniform(0, rows)])
        end = start + rng.normal(0, 0.25, 2) * columns
        ends = [(int(a), int(b)) for a, b in (start, end)]
        cv2.line(lines, ends[0], ends[1], int(rng.integers(60, 180)), max(1, columns // 500), cv2.LINE_AA)
    image *= np.exp(-np.float32(0.9 / 255) * cv2.GaussianBlur(spots, (0, 0), columns / 260).astype(np.float32))[
        ..., None
    ]
    image += np.float32(0.30 / 255) * lines.astype(np.float32)[..., None]
