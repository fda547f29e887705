"""The figures again, by brute force: every pair in plain loops, every threshold tried. Shares nothing with the code."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from training.manifests.schema import Role, Row

Pairs = Callable[[Row, Row], bool]


@dataclass
class Search:
    """One probe: scores of its mates' images, of all other images, and of other patients."""

    probe: int
    mates: list[float] = field(default_factory=list)
    images: list[float] = field(default_factory=list)
    patients: dict[tuple[str, str], float] = field(default_factory=dict)
    mate_images: list[int] = field(default_factory=list)
    best_image: dict[tuple[str, str], int] = field(default_factory=dict)

    @property
    def mate(self) -> float:
        return max(self.mates) if self.mates else math.nan

    @property
    def rank(self) -> int:
        return 1 + sum(score >= self.mate for score in self.patients.values())


def who(row: Row) -> tuple[str, str]:
    return (row.issuer, row.patient_id)


def searches(
    rows: Sequence[Row],
    scores: np.ndarray,
    mate_counts: Pairs = lambda p, g: True,
    impostor_counts: Pairs = lambda p, g: True,
) -> list[Search]:
    found = []
    for p, probe in enumerate(rows):
        if probe.role not in (Role.PROBE, Role.BOTH):
            continue
        search = Search(p)
        for g, entry in enumerate(rows):
            if entry.role == Role.PROBE:
                continue
            score = float(scores[p, g])
            if who(entry) == who(probe):
                if entry.study != probe.study and mate_counts(probe, entry):
                    search.mates.append(score)
                    search.mate_images.append(g)
            elif impostor_counts(probe, entry):
                search.images.append(score)
                if score > search.patients.get(who(entry), -math.inf):
                    search.patients[who(entry)] = score
                    search.best_image[who(entry)] = g
        found.append(search)
    return found


def closed_set(found: Sequence[Search], ranks: Sequence[int], percentiles: Sequence[float]) -> dict[str, float]:
    mated = [search for search in found if search.mates]
    if not mated:
        return {}
    result: dict[str, float] = {}
    for k in ranks:
        result[f"rank {k}"] = float(np.mean([search.rank <= k for search in mated]))
    for p in percentiles:
        result[f"percentile {p:g}"] = float(
            np.mean([search.rank * 100 <= p * (len(search.patients) + 1) for search in mated])
        )
    result["mrr"] = float(np.mean([1 / search.rank for search in mated]))
    averages, at_r, penalties, firsts = [], [], [], []
    for search in mated:
        # A list in which strangers precede mates of the same score.
        order = sorted([(-s, 0) for s in search.images] + [(-s, 1) for s in search.mates])
        hits = [place for place, (_, mate) in enumerate(order, start=1) if mate]
        total = len(hits)
        averages.append(sum(number / place for number, place in enumerate(hits, start=1)) / total)
        at_r.append(sum(number / place for number, place in enumerate(hits, start=1) if place <= total) / total)
        penalties.append(total / hits[-1])
        firsts.append(1 / hits[0])
    result |= {
        "map": float(np.mean(averages)),
        "map at r": float(np.mean(at_r)),
        "minp": float(np.mean(penalties)),
        "image mrr": float(np.mean(firsts)),
    }
    return result


def verification(mated: Sequence[float], others: Sequence[float], fmrs: Sequence[float]) -> dict[str, float]:
    if not len(mated) or not len(others):
        return {}
    wins = sum((m > o) + 0.5 * (m == o) for m in mated for o in others)
    every = sorted({*mated, *others})
    thresholds = [-math.inf, *every, math.inf]
    curve = [(float(np.mean([o >= t for o in others])), float(np.mean([m < t for m in mated]))) for t in thresholds]
    result = {"auc": wins / (len(mated) * len(others)), "eer": _crossing(curve)}
    # Thresholds just above each score as well: that is where a rate changes.
    above = sorted({*thresholds, *(math.nextafter(t, math.inf) for t in every)})
    for rate in fmrs:
        if rate * len(others) >= 1:
            allowed = [t for t in above if sum(o >= t for o in others) <= rate * len(others) + 1e-9]
            result[f"fnmr {rate:g}"] = float(np.mean([m < min(allowed) for m in mated]))
    return result


def _crossing(curve: list[tuple[float, float]]) -> float:
    """Of straight lines between points with the diagonal."""
    for (x0, y0), (x1, y1) in pairwise(curve):
        if x0 - y0 >= 0 >= x1 - y1:
            gap0, gap1 = x0 - y0, x1 - y1
            if gap0 == gap1:
                return x0
            part = gap0 / (gap0 - gap1)
            return x0 + part * (x1 - x0)
    raise AssertionError("no crossing")


def open_set(
    found: Sequence[Search],
    fpirs: Sequence[float],
    ranks: Sequence[int | None],
    thresholds: dict[float, float] | None = None,
) -> dict[str, Any]:
    searched = [search for search in found if search.patients]
    mated = [search for search in found if search.mates]
    best = sorted((max(search.patients.values()) for search in searched), reverse=True)
    result: dict[str, Any] = {}
    for rate in fpirs:
        if thresholds is None and rate * len(searched) < 1:
            continue
        limit = best[math.floor(rate * len(searched) + 1e-9)] if thresholds is None else thresholds[rate]
        result[f"threshold {rate:g}"] = limit
        if searched:
            result[f"observed {rate:g}"] = float(np.mean([max(s.patients.values()) > limit for s in searched]))
            result[f"selectivity {rate:g}"] = float(
                np.mean([sum(score > limit for score in s.patients.values()) for s in searched])
            )
        for rank in ranks if mated else ():
            missed = [not (s.mate > limit and (rank is None or s.rank <= rank)) for s in mated]
            result[f"fnir {rate:g} {'any' if rank is None else rank}"] = float(np.mean(missed))
    return result


def likelihood(mated: Sequence[float], others: Sequence[float]) -> dict[str, float]:
    """Cllr and expected calibration error of log10 LRs."""
    genuine = np.mean([math.log2(1 + 10**-value) for value in mated])
    impostor = np.mean([math.log2(1 + 10**value) for value in others])
    ece = 0.0
    for step in range(10):
        mass, said = 0.0, 0.0
        for values, is_mated in ((mated, True), (others, False)):
            for value in values:
                posterior = 10**value / (1 + 10**value)
                if min(int(posterior * 10), 9) == step:
                    said += 0.5 * posterior / len(values)
                    mass += 0.5 * is_mated / len(values)
        ece += abs(mass - said)
    return {"cllr": float(genuine + impostor) / 2, "ece": ece}
