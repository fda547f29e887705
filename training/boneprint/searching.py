"""Searches of one side among the other: everybody in the bank once, every query with one mate there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from config.errors import EvaluationError
from inference.networks.boneprint_sides import SIDES, Side
from inference.types import FloatArray
from training.evaluation.metrics import mate_ranks

Ranks = NDArray[np.int64]
Vectors = Mapping[Side, FloatArray]
OTHER: dict[Side, Side] = {"radiograph": "rendering", "rendering": "radiograph"}


@dataclass(frozen=True, slots=True, eq=False)
class Searches:
    """Ranks (Q,) of the mates of Q queries among ``bank`` persons; equal scores count against the mate."""

    ranks: Ranks
    bank: int

    def hits(self, rank: int) -> NDArray[np.float64]:
        """(Q,) 1 where the mate is within the first ``rank``."""
        return (self.ranks <= rank).astype(np.float64)

    def within(self, percent: float) -> NDArray[np.float64]:
        """(Q,) 1 where the mate is within the best ``percent`` of the bank: PRR is the mean of it."""
        # In percent on the left, so that 5 % of 20 is exactly 1.
        return (100.0 * self.ranks <= percent * self.bank).astype(np.float64)

    def of(self, chosen: NDArray[np.bool_]) -> Searches:
        """Those queries alone, in the whole bank."""
        return Searches(self.ranks[chosen], self.bank)

    @property
    def mean_reciprocal_rank(self) -> float:
        return float((1 / self.ranks).mean())


def chance(rank: int, bank: int) -> float:
    """What drawing ``rank`` of the bank blindly hits."""
    return min(1.0, rank / bank)


def search(queries: FloatArray, bank: FloatArray, others: FloatArray | None = None) -> Searches:
    """Every query (Q, D) by cosine among its mate, in the same row of ``bank``, and everybody else there.

    ``others`` (M, D) are distractors in the bank, nobody's mates.

    Raises
    ------
    EvaluationError
        ``NOT_FINITE`` for an embedding that is not, or that is zero.
    """
    mates, people = np.arange(len(queries)), _unit(bank)
    if others is not None:
        people = np.concatenate([people, _unit(others)])
    return Searches(mate_ranks(_unit(queries) @ people.T, mates), len(people))


def both_directions(vectors: Vectors) -> dict[Side, Searches]:
    """By the side of the queries: each searched among the other."""
    return {side: search(vectors[side], vectors[OTHER[side]]) for side in SIDES}


def figures(vectors: Vectors, ranks: Sequence[int] = (1, 10)) -> dict[str, float]:
    """Mean of both directions: ``mrr`` and ``rank-K``."""
    found = both_directions(vectors).values()
    return {"mrr": float(np.mean([one.mean_reciprocal_rank for one in found]))} | {
        f"rank-{k}": float(np.mean([one.hits(k).mean() for one in found])) for k in ranks
    }


def _unit(vectors: FloatArray) -> NDArray[np.float64]:
    found = np.asarray(vectors, np.float64)
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    if not (np.isfinite(lengths).all() and (lengths > 0).all()):
        raise EvaluationError("an embedding is zero or not finite: it says nothing of anybody", reason="NOT_FINITE")
    return np.asarray(found / lengths)
