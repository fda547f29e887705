"""A tile of stained tissue: enough for every route that takes such pictures, and no more; nothing is claimed on it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from training.cohort.chance import stream
from training.cohort.dials.histology import HistologyVisit
from training.cohort.person import Person
from training.cohort.visit import Visit

Plane = NDArray[np.float32]

# Optical density of red, green and blue for each stain (Ruifrok and Johnston 2001, Anal Quant Cytol Histol 23:291).
_HAEMATOXYLIN = np.array([0.65, 0.70, 0.29])
_EOSIN = np.array([0.07, 0.99, 0.11])
_USUAL = 320.0


def histology_tile(who: Person, when: Visit) -> NDArray[np.uint8]:
    """Glands in stroma, haematoxylin and eosin: uint8 RGB (rows, columns, 3).

    Every visit shows another place of the person's tissue: what stays is how large and how close nuclei and glands are.
    """
    visit = when.histology
    traits = _Traits(who)
    rng = stream(who.seed, "visit", who.number, when.number, "histology")
    nuclei, cytoplasm = _tissue(traits, visit, rng)
    if visit.fold:
        _fold(nuclei, cytoplasm, rng)
    return _stained(nuclei, cytoplasm, visit, rng)


class _Traits:
    """What a person's tissue looks like, in micrometres."""

    def __init__(self, who: Person) -> None:
        rng = stream(who.seed, "person", who.number, "histology")
        self.nucleus = float(rng.uniform(3.4, 5.0))
        self.elongation = float(rng.uniform(1.1, 1.6))
        self.gland = float(rng.uniform(26, 44))
        self.lumen = float(rng.uniform(0.25, 0.55))
        self.spacing = float(rng.uniform(1.45, 1.9))
        self.stroma = float(rng.uniform(0.4, 1.0))
        self.fibre = float(rng.uniform(2.0, 5.0))


def _tissue(traits: _Traits, visit: HistologyVisit, rng: np.random.Generator) -> tuple[Plane, Plane]:
    """How much nucleus and how much of everything else each pixel holds, 0 to about 1."""
    size = visit.matrix
    scale = size / (_USUAL * visit.resolution)  # pixels to the micrometre
    cytoplasm = (np.float32(0.42) + np.float32(0.16) * _fibres(traits, size, scale, rng)).astype(np.float32)
    nuclei = np.zeros((size, size), np.uint8)
    layer = np.zeros((size, size), np.uint8)
    lumina = np.zeros((size, size), np.uint8)
    step = traits.gland * 2 * traits.spacing * scale / 1.6
    count = int(size / step) + 2
    for row in range(-1, count):
        for column in range(-1, count):
            centre = (np.array([column + 0.5 * (row % 2), row]) + rng.normal(0, 0.16, 2)) * step
            _gland(centre, traits, scale, rng, layer, lumina, nuclei)
    for _ in range(int(traits.stroma * 240 / visit.resolution**2)):
        place = rng.uniform(0, size, 2)
        if not layer[int(place[1]), int(place[0])]:
            _nucleus(nuclei, place, rng.uniform(0, 180), traits.nucleus * 0.75 * scale, 2.3, rng)
    soft, open_space = (
        cv2.GaussianBlur(canvas, (0, 0), 1.0).astype(np.float32) * np.float32(1 / 255) for canvas in (layer, lumina)
    )
    cytoplasm += soft * (np.float32(0.55) - cytoplasm)
    cytoplasm *= 1 - np.float32(0.94) * open_space
    chromatin = cv2.GaussianBlur(rng.standard_normal((size, size), dtype=np.float32), (0, 0), 1.1)
    filled = nuclei.astype(np.float32) * np.float32(1 / 255) * np.clip(1 + np.float32(0.9) * chromatin, 0.45, 1.6)
    return np.asarray(filled, dtype=np.float32), np.asarray(cytoplasm, dtype=np.float32)


def _fibres(traits: _Traits, size: int, scale: float, rng: np.random.Generator) -> Plane:
    """Wavy streaks, mean 0 and standard deviation 1."""
    values = rng.standard_normal((size, size), dtype=np.float32)
    streaks = cv2.GaussianBlur(values, (0, 0), sigmaX=traits.fibre * 4 * scale, sigmaY=0.55 * traits.fibre * scale)
    bend = cv2.resize(rng.standard_normal((6, 6)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    columns, rows = np.meshgrid(np.arange(size, dtype=np.float32), np.arange(size, dtype=np.float32))
    bent = cv2.remap(
        streaks, columns, rows + np.float32(16 * scale) * bend, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
    )
    return np.asarray(bent / bent.std(), dtype=np.float32)


def _gland(
    centre: NDArray[np.float64],
    traits: _Traits,
    scale: float,
    rng: np.random.Generator,
    layer: NDArray[np.uint8],
    lumina: NDArray[np.uint8],
    nuclei: NDArray[np.uint8],
) -> None:
    """A ring of cells around a lumen; nuclei stand at its outer margin, their long axes towards the middle."""
    radius = traits.gland * scale * rng.uniform(0.7, 1.15)
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    uneven = np.ones(len(angles))
    for n in (2, 3, 4):
        uneven += rng.normal(0, 0.07) * np.cos(n * angles + rng.uniform(0, 6.28))
    ring = np.stack([np.cos(angles), np.sin(angles)], axis=1) * uneven[:, None]
    for canvas, share in ((layer, 1.0), (lumina, traits.lumen)):
        corners = np.rint((centre + ring * (radius * share)) * 16).astype(np.int32)
        cv2.fillPoly(canvas, [corners], 255, cv2.LINE_AA, 4)
    around = int(2 * np.pi * radius / (traits.nucleus * 2.0 * scale))
    for n in range(around):
        at = n / around * len(angles)
        out = ring[int(at) % len(angles)]
        place = centre + out * radius * rng.normal(0.84, 0.035)
        turn = np.degrees(np.arctan2(out[1], out[0])) + rng.normal(0, 14)
        _nucleus(nuclei, place, turn, traits.nucleus * scale, traits.elongation, rng)


def _nucleus(
    canvas: NDArray[np.uint8],
    place: NDArray[np.float64],
    turn: float,
    radius: float,
    elongation: float,
    rng: np.random.Generator,
) -> None:
    size = radius * rng.uniform(0.8, 1.2)
    axes = (int(size * elongation * 16), int(size * 16))
    centre = (int(place[0] * 16), int(place[1] * 16))
    cv2.ellipse(canvas, centre, axes, float(turn), 0, 360, int(rng.integers(150, 256)), -1, cv2.LINE_AA, 4)


def _fold(nuclei: Plane, cytoplasm: Plane, rng: np.random.Generator) -> None:
    """The section lies double along a line."""
    size = nuclei.shape[0]
    band = np.zeros((size, size), np.uint8)
    ends = [(int(rng.integers(size)), 0), (int(rng.integers(size)), size)]
    cv2.line(band, ends[0], ends[1], 255, max(4, size // 18), cv2.LINE_AA)
    twice = 1 + cv2.GaussianBlur(band, (0, 0), size / 120).astype(np.float32) * np.float32(1.1 / 255)
    nuclei *= twice
    cytoplasm *= twice


def _stained(nuclei: Plane, cytoplasm: Plane, visit: HistologyVisit, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Beer-Lambert through both stains, the microscope's focus, the camera's noise."""
    h = (_HAEMATOXYLIN * (1 + visit.hue[0] * np.array([1.0, -0.6, 0.8]))).astype(np.float32)
    e = (_EOSIN * (1 + visit.hue[1] * np.array([1.5, -0.4, 2.0]))).astype(np.float32)
    blue = np.float32(1.35 * visit.haematoxylin) * nuclei + np.float32(0.10) * cytoplasm
    pink = np.float32(0.62 * visit.eosin) * cytoplasm
    density = blue[..., None] * h + pink[..., None] * e
    if visit.pen:
        size = visit.matrix
        mark = np.zeros((size, size), np.uint8)
        start = (int(rng.integers(size)), int(rng.integers(size)))
        cv2.line(mark, start, (int(rng.integers(size)), size), 255, size // 8, cv2.LINE_AA)
        density += mark.astype(np.float32)[..., None] * np.array([1.1, 0.5, 0.9], np.float32) * np.float32(1 / 255)
    image = np.exp(-cv2.GaussianBlur(density, (0, 0), visit.defocus)) * np.float32(visit.light)
    image += np.float32(visit.noise) * rng.standard_normal(image.shape, dtype=np.float32)
    return np.asarray(np.rint(np.clip(image, 0, 1) * np.float32(255)), dtype=np.uint8)
