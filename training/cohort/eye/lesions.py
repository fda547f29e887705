"""What disease leaves on a retina: diabetic retinopathy by its international grades (Wilkinson et al. 2003), drusen.

A spell of illness has a seed, so the same spots are seen as long as it lasts. Both eyes are ill, in other places.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from training.cohort.chance import stream
from training.cohort.eye.camera import Camera, Plane, Points
from training.cohort.eye.ribbons import fill_branch
from training.cohort.eye.shape import EyeShape
from training.cohort.eye.tree import Branch
from training.cohort.illness import Illness

Canvas = NDArray[np.uint8]

_SHIFT = 4


@dataclass(frozen=True, slots=True)
class _Grade:
    """How many there are of each, (fewest, most)."""

    aneurysms: tuple[int, int]
    blots: tuple[int, int] = (0, 0)
    exudates: tuple[int, int] = (0, 0)
    cotton: tuple[int, int] = (0, 0)
    fronds: tuple[int, int] = (0, 0)


_GRADES: Mapping[int, _Grade] = {
    1: _Grade((4, 10)),
    2: _Grade((8, 20), blots=(4, 12), exudates=(0, 2)),
    3: _Grade((15, 32), blots=(14, 34), exudates=(1, 3), cotton=(2, 5)),
    4: _Grade((15, 32), blots=(12, 30), exudates=(1, 3), cotton=(2, 5), fronds=(1, 3)),
}


@dataclass(frozen=True, slots=True)
class _Paint:
    """How a kind of lesion changes the light: towards a colour, or (blood) darker by powers of e. ``blur`` in mm."""

    colour: tuple[float, float, float]
    strength: float
    blur: float
    absorbs: bool = False


_PAINTS: Mapping[str, _Paint] = {
    "drusen": _Paint((0.90, 0.60, 0.30), 0.55, 0.020),
    "cotton": _Paint((0.88, 0.74, 0.56), 0.80, 0.070),
    "exudate": _Paint((0.98, 0.80, 0.40), 0.90, 0.008),
    "blood": _Paint((0.42, 1.25, 0.85), 1.0, 0.014, absorbs=True),
    "fronds": _Paint((0.20, 0.80, 0.55), 1.0, 0.004, absorbs=True),
}


def lay_lesions(image: NDArray[np.float32], eye: EyeShape, camera: Camera, ill: Illness) -> None:
    """Paints the disease of one eye over its reflectance, float32 (rows, columns, 3), in place."""
    canvases: dict[str, Canvas] = {}
    drusen, retinopathy = ill["drusen"], ill["retinopathy"]
    if drusen:
        _Painter(eye, camera, canvases, stream(drusen.seed, "drusen", eye.side)).drusen(drusen.severity)
    if retinopathy:
        painter = _Painter(eye, camera, canvases, stream(retinopathy.seed, "retinopathy", eye.side))
        painter.retinopathy(_GRADES[ill.grade("retinopathy")])
    for name, paint in _PAINTS.items():
        if name in canvases:
            _apply(image, canvases[name], paint, camera.scale)


def _apply(image: NDArray[np.float32], canvas: Canvas, paint: _Paint, scale: float) -> None:
    cover: Plane = np.asarray(canvas, dtype=np.float32) * np.float32(paint.strength / 255)
    cover = np.asarray(cv2.GaussianBlur(cover, (0, 0), max(0.5, paint.blur * scale)), dtype=np.float32)
    for n, value in enumerate(paint.colour):
        if paint.absorbs:
            image[..., n] *= np.exp(-np.float32(value) * cover)
        else:
            image[..., n] += cover * (np.float32(value) - image[..., n])


class _Painter:
    """Draws lesions of one disease on canvases of the picture's size, one for each kind of paint."""

    def __init__(self, eye: EyeShape, camera: Camera, canvases: dict[str, Canvas], rng: np.random.Generator) -> None:
        self.eye, self.camera, self.rng = eye, camera, rng
        self._canvases = canvases

    def drusen(self, severity: float) -> None:
        for _ in range(int(12 + 70 * severity)):
            place = self.rng.normal(0, (1.15, 1.0))
            self._blob("drusen", place, self.rng.uniform(0.02, 0.045 + 0.06 * severity), self.rng.uniform(0.4, 1.0))

    def retinopathy(self, grade: _Grade) -> None:
        steps: tuple[tuple[tuple[int, int], Callable[[], None]], ...] = (
            (grade.aneurysms, lambda: self._blob("blood", self._anywhere(), self.rng.uniform(0.022, 0.045), 0.8)),
            (grade.blots, self._blot),
            (grade.exudates, self._exudates),
            (grade.cotton, self._cotton),
            (grade.fronds, self._fronds),
        )
        # Each kind of lesion has a generator of its own: a picture that shows fewer of one shows the same others.
        base = int(self.rng.integers(2**62))
        for n, (between, draw) in enumerate(steps):
            self.rng = stream(base, n)
            for _ in range(int(self.rng.integers(*between, endpoint=True))):
                draw()

    def _anywhere(self) -> Points:
        """A place at the posterior pole, off the disc."""
        while True:
            place = np.array([1.0, 0.0]) + self.rng.normal(0, (3.3, 2.7))
            if np.linalg.norm(place - np.asarray(self.eye.disc)) > 0.75 * self.eye.disc_height:
                return np.asarray(place)

    def _blob(self, paint: str, place: Points, radius: float, strength: float = 1.0, ragged: float = 0.12) -> None:
        angles = np.linspace(0, 2 * np.pi, 18, endpoint=False)
        outline = radius * (1 + ragged * sum(self.rng.normal() * np.cos(n * angles + n) for n in (1, 2, 3)))
        ring = np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.maximum(outline, 0.3 * radius)[:, None]
        corners = np.rint(self.camera.pixels(np.asarray(place)[None] + ring) * (1 << _SHIFT)).astype(np.int32)
        cv2.fillPoly(self._canvas(paint), [corners], round(255 * strength), cv2.LINE_AA, _SHIFT)

    def _blot(self) -> None:
        place = self._anywhere()
        if self.rng.random() < 0.3:  # a flame in the nerve fibres, drawn out away from the disc
            along = place - np.asarray(self.eye.disc)
            along = along / np.linalg.norm(along)
            for k in np.linspace(-1, 1, 7):
                step = along * k * self.rng.uniform(0.12, 0.24) + self.rng.normal(0, 0.02, 2)
                self._blob("blood", place + step, 0.055 * (1.2 - k * k), 0.75, 0.25)
        else:
            self._blob("blood", place, self.rng.uniform(0.05, 0.16), self.rng.uniform(0.7, 1.0), 0.2)

    def _exudates(self) -> None:
        """Hard exudates around a leak, in part of a ring."""
        centre, radius = self.rng.normal(0, 1.9, 2), self.rng.uniform(0.35, 0.9)
        begin, width = self.rng.uniform(0, 2 * np.pi), self.rng.uniform(1.5, 5.5)
        for _ in range(int(self.rng.integers(12, 34))):
            angle = begin + width * self.rng.random()
            place = centre + radius * self.rng.normal(1, 0.16) * np.array([np.cos(angle), np.sin(angle)])
            self._blob("exudate", place, self.rng.uniform(0.018, 0.06), 1.0, 0.2)

    def _cotton(self) -> None:
        angle = self.rng.uniform(0, 2 * np.pi)
        place = np.asarray(self.eye.disc) + self.rng.uniform(1.4, 3.6) * np.array([np.cos(angle), np.sin(angle)])
        for _ in range(4):
            self._blob("cotton", place + self.rng.normal(0, 0.09, 2), self.rng.uniform(0.09, 0.18), 0.85, 0.15)

    def _fronds(self) -> None:
        """New vessels, fine and in a tangle, at the disc or on a main vessel."""
        at_disc = self.rng.random() < 0.5
        root = np.asarray(self.eye.disc) + self.rng.normal(0, 0.35, 2) if at_disc else self._anywhere()
        for _ in range(int(self.rng.integers(9, 16))):
            angle, bend = self.rng.uniform(0, 2 * np.pi), self.rng.normal(0, 0.5)
            headings = angle + np.cumsum(self.rng.normal(bend / 6, 0.35, 14))
            steps = 0.055 * np.stack([np.cos(headings), np.sin(headings)], axis=1)
            line = root + np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)])
            fill_branch(self._canvas("fronds"), Branch(line, np.linspace(0.026, 0.014, len(line))), self.camera)

    def _canvas(self, paint: str) -> Canvas:
        if paint not in self._canvases:
            self._canvases[paint] = np.zeros(self.camera.shape, np.uint8)
        return self._canvases[paint]
