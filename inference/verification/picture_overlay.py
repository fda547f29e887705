"""Two aligned pictures in one: the first magenta, the second green, grey or white where they agree.

Around each block that counted stands a frame, from red (disagrees) over yellow to cyan (agrees).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inference.types import FloatArray
from inference.verification.picture_alignment import Detail
from inference.verification.picture_blocks import Agreement

EDGE = 512


def fused(first: Detail, second: Detail, shown: tuple[float, float], agreed: Agreement) -> NDArray[np.uint8]:
    """uint8 (512, 512, 3) RGB of two pictures on one grid; ``shown`` is the range of values from dark to bright."""
    magenta, green = _grey(first, shown), _grey(second, shown)
    picture = np.ascontiguousarray(np.stack([magenta, green, magenta], axis=2))
    _frames(picture, agreed)
    return picture


def _grey(detail: Detail, shown: tuple[float, float]) -> NDArray[np.uint8]:
    import cv2

    low, high = shown
    values: FloatArray = (detail.values - np.float32(low)) / np.float32(high - low) * (detail.weight > 0)
    large = cv2.resize(values, (EDGE, EDGE), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(large, 0.0, 1.0) * 255, np.uint8)


def _frames(picture: NDArray[np.uint8], agreed: Agreement) -> None:
    import cv2

    edge = EDGE / len(agreed.weight)
    for row, column in np.argwhere(agreed.weight > 0):
        share = float(np.clip(agreed.correlation[row, column], 0.0, 1.0))
        shade = np.clip([2 - 2 * share, 2 * share, 2 * share - 1], 0.0, 1.0) * 255
        low = int(column * edge + 2), int(row * edge + 2)
        high = int((column + 1) * edge - 3), int((row + 1) * edge - 3)
        cv2.rectangle(picture, low, high, shade.tolist(), 1)
