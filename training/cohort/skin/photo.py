"""Skin under a dermoscope: enough for every route that takes such pictures, and no more; nothing is claimed on them."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from training.cohort.chance import stream
from training.cohort.dials.skin import SkinVisit
from training.cohort.illness import State
from training.cohort.person import Person
from training.cohort.visit import Visit

Plane = NDArray[np.float32]
Colour = NDArray[np.float32]

_TEXTURE = 256  # pixels of the person's skin texture, which repeats
_TEXTURE_STEP = 0.09  # mm


def skin_photo(who: Person, when: Visit) -> NDArray[np.uint8]:
    """A patch of a person's skin, with a pigmented lesion when the visit has one: uint8 RGB (rows, columns, 3).

    The person is in the tone, the furrows and the lesion, and weakly so.
    """
    visit = when.skin
    rng = stream(who.seed, "visit", who.number, when.number, "skin noise")
    x, y = _plane(visit)
    image = _skin(who, x, y)
    lesion = when.illness["lesion"]
    if lesion:
        _lay_lesion(image, x, y, lesion)
    _add_hairs(image, visit, rng)
    if visit.ink:
        _add_ink(image, visit, rng)
    return _develop(image, visit, rng)


def _plane(visit: SkinVisit) -> tuple[Plane, Plane]:
    """Millimetres on the skin of every pixel."""
    line = (np.arange(visit.matrix, dtype=np.float32) / np.float32(visit.matrix) - np.float32(0.5)) * visit.width
    u, v = np.meshgrid(line.astype(np.float32), line.astype(np.float32))
    a = np.radians(visit.roll)
    c, s = np.float32(np.cos(a)), np.float32(np.sin(a))
    return c * u - s * v + np.float32(visit.shift[0]), s * u + c * v + np.float32(visit.shift[1])


def _skin(who: Person, x: Plane, y: Plane) -> Colour:
    rng = stream(who.seed, "person", who.number, "skin")
    dark = float(np.clip(who.eyes.right.pigment + rng.normal(0, 0.12), 0, 1))
    base = np.array([0.90, 0.70, 0.58]) * (1 - dark) + np.array([0.50, 0.34, 0.25]) * dark
    base = base + rng.normal(0, 1) * np.array([0.015, -0.010, -0.008])
    furrows, mottle = _furrows(rng, rng.uniform(2.4, 3.4)), _noise(rng, 14.0)
    columns, rows = (v * np.float32(1 / _TEXTURE_STEP) + np.float32(_TEXTURE / 2) for v in (x, y))
    lines, patches = (
        cv2.remap(texture, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP) for texture in (furrows, mottle)
    )
    power = np.float32(0.030 + 0.03 * rng.random()) * lines + np.float32(0.025) * patches
    image = np.exp(power)[..., None] * base.astype(np.float32)
    image[..., 1:] *= np.exp(-np.float32(0.012) * patches)[..., None]
    return np.asarray(image, dtype=np.float32)


def _noise(rng: np.random.Generator, sigma: float) -> Plane:
    """Smooth noise that repeats, mean 0 and standard deviation 1."""
    values = rng.standard_normal((_TEXTURE, _TEXTURE), dtype=np.float32)
    across = np.fft.fftfreq(_TEXTURE).astype(np.float32)
    low = np.exp(-2 * np.square(np.pi * sigma) * (np.square(across)[:, None] + np.square(across)[None, :]))
    smooth = np.fft.ifft2(np.fft.fft2(values) * low).real
    return np.asarray(smooth / smooth.std(), dtype=np.float32)


def _furrows(rng: np.random.Generator, sigma: float) -> Plane:
    """Thin dark lines between fields: where smooth noise changes its sign."""
    lines = sum(-np.exp(-np.square(_noise(rng, sigma) * np.float32(5.0))) for _ in range(2))
    return np.asarray(lines - np.mean(lines), dtype=np.float32)


def _lay_lesion(image: Colour, x: Plane, y: Plane, lesion: State) -> None:
    """A brown spot with a margin, a network and dots; the spell's seed decides its shape."""
    rng = stream(lesion.seed, "lesion")
    angle = np.arctan2(y, x)
    margin = sum(
        np.float32(rng.normal(0, 0.05 + 0.05 * lesion.severity)) * np.cos(n * angle + np.float32(rng.uniform(0, 6.28)))
        for n in (1, 2, 3, 5)
    )
    radius = np.float32(1.8 + 2.6 * lesion.severity)
    stretch = np.float32(rng.uniform(0.75, 1.3))
    out = np.sqrt(np.square(x * stretch) + np.square(y / stretch)) / (radius * (1 + margin))
    cover = np.float32(0.5) - np.float32(0.5) * np.tanh((out - 1) * np.float32(rng.uniform(4, 9)))
    columns, rows = (v * np.float32(22.0) + np.float32(_TEXTURE / 2) for v in (x, y))
    network, patches = (
        cv2.remap(texture, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        for texture in (_furrows(rng, 3.2), _noise(rng, 18.0))
    )
    depth = cover * np.float32(rng.uniform(0.55, 1.1)) * np.exp(np.float32(0.22) * patches - np.float32(0.25) * network)
    dots = rng.uniform(-0.7, 0.7, (int(rng.integers(0, 16)), 2)) * float(radius)
    for a, b in dots:
        depth += np.float32(0.5) * np.exp(
            -(np.square(x - np.float32(a)) + np.square(y - np.float32(b))) * np.float32(70)
        )
    image *= np.exp(-depth[..., None] * np.array([0.75, 1.25, 1.45], np.float32) * np.float32(rng.uniform(0.7, 1.1)))


def _add_hairs(image: Colour, visit: SkinVisit, rng: np.random.Generator) -> None:
    size = visit.matrix
    shade = np.zeros((size, size), np.uint8)
    for _ in range(visit.hairs):
        start = rng.uniform(0, size, 2)
        end = start + rng.normal(0, size / 5, 2)
        bend = (start + end) / 2 + rng.normal(0, size / 16, 2)
        t = np.linspace(0, 1, 24)[:, None]
        line = (1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end
        cv2.polylines(shade, [np.rint(line * 16).astype(np.int32)], False, 220, max(1, size // 200), cv2.LINE_AA, 4)
    image *= np.exp(-np.float32(1.5 / 255) * shade.astype(np.float32))[..., None]


def _add_ink(image: Colour, visit: SkinVisit, rng: np.random.Generator) -> None:
    size = visit.matrix
    mark = np.zeros((size, size), np.uint8)
    centre = (int(size * rng.uniform(0.3, 0.7)), int(size * rng.uniform(0.3, 0.7)))
    begin = int(rng.integers(0, 360))
    axes = (int(size * 0.36), int(size * 0.33))
    cv2.ellipse(mark, centre, axes, 0, begin, begin + 220, 255, max(3, size // 36), cv2.LINE_AA)
    soft = cv2.GaussianBlur(mark, (0, 0), size / 200).astype(np.float32) * np.float32(1 / 255)
    image *= np.exp(-soft[..., None] * np.array([1.7, 1.2, 0.35], np.float32))


def _develop(image: Colour, visit: SkinVisit, rng: np.random.Generator) -> NDArray[np.uint8]:
    size = visit.matrix
    line = np.linspace(-1, 1, size, dtype=np.float32)
    across, down = line[None, :], line[:, None]
    towards = rng.uniform(0, 2 * np.pi)
    slope = np.float32(np.cos(towards)) * across + np.float32(np.sin(towards)) * down
    light = np.float32(visit.exposure) * np.exp(np.float32(visit.gradient) * slope)
    if visit.glare or visit.bubbles:
        image += _shine(visit, rng)[..., None]
    image = cv2.GaussianBlur(image, (0, 0), visit.defocus) * light[..., None] * np.array(visit.gains, np.float32)
    image += np.float32(visit.noise) * rng.standard_normal(image.shape, dtype=np.float32)
    if visit.dermoscope:
        far = np.sqrt(np.square(across) + np.square(down))
        image *= np.clip((np.float32(1.04) - far) * np.float32(size / 6), 0, 1)[..., None]
    shown = np.power(np.clip(image, 0, 1), np.float32(visit.gamma)) * np.float32(255)
    result = np.ascontiguousarray(np.rint(shown).astype(np.uint8))
    if visit.ruler:
        for n in range(int(visit.width)):
            column, long = int(n * size / visit.width), size // (22 if n % 5 == 0 else 40)
            cv2.line(result, (column, size - 1), (column, size - 1 - long), (25, 25, 25), max(1, size // 260))
    return result


def _shine(visit: SkinVisit, rng: np.random.Generator) -> Plane:
    """Light mirrored by the skin, and the rims of bubbles."""
    size = visit.matrix
    light = np.zeros((size, size), np.uint8)
    if visit.bubbles:
        for _ in range(int(rng.integers(2, 9))):
            place = (int(rng.integers(size)), int(rng.integers(size)))
            cv2.circle(light, place, int(size * rng.uniform(0.008, 0.03)), 110, 1, cv2.LINE_AA)
    if visit.glare:
        for _ in range(int(rng.integers(3, 10))):
            place = (int(rng.integers(size)), int(rng.integers(size)))
            axes = (int(size * rng.uniform(0.01, 0.09)), int(size * rng.uniform(0.01, 0.09)))
            cv2.ellipse(
                light, place, axes, float(rng.uniform(0, 180)),
                0, 360, 150, -1, cv2.LINE_AA,
            )  # fmt: skip
    return np.asarray(cv2.GaussianBlur(light, (0, 0), 1.2).astype(np.float32) * np.float32(1 / 255), dtype=np.float32)
