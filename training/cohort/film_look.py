"""The vendor's processing: from the log signal of a detector to what is shown."""

from __future__ import annotations

import cv2
import numpy as np

from training.cohort.dials.chest_film import ChestFilmVisit
from training.cohort.implicit import Field


def process(log: Field, film: ChestFilmVisit) -> Field:
    """Float32 in [0, 1], bone bright: detail in three bands, window by percentiles, a look-up table."""
    rows = log.shape[0]
    fine, slow = _blur(log, rows / 90.0), _blur(log, rows / 14.0)
    shaped = np.float32(1 - film.equalise) * slow
    shaped += np.float32(1 + film.detail) * (fine - slow)
    shaped += np.float32(1 + film.sharpen) * (log - fine)
    # The open beam stays black, however much the slow changes are evened out, and has no say in the window.
    patient = np.clip((log - log.min()) * np.float32(2.2), 0, 1)
    inner = (slice(rows // 12, -rows // 12, 4), slice(log.shape[1] // 12, -log.shape[1] // 12, 4))
    low, high = np.quantile(shaped[inner][patient[inner] >= 1] if (patient[inner] >= 1).any() else shaped, film.window)
    shown = np.float32(0.27) + (shaped - np.float32(low)) * np.float32(0.57 / max(high - low, 1e-3))
    shown *= patient
    return look_up(shown, film.table, film.gamma)


def look_up(shown: Field, table: str, gamma: float) -> Field:
    """The curves that vendors use, by name; ``shown`` may lie beyond [0, 1]."""
    if table == "sigmoid":
        shown = np.float32(0.5) + np.tanh((shown - np.float32(0.5)) * np.float32(1.9)) * np.float32(0.6757)
    elif table == "film":
        # Long toe, short shoulder, as emulsions have.
        bright = np.asarray(np.clip(shown, 0, 1.4), np.float32)
        shown = np.asarray(bright * bright * (1.9 - 0.75 * bright) / 1.15, np.float32)
    elif table == "inverse":
        middle = np.clip(shown - np.float32(0.5), np.float32(-0.5), np.float32(0.5))
        shown = np.float32(0.5) + np.float32(0.826) * np.tan(middle)
    elif table == "steps":
        shown = np.float32(0.85) * shown + np.float32(0.15) * np.round(shown * np.float32(7)) / np.float32(7)
    return np.asarray(np.power(np.clip(shown, 0, 1), np.float32(gamma)), np.float32)


def _blur(image: Field, sigma: float) -> Field:
    """A Gaussian blur, on a smaller image where it is wide."""
    factor = max(1, int(sigma / 3))
    if factor == 1:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)
    small = cv2.resize(image, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
    wide = cv2.GaussianBlur(small, (0, 0), sigma / factor)
    return np.asarray(cv2.resize(wide, image.shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)
