"""Calibration of an encoder: what its scores are worth, learned from people whose studies are known.

``python -m training.calibrate --encoder NAME --seed N --persons N`` writes the calibration that ships with a bundle,
of scope ``phantom``, from digital phantoms. A site's own comes from :func:`calibrate_from_embeddings` through
``medreid calibrate``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.calibration import Calibration, Correlation, Pair, Scope, fit_calibration, source_name, to_json
from inference.calibration.fitting import MIN_MATED, MIN_NONMATED
from inference.calibration.open_set import OpenSet, fit_open_set
from inference.gallery.protocol import GalleryEntry
from training.evaluation.metrics import cllr, equal_error_rate, min_cllr, person_bootstrap
from training.study_scores import StudyScores, alike, kinds_of, study_scores

# The false positive identification rate that reports ask for, where so many people can vouch for it.
REPORTED_FPIR = 0.01
# A larger shift would say that the maps are wrong, not their level.
_LARGEST_SHIFT = 0.3


@dataclass(frozen=True, slots=True)
class CalibrationReport:
    """How well the calibration speaks for patients that it was *not* fitted on (two halves, each judged by the other).

    ``rank1`` is the share of mated probes whose own patient scored best, with a 95 % interval over persons; ``cllr`` in
    bits, and ``min_cllr`` what the best monotone map of the same scores would have had. Of ``nonmated_searches`` (the
    probe's patient left out) the share ``fpir`` brought a candidate where ``requested_fpir`` was allowed to. Everything
    is of images of one kind.
    """

    patients: int
    studies: int
    mated: int
    nonmated: int
    rank1: float
    rank1_interval: tuple[float, float]
    chance: float
    equal_error_rate: float
    cllr: float
    min_cllr: float
    largest_log10_lr: float
    nonmated_searches: int
    requested_fpir: float
    fpir: float
    fpir_interval: tuple[float, float]


def calibrate_from_embeddings(
    entries: Iterable[GalleryEntry],
    *,
    encoder: str,
    version: str,
    scope: Scope,
    fitted_on: str,
    seed: int = 0,
) -> tuple[Calibration, CalibrationReport]:
    """A calibration from embeddings whose patients are known, and how well it does on patients that were held out.

    Parameters
    ----------
    entries
        all enrolled embeddings of one encoder version.
    fitted_on
        a sentence for people: which studies these were.

    Raises
    ------
    CalibrationError
        ``CALIBRATION_TOO_LITTLE_DATA`` when too few patients have two studies, in each half of the patients as well.
    """
    scores = study_scores(entries, seed)

    def fit(part: StudyScores) -> Calibration:
        return calibration_of(part, encoder=encoder, version=version, scope=scope, fitted_on=fitted_on)

    calibration = fit(scores)
    return calibration, _report(alike(scores), fit, calibration, seed)


def calibration_of(scores: StudyScores, *, encoder: str, version: str, scope: Scope, fitted_on: str) -> Calibration:
    """Maps, guards and correlations from scores; raises what :func:`calibrate_from_embeddings` does."""
    mates, names = scores.mated, scores.names()
    found = fit_calibration(
        scores.score[mates],
        scores.score[~mates],
        encoder=encoder,
        version=version,
        scope=scope,
        fitted_on=fitted_on,
        patients=scores.patients,
        mated_strata=names[mates].tolist(),
        nonmated_strata=names[~mates].tolist(),
        open_set=_guards(scores),
    )
    found = found.shifted(_nobodys_level(alike(scores), found))
    return found.with_correlations(_correlations(scores, found))


def _nobodys_level(scores: StudyScores, calibration: Calibration) -> float:
    """The shift of log10 LRs at which searches of equal prior give "nobody" half of the posterior on average.

    Logistic regression weighs scores, of which one search has many that go together; a decision weighs searches.
    """
    ratios, mates = 10 ** log10_lrs(calibration, scores), scores.mated
    sums, mated, count = (
        np.bincount(scores.search, weights=weights)
        for weights in (ratios * ~mates, ratios * mates, np.asarray(~mates, np.float64))
    )
    both = (mated > 0) & (count > 1)
    without = sums[both] / count[both]
    with_mate = (sums[both] * (count[both] - 1) / count[both] + mated[both]) / count[both]
    low, high = -_LARGEST_SHIFT, _LARGEST_SHIFT
    for _ in range(30):
        middle = (low + high) / 2
        share = np.mean([(1 / (1 + 10**middle * one)).mean() for one in (without, with_mate)])
        low, high = (middle, high) if share > 0.5 else (low, middle)
    return (low + high) / 2


def _guards(scores: StudyScores) -> dict[str, OpenSet]:
    """What non-mated searches return, per stratum that differs from the next coarser one."""
    strangers = scores.where(~scores.mated)
    levels = {level: levels[n + 1 :] for levels in _levels(strangers) for n, level in enumerate(levels)}
    found: dict[str, OpenSet] = {}
    for level in sorted(levels, key=lambda one: len(levels[one])):
        part = strangers.where(strangers.of_level(level))
        coarser = next((found[name] for name in levels[level] if name in found), None)
        guard = fit_open_set(part.score, part.search, part.owner)
        if guard is not None and (coarser is None or coarser.searches != guard.searches):
            found[level] = guard
    return found


def _levels(scores: StudyScores) -> list[tuple[str, ...]]:
    """Strata whatever the quality: bands are for likelihood ratios, searches per band are too few."""
    return [Pair.of_name(kind).levels() for kind in kinds_of(scores)]


def _correlations(scores: StudyScores, calibration: Calibration) -> list[Correlation]:
    """How the log LRs of two sources go together, over patients whom one study was compared with by both."""
    kinds = [kind for kind in kinds_of(scores) if calibration.has_map(Pair.of_name(kind))]
    values = {}
    for kind in kinds:
        part = scores.where(scores.of_level(kind))
        key, rows = np.unique(part.study * scores.patients + part.patient, return_index=True)
        values[kind] = key, log10_lrs(calibration, part)[rows], part.mated[rows]
    found = []
    for number, first in enumerate(kinds):
        for second in kinds[number + 1 :]:
            _, left, right = np.intersect1d(values[first][0], values[second][0], return_indices=True)
            one, other, mates = values[first][1][left], values[second][1][right], values[first][2][left]
            if mates.sum() >= MIN_MATED and (~mates).sum() >= MIN_NONMATED:
                names = sorted(source_name(calibration.encoder, Pair.of_name(kind)) for kind in (first, second))
                found.append(
                    Correlation(
                        names[0],
                        names[1],
                        mated=_pearson(one[mates], other[mates]),
                        nonmated=_pearson(one[~mates], other[~mates]),
                        comparisons=len(mates),
                    )
                )
    return found


def _pearson(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    if min(one.std(), other.std()) < 1e-9:
        return 0.0
    return round(float(np.corrcoef(one, other)[0, 1]), 4)


def _report(
    scores: StudyScores, fit: Callable[[StudyScores], Calibration], final: Calibration, seed: int
) -> CalibrationReport:
    half = np.random.default_rng(seed + 1).permutation(scores.patients) % 2 == 0
    parts = (scores.among(half), scores.among(~half))
    fitted = [(fit(part), judged) for part, judged in (parts, parts[::-1])]
    values = np.concatenate([log10_lrs(calibration, judged) for calibration, judged in fitted])
    mates = np.concatenate([judged.mated for _, judged in fitted])
    raw = np.concatenate([judged.score for _, judged in fitted])
    owners, hits, chance = rank1_hits(scores)
    requested = max([REPORTED_FPIR, *(g.least_rate for c, _ in fitted for g in c.open_set.values())])
    searchers, alarms = (
        np.concatenate(column)
        for column in zip(*(false_positives(c, judged, requested) for c, judged in fitted), strict=True)
    )
    return CalibrationReport(
        patients=scores.patients,
        studies=scores.studies,
        mated=int(scores.mated.sum()),
        nonmated=int((~scores.mated).sum()),
        rank1=float(hits.mean()),
        rank1_interval=person_bootstrap(owners, hits),
        chance=chance,
        equal_error_rate=equal_error_rate(raw[mates], raw[~mates]),
        cllr=cllr(values[mates], values[~mates]),
        min_cllr=min_cllr(raw[mates], raw[~mates]),
        largest_log10_lr=final.largest_log10_lr,
        nonmated_searches=len(alarms),
        requested_fpir=requested,
        fpir=float(alarms.mean()),
        fpir_interval=person_bootstrap(searchers, alarms),
    )


def rank1_hits(scores: StudyScores) -> tuple[NDArray[np.int64], NDArray[np.float64], float]:
    """Per mated search: whose it is, whether the own patient scored above all others; and what chance would reach."""
    searches = int(scores.search.max(initial=-1)) + 1
    best_other = np.full(searches, -np.inf)
    compared = np.bincount(scores.search, minlength=searches)
    np.maximum.at(best_other, scores.search[~scores.mated], scores.score[~scores.mated])
    own = scores.mated
    hits = (scores.score[own] > best_other[scores.search[own]]).astype(np.float64)
    return scores.owner[own], hits, float((1 / compared[scores.search[own]]).mean())


def false_positives(
    calibration: Calibration, scores: StudyScores, fpir: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Per search with the own patient left out: whose it is, and 1.0 where its best candidate passes the guard."""
    strangers = scores.where(~scores.mated)
    searches, first, counts = np.unique(strangers.search, return_index=True, return_counts=True)
    best = np.full(len(searches), -np.inf)
    numbers = np.searchsorted(searches, strangers.search)
    np.maximum.at(best, numbers, strangers.score)
    pairs = [Pair.of_name(strangers.pairs[code]) for code in strangers.pair[first]]
    passed = [
        calibration.p_value(float(score), int(count), pair) <= fpir
        for score, count, pair in zip(best, counts, pairs, strict=True)
    ]
    return strangers.owner[first], np.asarray(passed, np.float64)


def log10_lrs(calibration: Calibration, scores: StudyScores) -> NDArray[np.float64]:
    """(n,) log10 LR of every row by the map of its pair."""
    result = np.empty(len(scores.score))
    for code, name in enumerate(scores.pairs):
        rows = scores.pair == code
        if rows.any():
            result[rows] = calibration.log10_lr(scores.score[rows], Pair.of_name(name))
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    """``python -m training.calibrate``: fits a bundle's calibration on phantoms and writes it into the bundle."""
    from rich.console import Console
    from rich.progress import track

    from inference.encoders.registry import Registry, package_bundles
    from training.recipes.bundles import name_calibration, put_file
    from training.recipes.phantoms import CALIBRATION_SEED, phantom_embeddings

    parser = argparse.ArgumentParser(prog="python -m training.calibrate", description=main.__doc__)
    parser.add_argument("--encoder", required=True, help="name of a bundle of the package")
    parser.add_argument("--kind", required=True, choices=("head-ct", "chest-film"), help="of phantom study")
    parser.add_argument("--seed", type=int, default=CALIBRATION_SEED, help="of the persons; no other use may share it")
    parser.add_argument("--persons", type=int, default=200)
    parser.add_argument("--visits", type=int, default=2)
    parser.add_argument("--processes", type=int, default=1)
    chosen = parser.parse_args(arguments)
    encoder = Registry(device="auto").get(chosen.encoder)
    made = phantom_embeddings(encoder, chosen.kind, chosen.persons, chosen.seed, chosen.visits, chosen.processes)
    calibration, report = calibrate_from_embeddings(
        track(made, total=chosen.persons * chosen.visits, description=f"{chosen.kind} phantoms"),
        encoder=encoder.name,
        version=encoder.version,
        scope="phantom",
        fitted_on=f"{chosen.kind} of {chosen.persons} phantoms, {chosen.visits} visits each, seed {chosen.seed}",
    )
    folder = package_bundles() / encoder.name
    put_file(folder, "calibration.json", to_json(calibration).encode())
    name_calibration(folder, "calibration.json")
    Console().print(report)


if __name__ == "__main__":
    main()
