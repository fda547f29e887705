"""How far two aligned pictures agree, block by block."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.types import FloatArray
from inference.verification.picture_alignment import Detail

# Blocks flatter than this show nothing that could agree.
_MIN_VARIANCE = 0.02
# A block counts where the pictures overlap in this share of it; where fewer blocks count, agreement is worth less.
_MIN_BLOCK, _MIN_COVER = 0.3, 0.4
_LARGEST_CORRELATION = 0.95


@dataclass(frozen=True, slots=True)
class Agreement:
    """(blocks, blocks): correlation in [-1, 1]; weight is overlap times detail, 0 where a block does not count."""

    correlation: NDArray[np.float64]
    weight: NDArray[np.float64]
    overlap: float

    def mean(self) -> float:
        """Weighted mean correlation in Fisher's z, in [0, 1]; less where few blocks count."""
        z = np.arctanh(np.clip(self.correlation, -_LARGEST_CORRELATION, _LARGEST_CORRELATION))
        mean = float((self.weight * z).sum() / max(float(self.weight.sum()), 1e-3))
        return float(np.tanh(max(mean, 0.0))) * min(1.0, float((self.weight > 0).mean()) / _MIN_COVER)


def agreement(seen: Detail, fixed: Detail, blocks: int) -> Agreement:
    """Compares two pictures on one grid, whose edge ``blocks`` divides."""
    weight = seen.weight * fixed.weight
    area = (weight.shape[0] // blocks) ** 2
    share = _sums(weight, blocks)
    total = np.maximum(share, 1e-3)
    means = [_sums(weight * values, blocks) / total for values in (seen.values, fixed.values)]
    variances = [
        np.maximum(_sums(weight * values * values, blocks) / total - mean * mean, 0.0)
        for values, mean in zip((seen.values, fixed.values), means, strict=True)
    ]
    product = _sums(weight * seen.values * fixed.values, blocks) / total - means[0] * means[1]
    spread = np.sqrt(np.maximum(variances[0], _MIN_VARIANCE) * np.maximum(variances[1], _MIN_VARIANCE))
    share /= area
    weights = share * np.minimum(np.sqrt(variances[0] * variances[1]), 1.0) * (share > _MIN_BLOCK)
    return Agreement(np.clip(product / spread, -1.0, 1.0), weights, float(weight.mean()))


def overall(seen: Detail, fixed: Detail) -> tuple[float, float]:
    """Normalised correlation over all that overlaps, and the share of the grid that does."""
    weight = seen.weight * fixed.weight
    product = float((weight * seen.values * fixed.values).sum())
    energy = float((weight * seen.values**2).sum()) * float((weight * fixed.values**2).sum())
    return product / float(np.sqrt(energy + 1e-6)), float(weight.mean())


def _sums(values: FloatArray, blocks: int) -> NDArray[np.float64]:
    edge = values.shape[0] // blocks
    return np.asarray(values.reshape(blocks, edge, blocks, edge).sum(axis=(1, 3)), np.float64)
