"""Where scores come from. Larger is more alike; all are float64.

An evaluation asks for blocks and keeps none, so a source need never hold all scores at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from config.errors import EvaluationError
from training.evaluation.table import Codes, Floats

# Inner products are rounded to 2^-40: how a block is cut changes their last bits, and equal images must tie exactly.
_QUANTUM = 2.0**40


class ScoreSource(Protocol):
    """Scores of images of one table against each other."""

    def block(self, probes: Codes, gallery: Codes) -> Floats:
        """(p, g) scores of the images at rows ``probes`` against those at rows ``gallery``: an array of the caller's
        own, which it may write into. Not finite values are refused by the search, unless the pair is never compared.
        """
        ...


class EmbeddingScores:
    """Inner products in float64 of embeddings, (N, D) one row per image of the table, L2-normalised as encoders do.

    ``probes`` are other embeddings of the same images for their use as probe: cropped, degraded, de-identified.

    Raises
    ------
    EvaluationError
        ``NOT_FINITE``, naming how many images have an embedding with NaN or infinite entries; ``SHAPE`` for arrays that
        are not (N, D).
    """

    def __init__(self, vectors: ArrayLike, probes: ArrayLike | None = None) -> None:
        self._gallery = _vectors(vectors)
        self._probes = self._gallery if probes is None else _vectors(probes)
        if self._probes.shape != self._gallery.shape:
            raise EvaluationError("probe and gallery embeddings differ in number or length", reason="SHAPE")

    def block(self, probes: Codes, gallery: Codes) -> Floats:
        left, right = self._probes[probes].astype(np.float64), self._gallery[gallery].astype(np.float64)
        scores: Floats = left @ right.T
        np.multiply(scores, _QUANTUM, out=scores)
        np.rint(scores, out=scores)
        np.divide(scores, _QUANTUM, out=scores)
        return scores


class MatrixScores:
    """Scores that somebody has already made: (N, N), row = as probe, column = as gallery entry. May be a memory map."""

    def __init__(self, matrix: ArrayLike) -> None:
        self._matrix = np.asarray(matrix)
        if self._matrix.ndim != 2:
            raise EvaluationError("a matrix of scores has two dimensions", reason="SHAPE")

    def block(self, probes: Codes, gallery: Codes) -> Floats:
        return np.array(self._matrix[np.ix_(probes, gallery)], np.float64)


class PairScores:
    """Scores of a function of two table rows, such as a geometric verifier's."""

    def __init__(self, score: Callable[[int, int], float]) -> None:
        self._score = score

    def block(self, probes: Codes, gallery: Codes) -> Floats:
        return np.array([[self._score(int(p), int(g)) for g in gallery] for p in probes], np.float64).reshape(
            len(probes), len(gallery)
        )


def _vectors(values: ArrayLike) -> NDArray[np.floating]:
    vectors: NDArray[np.floating] = np.asarray(values)
    if vectors.ndim != 2 or vectors.dtype.kind != "f":
        raise EvaluationError("embeddings are a (N, D) array of floating point numbers", reason="SHAPE")
    # A sum of finite numbers is finite here; the mask of the whole array is made only to count.
    sums = vectors.sum(axis=1, dtype=np.float64)
    if not np.isfinite(sums).all():
        broken = int((~np.isfinite(vectors)).any(axis=1).sum())
        raise EvaluationError(
            f"{broken} of {len(vectors)} embeddings hold NaN or infinite numbers; leave these images out and "
            "count them as failures to enrol",
            reason="NOT_FINITE",
        )
    return vectors
