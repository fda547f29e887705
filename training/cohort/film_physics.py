"""From what a beam has passed through to what a detector reads: scatter, heel effect, noise, grid lines."""

from __future__ import annotations

import cv2
import numpy as np

from training.cohort.dials.chest_film import ChestFilmVisit
from training.cohort.implicit import Field

# Where noise is added the pixel is taken to be this wide, mm: finer ones catch fewer quanta.
_USUAL_PIXEL = 0.65


def expose(line: Field, film: ChestFilmVisit, pixel: float, rng: np.random.Generator) -> Field:
    """Log signal of the detector; ``line`` are line integrals, ``pixel`` its pixels in mm."""
    primary = np.exp(-line)
    primary *= _heel(line.shape, film.heel)
    signal = primary + np.float32(film.scatter) * _scatter(primary)
    signal += _noise(signal, film, pixel, rng)
    if film.grid_lines:
        signal *= _grid_lines(line.shape, rng)
    log = -np.log(np.maximum(signal, np.float32(1e-5)))
    return np.asarray(cv2.GaussianBlur(log, (0, 0), 0.6 if film.grain == "fine" else 0.8), dtype=np.float32)


def _heel(shape: tuple[int, ...], strength: tuple[float, float]) -> Field:
    rows = np.linspace(-0.5, 0.5, shape[0], dtype=np.float32)[:, None]
    columns = np.linspace(-0.5, 0.5, shape[1], dtype=np.float32)[None, :]
    return np.asarray(np.float32(1) + np.float32(strength[0]) * rows + np.float32(strength[1]) * columns, np.float32)


def _scatter(primary: Field) -> Field:
    """Follows the thickness of the patient around; the open beam beside the patient adds little."""
    small = cv2.resize(primary, None, fx=1 / 16, fy=1 / 16, interpolation=cv2.INTER_AREA)
    wide = cv2.GaussianBlur(np.minimum(small, np.float32(0.22)), (0, 0), primary.shape[0] / 16 / 7)
    return np.asarray(cv2.resize(wide, primary.shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)


def _noise(signal: Field, film: ChestFilmVisit, pixel: float, rng: np.random.Generator) -> Field:
    noise = rng.standard_normal(signal.shape, dtype=np.float32)
    if film.grain == "lines":
        noise += np.float32(1.4) * rng.standard_normal((signal.shape[0], 1), dtype=np.float32)
    sigma = 0.6 if film.grain == "fine" else 0.95
    grain = cv2.GaussianBlur(noise, (0, 0), sigma) * np.float32(np.sqrt(4 * np.pi) * sigma)
    typical = np.float32(np.median(signal))
    level = np.float32(film.noise * _USUAL_PIXEL / pixel)
    return np.asarray(level * np.sqrt(np.maximum(signal, 0) * typical) * grain, np.float32)


def _grid_lines(shape: tuple[int, ...], rng: np.random.Generator) -> Field:
    """The lead strips of the grid, or what is left of them when the pixels are too coarse for it."""
    period, depth = rng.uniform(3.1, 7.5), rng.uniform(0.006, 0.02)
    columns = np.arange(shape[1], dtype=np.float32)[None, :]
    wave = np.sin(columns * np.float32(2 * np.pi / period))
    return np.asarray(np.float32(1) + np.float32(depth) * np.broadcast_to(wave, shape), np.float32)
