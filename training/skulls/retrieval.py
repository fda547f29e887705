"""Recall@k, mAP@k and MRR@k of skulls searched among faces, each with what chance alone gives, and intervals.

For one search among n faces of which m are the person's own (and of another visit), with rel(i) whether the i-th
candidate is one of them:

- recall@k = share of the m that are among the first k;
- AP@k = 1 / min(m, k) * sum over i <= k of rel(i) * precision(i);
- RR@k = 1 / rank of the first of the m, or 0 where that is beyond k.

In a random order their expectations have closed forms, which are computed here for every search and averaged as the
figures are: recall@30 among 40 faces is 0.75 for anybody who guesses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from config.errors import EvaluationError
from inference.types import FloatArray
from training.evaluation.bootstrap import Estimates, Trials, weighted_mean
from training.evaluation.figures import Figure
from training.evaluation.options import Options

Numbers = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Faces:
    """Whose pictures they are (n,), of which visits (n,), and their embeddings (n, D) of unit length.

    The same for skulls. A person that nobody else has (a distractor) is a number like any other.
    """

    persons: Numbers
    visits: Numbers
    vectors: FloatArray

    def __len__(self) -> int:
        return len(self.persons)

    def chosen(self, which: Bools | Numbers) -> Faces:
        return Faces(self.persons[which], self.visits[which], self.vectors[which])


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """One search with mates: ``person``, how many faces were searched, and the ranks (m,) of its mates from 1."""

    person: int
    searched: int
    ranks: Numbers


@dataclass(frozen=True, slots=True)
class Retrieval:
    """Figures by name (``recall@10``), chance beside them, and what they are made of.

    ``gallery`` is the mean number of faces searched.
    """

    figures: Mapping[str, Figure]
    chance: Mapping[str, float]
    searches: int
    persons: int
    gallery: float


def joined(first: Faces, second: Faces) -> Faces:
    """The pictures of both."""
    return Faces(
        np.concatenate([first.persons, second.persons]),
        np.concatenate([first.visits, second.visits]),
        np.concatenate([first.vectors, second.vectors]),
    )


def searches_of(skulls: Faces, faces: Faces) -> list[Search]:
    """The searches of every skull that has a face of another visit; faces of its own visit are left out of it.

    Candidates that score like a mate stand before it.
    """
    scores = skulls.vectors @ faces.vectors.T
    own = skulls.persons[:, None] == faces.persons[None, :]
    hidden = own & (skulls.visits[:, None] == faces.visits[None, :])
    found = []
    for person, row, mine, gone in zip(skulls.persons.tolist(), scores, own, hidden, strict=True):
        mates = np.sort(row[mine & ~gone])[::-1]
        if len(mates):
            others = np.sort(row[~mine])
            above = len(others) - np.searchsorted(others, mates, side="left")
            ranks = above + np.arange(1, len(mates) + 1)
            found.append(Search(person, int((~gone).sum()), ranks.astype(np.int64)))
    return found


def measured(searches: Sequence[Search], ranks: Sequence[int], rounds: int = 1000, seed: int = 0) -> Retrieval:
    """The figures at some ranks, with 95 % intervals over persons.

    Raises
    ------
    EvaluationError
        ``NO_MATES`` when there is no search.
    """
    if not searches:
        raise EvaluationError("no skull has a face of another visit: nothing can be searched for", reason="NO_MATES")
    names = [f"{name}@{k}" for k in ranks for name in ("recall", "mAP", "MRR")]
    values = np.array([_values(one, ranks) for one in searches])
    chance = np.array([_chances(one.searched, len(one.ranks), ranks) for one in searches]).mean(axis=0)
    persons = np.unique([one.person for one in searches], return_inverse=True)[1].astype(np.int64)
    estimates = Estimates(persons, {"retrieval": _Means(names, values)}, Options(rounds=rounds, seed=seed))
    trials = Trials(len(searches), len(np.unique(persons)))
    figures = {name: estimates.figure(f"retrieval.{name}", trials, rate=name.startswith("recall")) for name in names}
    gallery = float(np.mean([one.searched for one in searches]))
    return Retrieval(figures, dict(zip(names, chance.tolist(), strict=True)), trials.n, trials.patients, gallery)


def mean_reciprocal_rank(searches: Sequence[Search]) -> float:
    """MRR without a limit: what training watches. NaN without a search."""
    return float(np.mean([1.0 / one.ranks[0] for one in searches])) if searches else float("nan")


def recall_at(ranks: Numbers, k: int) -> float:
    return float((ranks <= k).mean())


def average_precision_at(ranks: Numbers, k: int) -> float:
    precision = np.arange(1, len(ranks) + 1) / ranks
    return float(precision[ranks <= k].sum() / min(len(ranks), k))


def reciprocal_rank_at(ranks: Numbers, k: int) -> float:
    return float(1.0 / ranks[0]) if ranks[0] <= k else 0.0


def chance_recall(n: int, m: int, k: int) -> float:
    """Expected recall@k of m mates among n in random order: k / n, whatever m is."""
    del m
    return min(k, n) / n


def chance_average_precision(n: int, m: int, k: int) -> float:
    """Expected AP@k: a place holds a mate with probability m / n, and then (i - 1)(m - 1) / (n - 1) of those before."""
    places = np.arange(1, min(k, n) + 1)
    before = (places - 1) * (m - 1) / max(n - 1, 1)
    return float((m / n * (1 + before) / places).sum() / min(m, k))


def chance_reciprocal_rank(n: int, m: int, k: int) -> float:
    """Expected RR@k: the first mate is at r with the probability of r - 1 others before it, and then of one."""
    total, none_yet = 0.0, 1.0
    for r in range(1, min(k, n - m + 1) + 1):
        left = n - r + 1
        total += none_yet * m / left / r
        none_yet *= (left - m) / left
    return total


def _values(one: Search, ranks: Sequence[int]) -> list[float]:
    figures = (recall_at, average_precision_at, reciprocal_rank_at)
    return [figure(one.ranks, k) for k in ranks for figure in figures]


def _chances(n: int, m: int, ranks: Sequence[int]) -> list[float]:
    figures = (chance_recall, chance_average_precision, chance_reciprocal_rank)
    return [figure(n, m, k) for k in ranks for figure in figures]


class _Means:
    """A :class:`~training.evaluation.bootstrap.Statistic`: means of values (P, F) over searches."""

    def __init__(self, names: Sequence[str], values: Floats) -> None:
        self._names, self._values = names, values

    def exact(self) -> Mapping[str, float]:
        return dict(zip(self._names, self._values.mean(axis=0).tolist(), strict=True))

    def drawn(self, weights: Floats) -> Mapping[str, Floats]:
        means = weighted_mean(weights, self._values, np.ones(len(self._values), bool))
        return {name: means[:, place] for place, name in enumerate(self._names)}
