"""What is laid over a finished film: markers, burned-in text, the edges of the collimator."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from training.cohort.dials.chest_film import ChestFilmVisit
from training.cohort.implicit import Field
from training.cohort.person import Person
from training.cohort.visit import Visit

_FONT = cv2.FONT_HERSHEY_SIMPLEX


def close_shutter(shown: Field, shape: str, rng: np.random.Generator) -> None:
    """Darkens what lies outside the collimator's opening; a little scatter reaches there."""
    rows, columns = shown.shape
    y, x = np.mgrid[:rows, :columns].astype(np.float32)
    angle = rng.normal(0, 0.012)
    u = (x - columns / 2) * np.float32(np.cos(angle)) + (y - rows / 2) * np.float32(np.sin(angle))
    v = (y - rows / 2) * np.float32(np.cos(angle)) - (x - columns / 2) * np.float32(np.sin(angle))
    gaps = rng.uniform(0.0, 0.075, 4)
    half_x, half_y = columns / 2, rows / 2
    away = np.maximum.reduce(
        [
            u - np.float32(half_x * (1 - 2 * gaps[0])),
            -u - np.float32(half_x * (1 - 2 * gaps[1])),
            v - np.float32(half_y * (1 - 2 * gaps[2])),
            -v - np.float32(half_y * (1 - 2 * gaps[3])),
        ]
    )
    if shape == "circle":
        away = np.maximum(away, np.hypot(u, v) - np.float32(0.56 * max(rows, columns)))
    elif shape == "octagon":
        away = np.maximum(away, (np.abs(u) + np.abs(v)) * np.float32(0.7071) - np.float32(0.56 * max(rows, columns)))
    shown *= np.float32(1) - np.float32(0.95) * np.clip(away * np.float32(0.5) + np.float32(0.5), 0, 1)


def mark_side(shown: Field, style: str, view: str, rng: np.random.Generator) -> None:
    """A lead letter beside the patient."""
    rows, columns = shown.shape
    left = view == "LL" or bool(rng.random() < 0.6)
    column = int(columns * (rng.uniform(0.86, 0.92) if left else rng.uniform(0.03, 0.09)))
    row = int(rows * (rng.uniform(0.05, 0.18) if rng.random() < 0.75 else rng.uniform(0.78, 0.93)))
    scale = rows / 640.0
    letters = np.zeros(shown.shape, np.uint8)
    size = rng.uniform(0.9, 1.3) * scale
    _write(letters, "L" if left else "R", size, (column, row))
    side = int(30 * size)
    if style == "boxed":
        corner = (column - side // 3, row + side // 3)
        cv2.rectangle(
            letters, corner, (corner[0] + int(1.2 * side), corner[1] - int(1.25 * side)), 255, max(1, int(2 * scale))
        )
    elif style == "initials":
        code = "".join(chr(65 + int(n)) for n in rng.integers(0, 26, 2))
        _write(letters, code, 0.45 * size, (column - int(4 * scale), row + int(18 * scale)))
    elif style == "ring":
        cv2.circle(letters, (column + side // 3, row - side // 3), side, 255, max(1, int(3 * scale)))
    if view == "AP":
        _write(
            letters,
            str(rng.choice(["SUPINE", "AP", "BED", "PORTABLE"])),
            0.42 * scale,
            (max(2, column - int(0.04 * columns)), row + int(36 * scale)),
        )
    np.maximum(shown, letters.astype(np.float32) * np.float32(rng.uniform(0.85, 1.0) / 255), out=shown)


def burn_in(shown: Field, who: Person, when: Visit, film: ChestFilmVisit, view: str) -> None:
    """The patient's ID, the date and the technique in two corners."""
    rows, columns = shown.shape
    scale = rows / 640.0
    letters = np.zeros(shown.shape, np.uint8)
    step = int(17 * scale)
    top = [who.patient_id, who.name, when.moment.strftime("%d.%m.%Y %H:%M")]
    for n, text in enumerate(top, start=1):
        _write(letters, text, 0.42 * scale, (int(8 * scale), n * step))
    low = [f"CHEST {view}", f"{90 if view == 'AP' else 120} kV", when.devices["DX"]]
    for n, text in enumerate(low):
        _write(letters, text, 0.42 * scale, (columns - int(118 * scale), rows - step * (len(low) - n) + step // 2))
    np.maximum(shown, letters.astype(np.float32) / np.float32(255), out=shown)


def _write(letters: NDArray[np.uint8], text: str, size: float, place: tuple[int, int]) -> None:
    cv2.putText(letters, text, place, _FONT, size, 255, max(1, round(2.6 * size)), cv2.LINE_AA)
