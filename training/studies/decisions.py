"""What decisions promise, on people whom nothing was fitted on: false positives as asked for, and nobody's fair share.

``python -m training.studies.decisions --kind chest-film --persons 2200 --cache FOLDER`` fits a calibration on the two
visits of some phantoms, each searched among ``--fit-gallery`` others, and then searches every visit of ``--persons``
others, whom the same machines took, among all of them, with its own patient left out (a non-mated search) and with the
other visit enrolled (a mated one): in galleries as large as in the fit, and in one that holds everybody. Embeddings are
kept in the cache, block by block, so that a study that was stopped goes on where it stood.

What one calibration lets pass depends on the few people in it who resemble others. ``--splits 10`` shows how much: all
persons are divided anew ten times, and each time one half is judged by a calibration of the other.

A seed is a hospital: its machines have habits. With ``--fit-seed`` the calibration is another hospital's, and with
``--nuisance unseen`` the persons who are searched for meet machines and mishaps that training and fit never met.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.calibration import Calibration, Pair
from inference.encoders.protocol import Encoder
from inference.gallery.protocol import GalleryEntry
from inference.types import PatientKey
from training.calibrate import calibration_of, log10_lrs
from training.cohort.nuisance import NUISANCES
from training.evaluation.metrics import cllr, min_cllr, person_bootstrap
from training.study_scores import StudyScores, study_scores

PRIORS = (0.1, 0.3, 0.5, 0.7, 0.9)
REQUESTED = (0.01, 0.02, 0.05)
BLOCK = 50

Floats = NDArray[np.float64]
Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Figures:
    """Among ``gallery`` patients; intervals of 95 % over persons.

    ``fpir`` is the share of non-mated searches whose best candidate passes the guard, by the rate that was asked for;
    ``fnir`` the share of mated ones whose own patient does not pass it. ``nobody`` is the mean posterior of "not
    enrolled" where the share 1 - prior of the searches is non-mated, by prior.
    """

    gallery: int
    searches: int
    fpir: dict[float, tuple[float, Interval]]
    fnir: dict[float, tuple[float, Interval]]
    nobody: dict[float, tuple[float, Interval]]


@dataclass(frozen=True, slots=True)
class Study:
    fit_persons: int
    fit_gallery: int
    persons: int
    cllr: float
    min_cllr: float
    figures: tuple[Figures, ...]


def measure(fit: Sequence[GalleryEntry], test: Sequence[GalleryEntry], fit_gallery: int) -> Study:
    """Fits on ``fit``, judges on ``test``; no person may be in both.

    Raises
    ------
    CalibrationError
        when there is too little to fit on.
    """
    fitted = study_scores(fit)
    # For every person anew, as where it is judged: a hundred people enrolled for all would be a sample of a hundred.
    fitted = fitted.where(_galleries(fitted, fit_gallery, np.random.default_rng(0)))
    found = calibration_of(fitted, encoder="study", version="1", scope="phantom", fitted_on="this study's fitting part")
    scores = study_scores(test)
    values, mated = log10_lrs(found, scores), scores.mated
    rng = np.random.default_rng(0)
    return Study(
        fit_persons=fitted.patients,
        fit_gallery=fit_gallery,
        persons=scores.patients,
        cllr=cllr(values[mated], values[~mated]),
        min_cllr=min_cllr(scores.score[mated], scores.score[~mated]),
        figures=tuple(
            _figures(found, scores, values, _galleries(scores, size, rng)) for size in (fit_gallery, scores.patients)
        ),
    )


def divided(entries: Sequence[GalleryEntry], seed: int) -> Study:
    """The study of one random half of the persons, judged by a calibration of the other.

    In the fit galleries are a tenth as large as the half, so that the gallery of everybody is ten times as large.
    """
    names = sorted({entry.patient for entry in entries})
    chosen = np.random.default_rng(seed).permutation(len(names))[: len(names) // 2]
    fit = {names[n] for n in chosen}
    return measure(
        [entry for entry in entries if entry.patient in fit],
        [entry for entry in entries if entry.patient not in fit],
        len(fit) // 10,
    )


def _galleries(scores: StudyScores, size: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """(n,) whether a row's patient is in the gallery of its search: ``size`` others, drawn for every person anew."""
    if size >= scores.patients:
        return np.ones(len(scores.score), bool)
    kept = np.zeros((scores.patients, scores.patients), bool)
    for person in range(scores.patients):
        others = np.delete(np.arange(scores.patients), person)
        kept[person, rng.choice(others, size, replace=False)] = True
    return np.asarray(kept[scores.owner, scores.patient] | scores.mated)


def _figures(calibration: Calibration, scores: StudyScores, values: Floats, kept: NDArray[np.bool_]) -> Figures:
    part, ratios = scores.where(kept), 10 ** values[kept]
    strangers = ~part.mated
    searches, number = np.unique(part.search, return_inverse=True)
    count = np.bincount(number[strangers], minlength=len(searches))
    best, own = np.full((2, len(searches)), -np.inf)
    np.maximum.at(best, number[strangers], part.score[strangers])
    np.maximum.at(own, number[part.mated], part.score[part.mated])
    owner, pair = np.empty((2, len(searches)), np.int64)
    owner[number], pair[number] = part.owner, part.pair
    total = np.bincount(number[strangers], weights=ratios[strangers], minlength=len(searches))
    mate = np.bincount(number[part.mated], weights=ratios[part.mated], minlength=len(searches))
    both = np.isfinite(best) & np.isfinite(own)
    pairs = [Pair.of_name(part.pairs[code]) for code in pair]

    def p_values(found: Floats) -> Floats:
        rows = zip(found[both], count[both], np.asarray(pairs, object)[both], strict=True)
        return np.asarray([calibration.p_value(float(score), int(n), one) for score, n, one in rows])

    owners, false, right = owner[both], p_values(best), p_values(own)
    # A stranger leaves the gallery for the mate, so that both kinds of search have one size.
    without = total[both] / count[both]
    with_mate = (total[both] * (count[both] - 1) / count[both] + mate[both]) / count[both]

    def share(values: Floats) -> tuple[float, Interval]:
        return float(values.mean()), person_bootstrap(owners, values)

    return Figures(
        gallery=int(np.median(count[both])),
        searches=int(both.sum()),
        fpir={rate: share((false <= rate).astype(float)) for rate in REQUESTED},
        fnir={rate: share((right > rate).astype(float)) for rate in REQUESTED},
        nobody={
            prior: share(prior * _nobody(with_mate, prior) + (1 - prior) * _nobody(without, prior)) for prior in PRIORS
        },
    )


def _nobody(mean_ratio: Floats, prior: float) -> Floats:
    """P(nobody) by the mean LR of a search's patients, as :func:`inference.matching.decide` has it."""
    return np.asarray((1 - prior) / (1 - prior + prior * mean_ratio))


def phantoms(
    encoder: Encoder,
    kind: str,
    seed: int,
    last: int,
    first: int = 1,
    processes: int = 1,
    nuisance: str = "default",
) -> Iterator[GalleryEntry]:
    """Embeddings of both visits of phantoms ``first`` to ``last``; films are made small, to be cheap."""
    from training.cohort.nuisance import dials_of
    from training.recipes.phantoms import phantom_embeddings

    dials = dials_of(nuisance)
    dials = replace(dials, chest_film=replace(dials.chest_film, matrix=(192, 224)))
    return phantom_embeddings(encoder, kind, last, seed, 2, processes, dials, first)


def embeddings(
    encoder: Encoder,
    kind: str,
    seed: int,
    persons: int,
    cache: Path,
    processes: int = 1,
    nuisance: str = "default",
    before: int = 0,
) -> Iterator[GalleryEntry]:
    """Embeddings of both visits of phantoms behind the first ``before``, from the cache as far as it reaches."""
    for first in range(before + 1, before + persons + 1, BLOCK):
        last = min(first + BLOCK - 1, before + persons)
        path = cache / f"{kind}-{nuisance}-{seed}-{encoder.name}-{encoder.version}-{first}-{last}.npz"
        if not path.is_file():
            _keep(path, list(phantoms(encoder, kind, seed, last, first, processes, nuisance)))
        yield from _kept(path, seed)


def _keep(path: Path, entries: Sequence[GalleryEntry]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez(
            file,
            vectors=np.stack([entry.vector for entry in entries]),
            text=np.asarray([(e.patient.id, e.study_uid, e.modality, e.view) for e in entries]),
            quality=np.asarray([entry.quality for entry in entries]),
        )
    part.replace(path)


def _kept(path: Path, seed: int) -> Iterator[GalleryEntry]:
    with np.load(path) as found:
        rows = zip(found["text"].tolist(), found["vectors"], found["quality"].tolist(), strict=True)
        for number, ((patient, study, modality, view), vector, quality) in enumerate(rows):
            yield GalleryEntry(
                number, PatientKey(f"PHANTOM-{seed}", patient), study, vector, modality, view, quality=float(quality)
            )


def main(arguments: Sequence[str] | None = None) -> None:
    """Makes, or goes on with, a study and prints its tables."""
    from rich.console import Console
    from rich.progress import track

    from inference.encoders.registry import Registry
    from training.recipes.phantoms import DECISIONS_SEED

    parser = argparse.ArgumentParser(prog="python -m training.studies.decisions", description=main.__doc__)
    parser.add_argument("--encoder", default="general")
    parser.add_argument("--kind", default="chest-film", choices=("chest-film", "head-ct"))
    parser.add_argument("--seed", type=int, default=DECISIONS_SEED, help="of the persons, and of their machines")
    parser.add_argument("--fit-seed", type=int, help="of those who are fitted on, where it was another hospital")
    parser.add_argument("--fit-persons", type=int, default=600)
    parser.add_argument("--fit-gallery", type=int, default=220)
    parser.add_argument("--persons", type=int, default=2200)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument(
        "--nuisance", default="default", choices=sorted(NUISANCES), help="dials of the persons who are judged"
    )
    parser.add_argument("--splits", type=int, default=0, help="random halves of all persons to judge as well")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args(arguments)
    encoder = Registry(device="auto").get(chosen.encoder)
    fit, test = (
        list(
            track(
                embeddings(encoder, chosen.kind, seed, n, chosen.cache, chosen.processes, dials, before), label, 2 * n
            )
        )
        for seed, n, label, dials, before in (
            (chosen.fit_seed or chosen.seed, chosen.fit_persons, "fitting", "default", 0),
            (chosen.seed, chosen.persons, "judging", chosen.nuisance, 0 if chosen.fit_seed else chosen.fit_persons),
        )
    )
    study = measure(fit, test, chosen.fit_gallery)
    halves = [divided([*fit, *test], seed) for seed in track(range(chosen.splits), "splits")]
    if chosen.json is not None:
        found = {"study": asdict(study), "splits": [asdict(half) for half in halves]}
        chosen.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    console = Console()
    console.print(
        f"fitted on {study.fit_persons} persons, each among {study.fit_gallery}; judged on {study.persons} others; "
        f"Cllr {study.cllr:.3f}, min Cllr {study.min_cllr:.3f}"
    )
    for table in tables(study):
        console.print(table)
    if halves:
        console.print(splits_table(halves))


def splits_table(halves: Sequence[Study]) -> object:
    """FPIR seen in each split, and their mean, by the rate that was asked for and the size of the gallery."""
    from rich.table import Table

    table = Table("gallery", "searches", "FPIR asked", "mean", "each split", title="halves judged by the other half")
    for n, first in enumerate(halves[0].figures):
        searches = round(float(np.mean([half.figures[n].searches for half in halves])))
        for rate in first.fpir:
            seen = [half.figures[n].fpir[rate][0] for half in halves]
            each = " ".join(f"{value:.2%}" for value in seen)
            table.add_row(str(first.gallery), str(searches), f"{rate:.1%}", f"{np.mean(seen):.2%}", each)
    return table


def tables(study: Study) -> list[object]:
    """Two tables for people: rates as asked for and as seen, and nobody's share."""
    from rich.table import Table

    rates = Table("gallery", "searches", "FPIR asked", "FPIR seen (95 %)", "FNIR (95 %)", title="non-mated searches")
    shares = Table("gallery", "enrolled", "nobody", "mean P(nobody) (95 %)", title="nobody's share")
    for one in study.figures:
        for rate in one.fpir:
            rates.add_row(
                str(one.gallery), str(one.searches), f"{rate:.1%}", _shown(one.fpir[rate]), _shown(one.fnir[rate])
            )
        for prior, value in one.nobody.items():
            shares.add_row(str(one.gallery), f"{prior:.0%}", f"{1 - prior:.0%}", _shown(value))
    return [rates, shares]


def _shown(value: tuple[float, Interval]) -> str:
    found, (low, high) = value
    return f"{found:.2%} ({low:.2%} to {high:.2%})"


if __name__ == "__main__":
    main()
