"""From the coordinates of an alignment (-1 to 1) to pixels of a template's picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inference.verification.picture_alignment import Coefficients


def pixel_matrix(mapped: Coefficients, size: int) -> NDArray[np.float64]:
    """(3, 3) on (column, row, 1): the affine part of a map, in pixels of square pictures of ``size``."""
    affine = np.eye(3)
    affine[:2, :2] = mapped[1:3].T
    affine[:2, 2] = mapped[0]
    to_unit = np.array([[2 / size, 0, 1 / size - 1], [0, 2 / size, 1 / size - 1], [0, 0, 1]])
    return np.asarray(np.linalg.inv(to_unit) @ affine @ to_unit)
