"""Verification accuracy: the share of pairs told right at a threshold that other persons chose.

The literature on faces gives the accuracy at the best threshold; that of the very pairs that are judged flatters. Here
each half of the persons is judged at the best threshold of the other. Mated and non-mated pairs count alike, however
many there are of each, so that saying "different" to everything gives one half.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from inference.types import FloatArray
from training.evaluation.figures import Figure
from training.manifests.pairs import ANY, Rule, comparable_mask, keys_of
from training.manifests.schema import Row

Floats = NDArray[np.float64]


def verification_accuracy(
    rows: Sequence[Row], scores: FloatArray, rule: Rule = ANY, rounds: int = 1000, seed: int = 0
) -> Figure:
    """Accuracy of pairs of images by scores (N, N), larger for more alike, with its 95 % interval over persons.

    Both images of a pair are of persons of one half, drawn by ``seed``, and may be compared by ``rule``: images of one
    study never are. Undefined where a half has no mated or no non-mated pair.
    """
    keys = keys_of(rows)
    people, owner = np.unique(keys.patient, return_inverse=True)
    allowed = np.triu(comparable_mask(keys, keys, rule) | comparable_mask(keys, keys, rule).T, 1)
    half = np.random.default_rng(seed).permutation(len(people)) % 2 == 0
    sides = [_Side.of(np.asarray(scores, np.float64), owner, allowed, side) for side in (half, ~half)]
    if not all(side.complete for side in sides):
        return Figure(None, note="a half of the persons has no mated pair, or no other")
    thresholds = [side.best_threshold() for side in sides]
    judged = [sides[0].told(thresholds[1]), sides[1].told(thresholds[0])]
    rng = np.random.default_rng([seed, 1])
    draws = [[one.accuracy(one.draw(rng)) for one in judged] for _ in range(rounds)]
    drawn = np.array(draws, np.float64).reshape(-1, 2).mean(axis=1)
    drawn = drawn[np.isfinite(drawn)]
    low, high = np.percentile(drawn, (2.5, 97.5)) if len(drawn) else (None, None)
    return Figure(
        value=float(np.mean([one.accuracy(np.ones(len(one.mated))) for one in judged])),
        low=None if low is None else float(low),
        high=None if high is None else float(high),
        n=sum(len(side.mated) + len(side.others) for side in sides),
        patients=len(people),
    )


class _Told:
    """Right and all pairs at a threshold: of each person ``mated`` (P, 2), of two persons ``others`` (P, P, 2)."""

    def __init__(self, mated: Floats, others: Floats) -> None:
        self.mated, self.others = mated, others

    def draw(self, rng: np.random.Generator) -> Floats:
        """How often each person is drawn, with replacement, out of as many."""
        return rng.multinomial(len(self.mated), np.full(len(self.mated), 1 / len(self.mated))).astype(np.float64)

    def accuracy(self, weights: Floats) -> float:
        """Mean of the two shares, NaN where a draw has no pair of one kind."""
        right, pairs = weights @ self.mated
        kept, strangers = (weights @ self.others[..., n] @ weights for n in (0, 1))
        return float((right / pairs + kept / strangers) / 2) if pairs and strangers else float("nan")


class _Side:
    """The pairs within one half of the persons: scores, and whose they are by number within the half."""

    def __init__(
        self, mated: Floats, others: Floats, whose: NDArray[np.int64], both: NDArray[np.int64], persons: int
    ) -> None:
        self.mated, self.others, self._whose, self._both, self._persons = mated, others, whose, both, persons

    @classmethod
    def of(cls, scores: Floats, owner: NDArray[np.int64], allowed: NDArray[np.bool_], side: NDArray[np.bool_]) -> _Side:
        number = np.cumsum(side) - 1
        first, second = np.nonzero(allowed & side[owner][:, None] & side[owner][None, :])
        same = owner[first] == owner[second]
        both = np.stack([number[owner[first]], number[owner[second]]], axis=1)
        values = scores[first, second]
        return cls(values[same], values[~same], both[same, 0], both[~same], int(side.sum()))

    @property
    def complete(self) -> bool:
        return bool(len(self.mated) and len(self.others))

    def best_threshold(self) -> float:
        """The score above which "the same person" is told right most often, both kinds of pairs counting alike."""
        values = np.unique(np.concatenate([self.mated, self.others]))
        between = np.concatenate([[values[0] - 1.0], (values[:-1] + values[1:]) / 2])
        hits = 1 - np.searchsorted(np.sort(self.mated), between, side="right") / len(self.mated)
        kept = np.searchsorted(np.sort(self.others), between, side="right") / len(self.others)
        return float(between[int((hits + kept).argmax())])

    def told(self, threshold: float) -> _Told:
        mated = np.zeros((self._persons, 2))
        np.add.at(mated, self._whose, np.stack([self.mated > threshold, np.ones(len(self.mated))], axis=1))
        others = np.zeros((self._persons, self._persons, 2))
        right = np.stack([self.others <= threshold, np.ones(len(self.others))], axis=1)
        np.add.at(others, (self._both[:, 0], self._both[:, 1]), right)
        return _Told(mated, others)
