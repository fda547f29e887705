"""Two aligned pictures in one: the probe's side magenta, the reference's green, grey where they agree.

Around each block that counted stands a frame, from red (disagrees) over yellow to cyan (agrees).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inference.types import FloatArray
from inference.verification.picture_alignment import Detail

EDGE = 512
_SPREAD = 2.0


def fused(
    moving: Detail, fixed: Detail, correlation: NDArray[np.float64], weight: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """uint8 (512, 512, 3) RGB of two pictures on one grid; ``correlation`` and ``weight`` (blocks, blocks)."""
    magenta, green = _shown(moving), _shown(fixed)
    picture = np.ascontiguousarray(np.stack([magenta, green, magenta], axis=2))
    _frames(picture, correlation, weight)
    return picture


def _shown(detail: Detail) -> NDArray[np.uint8]:
    import cv2

    values: FloatArray = (detail.values / np.float32(2 * _SPREAD) + np.float32(0.5)) * (detail.weight > 0)
    large = cv2.resize(values, (EDGE, EDGE), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(large * 255, 0, 255), np.uint8)


def _frames(picture: NDArray[np.uint8], correlation: NDArray[np.float64], weight: NDArray[np.float64]) -> None:
    import cv2

    edge = EDGE // len(correlation)
    for row, column in np.argwhere(weight > 0):
        agrees = float(np.clip(correlation[row, column], 0.0, 1.0))
        shade = np.clip([2 - 2 * agrees, 2 * agrees, 2 * agrees - 1], 0.0, 1.0) * 255
        corner = (int(column * edge + 2), int(row * edge + 2))
        cv2.rectangle(picture, corner, (corner[0] + edge - 5, corner[1] + edge - 5), shade.tolist(), 1)
