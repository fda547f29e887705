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

from config.errors import CalibrationError
from inference.calibration import Calibration, Scope, fit_calibration, stratum
from inference.gallery.protocol import GalleryEntry
from training.evaluation.metrics import cllr, equal_error_rate, min_cllr, person_bootstrap

# Bounds time and memory at a large site: probes are drawn so that no more scores than this are made.
MAX_SCORES = 4_000_000


@dataclass(frozen=True, slots=True)
class CalibrationReport:
    """How well the calibration speaks for patients that it was *not* fitted on (two halves, each judged by the other).

    ``rank1`` is the share of mated probes whose own patient scored best, with a 95 % interval over persons;
    ``cllr`` in bits, and ``min_cllr`` what the best monotone map of the same scores would have had.
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


@dataclass(frozen=True, slots=True)
class StudyScores:
    """Scores of probe studies against patients, as a search would have made them: one row per pair, all arrays (n,).

    ``study`` and ``owner`` say which probe study and whose, ``patient`` whom it was compared with.
    """

    study: NDArray[np.int64]
    owner: NDArray[np.int64]
    patient: NDArray[np.int64]
    score: NDArray[np.float64]
    stratum: NDArray[np.str_]
    patients: int
    studies: int

    @property
    def mated(self) -> NDArray[np.bool_]:
        return np.asarray(self.owner == self.patient)

    def among(self, chosen: NDArray[np.bool_]) -> StudyScores:
        """Only pairs of probes and patients of whom both are ``chosen`` ((patients,) bool)."""
        rows = chosen[self.owner] & chosen[self.patient]
        return StudyScores(
            study=self.study[rows],
            owner=self.owner[rows],
            patient=self.patient[rows],
            score=self.score[rows],
            stratum=self.stratum[rows],
            patients=int(chosen.sum()),
            studies=self.studies,
        )


def study_scores(entries: Iterable[GalleryEntry], seed: int = 0, max_scores: int = MAX_SCORES) -> StudyScores:
    """Searches every study among all others and keeps, per patient, the best score over series and enrolled studies.

    Probe and reference never share a study; images of another modality, or of another known view, are not compared,
    exactly as :func:`inference.evidence.search_filter` asks for.
    """
    rows = list(entries)
    if not rows:
        raise CalibrationError("there are no embeddings to calibrate on", reason="CALIBRATION_TOO_LITTLE_DATA")
    vectors = np.stack([np.asarray(row.vector, np.float32) for row in rows])
    names, patient = np.unique([f"{row.patient.issuer}\x00{row.patient.id}" for row in rows], return_inverse=True)
    studies, study = np.unique([row.study_uid for row in rows], return_inverse=True)
    modality, view = np.asarray([row.modality for row in rows]), np.asarray([row.view for row in rows])
    probes = np.random.default_rng(seed).permutation(len(studies))[: max(2, max_scores // len(names))]
    parts = []
    for number in np.sort(probes):
        best = np.full(len(names), -np.inf)
        kind = np.full(len(names), "", dtype=object)
        for own in np.flatnonzero(study == number):
            compared = (study != number) & _agrees(modality, modality[own]) & _agrees(view, view[own])
            scores = np.full(len(names), -np.inf)
            np.maximum.at(scores, patient[compared], vectors[compared] @ vectors[own])
            kind[scores > best] = stratum(str(modality[own]), str(view[own]))
            np.maximum(best, scores, out=best)
        found = np.flatnonzero(np.isfinite(best))
        owner = patient[np.flatnonzero(study == number)[0]]
        parts.append((np.full(len(found), number), np.full(len(found), owner), found, best[found], kind[found]))
    return StudyScores(
        study=np.concatenate([part[0] for part in parts]),
        owner=np.concatenate([part[1] for part in parts]),
        patient=np.concatenate([part[2] for part in parts]),
        score=np.concatenate([part[3] for part in parts]),
        stratum=np.concatenate([part[4] for part in parts]).astype(str),
        patients=len(names),
        studies=len(studies),
    )


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
        mates = part.mated
        return fit_calibration(
            part.score[mates],
            part.score[~mates],
            encoder=encoder,
            version=version,
            scope=scope,
            fitted_on=fitted_on,
            patients=part.patients,
            mated_strata=part.stratum[mates].tolist(),
            nonmated_strata=part.stratum[~mates].tolist(),
        )

    calibration = fit(scores)
    return calibration, _report(scores, fit, calibration, seed)


def _report(
    scores: StudyScores, fit: Callable[[StudyScores], Calibration], final: Calibration, seed: int
) -> CalibrationReport:
    half = np.random.default_rng(seed + 1).permutation(scores.patients) % 2 == 0
    parts = (scores.among(half), scores.among(~half))
    log10_lrs = [_log10_lrs(fit(fitted), judged) for fitted, judged in (parts, parts[::-1])]
    mates = np.concatenate([judged.mated for judged in parts[::-1]])
    values = np.concatenate(log10_lrs)
    raw = np.concatenate([judged.score for judged in parts[::-1]])
    owners, hits, chance = rank1_hits(scores)
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
    )


def rank1_hits(scores: StudyScores) -> tuple[NDArray[np.int64], NDArray[np.float64], float]:
    """Per mated probe: whose it is and whether the own patient scored above all others; and what chance would reach."""
    best_other = np.full(scores.studies, -np.inf)
    compared = np.bincount(scores.study, minlength=scores.studies)
    np.maximum.at(best_other, scores.study[~scores.mated], scores.score[~scores.mated])
    own = scores.mated
    hits = (scores.score[own] > best_other[scores.study[own]]).astype(np.float64)
    return scores.owner[own], hits, float((1 / compared[scores.study[own]]).mean())


def _log10_lrs(calibration: Calibration, scores: StudyScores) -> NDArray[np.float64]:
    result = np.empty(len(scores.score))
    for name in np.unique(scores.stratum):
        rows = scores.stratum == name
        modality, _, view = str(name).partition("/")
        result[rows] = calibration.log10_lr(scores.score[rows], modality, view)
    return result


def _agrees(values: NDArray[np.str_], own: str) -> NDArray[np.bool_]:
    """Equal, or unknown on either side."""
    return np.asarray((values == own) | (values == "") | (own == ""))


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
    put_file(folder, "calibration.json", calibration.to_json().encode())
    name_calibration(folder, "calibration.json")
    Console().print(report)


if __name__ == "__main__":
    main()
