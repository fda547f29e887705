"""What geometry adds to an embedding: recognition with the embedding alone, with a verifier alone, and with both.

``python -m training.studies.verification --verifier volume --kind head-ct --encoder ct-face`` makes phantoms that no
recipe and no calibration drew, and searches every study among all others.

Every image is a probe twice: with its own patient enrolled (a mated search) and with its patient left out (a non-mated
one). Images of one study are never compared. *nominated* is the verifier's opinion of the ``top`` candidates of the
embedding; *both* adds the log likelihood ratios of the two scores, fitted on the other half of the persons.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.verification.protocol import Template, Verifier
from training.cohort.kinds import KINDS
from training.cohort.nuisance import dials_of
from training.evaluation.metrics import equal_error_rate, person_bootstrap
from training.studies.samples import Sample, phantom_images, samples

# No other use of phantoms draws persons from these seeds: persons here, distractors one above.
VERIFICATION_SEED = 7300
FPIR = 0.01
# Beyond this many comparisons the verifier is only asked about what the embedding nominated.
MAX_PAIRS = 400_000

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Figures:
    """One method: closed-set rank-1, EER over pairs, and FNIR at the threshold where 1 % of non-mated searches return
    anybody; intervals of 95 % over persons. A mate that was not nominated, or could not be enrolled, is a miss."""

    rank1: float
    rank1_interval: tuple[float, float]
    equal_error_rate: float
    fnir: float
    fnir_interval: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Study:
    """``probes`` mated and as many non-mated searches among ``patients``; refusals are failures to enrol."""

    methods: dict[str, Figures]
    probes: int
    patients: int
    refused_by_encoder: int
    refused_by_verifier: int
    template_bytes: float
    comparisons: int


@dataclass(frozen=True, slots=True)
class _Table:
    """Which images are searched and which may be compared: owners (n,) are numbers of patients."""

    owners: NDArray[np.int64]
    probes: NDArray[np.int64]
    comparable: NDArray[np.bool_]
    patients: int

    def by_patient(self, scores: Floats) -> Floats:
        """(probes, patients): the best score over a patient's comparable images; -inf where there is none."""
        result = np.full((len(self.probes), self.patients), -np.inf)
        masked = np.where(self.comparable, scores, -np.inf)[self.probes]
        np.maximum.at(result.T, self.owners, masked.T)
        return result


def measure(found: Sequence[Sample], verifier: Verifier, top: int = 20) -> Study:
    """Compares all images with all. Scores of one pair are made once: a verifier is symmetric."""
    table = _table(found)
    embedding = _embedding_scores(found)
    nominated = _nominated(np.where(table.comparable, embedding, -np.inf), top)
    nominated[_others(len(found), table.probes)] = False
    everything = int(table.comparable[table.probes].sum()) <= MAX_PAIRS
    geometry, comparisons = _geometry_scores(found, verifier, table.comparable if everything else nominated)
    methods = {"embedding": embedding}
    if everything:
        methods["verifier"] = geometry
    methods["nominated"] = np.where(nominated, geometry, -np.inf)
    methods["both"] = _fused(table, embedding, geometry, nominated)
    templates = [sample.template for sample in found if sample.template is not None]
    return Study(
        methods={
            name: figures(table.by_patient(scores), table.owners[table.probes]) for name, scores in methods.items()
        },
        probes=len(table.probes),
        patients=table.patients,
        refused_by_encoder=sum(sample.vector is None for sample in found),
        refused_by_verifier=len(found) - len(templates),
        template_bytes=float(np.mean([len(template.data) for template in templates])) if templates else 0.0,
        comparisons=comparisons,
    )


def figures(scores: Floats, mates: NDArray[np.int64], fpir: float = FPIR) -> Figures:
    """Figures of one method from (probes, patients) scores, -inf where a patient was not on the list."""
    rows = np.arange(len(scores))
    own = scores[rows, mates]
    others = scores.copy()
    others[rows, mates] = -np.inf
    best_other = others.max(axis=1)
    finite = np.isfinite(others)
    hits = (own > best_other).astype(np.float64)
    # FPIR: the share of non-mated searches that return anybody at or above the threshold.
    allowed = int(np.floor(fpir * len(scores) + 1e-9))
    threshold = np.sort(best_other)[::-1][allowed]
    misses = ((own <= threshold) | (own <= best_other)).astype(np.float64)
    floor = min(float(others[finite].min()), float(own[np.isfinite(own)].min(initial=0.0))) - 1.0
    return Figures(
        rank1=float(hits.mean()),
        rank1_interval=person_bootstrap(mates, hits),
        equal_error_rate=equal_error_rate(np.maximum(own, floor), np.maximum(others, floor)[_not_own(scores, mates)]),
        fnir=float(misses.mean()),
        fnir_interval=person_bootstrap(mates, misses),
    )


def _not_own(scores: Floats, mates: NDArray[np.int64]) -> NDArray[np.bool_]:
    return np.asarray(np.arange(scores.shape[1])[None, :] != mates[:, None])


def _table(found: Sequence[Sample]) -> _Table:
    names, owners = np.unique([sample.patient for sample in found], return_inverse=True)
    studies = np.array([f"{sample.patient}\x00{sample.study}" for sample in found])
    comparable = studies[:, None] != studies[None, :]
    for values in ([sample.view for sample in found], [sample.laterality for sample in found]):
        known = np.array(values)
        comparable &= (known[:, None] == known[None, :]) | (known[:, None] == "") | (known[None, :] == "")
    mated = (comparable & (owners[:, None] == owners[None, :])).any(axis=1)
    searched = mated & np.array([not sample.distractor for sample in found])
    return _Table(owners, np.flatnonzero(searched), comparable, len(names))


def _embedding_scores(found: Sequence[Sample]) -> Floats:
    dimension = next(len(sample.vector) for sample in found if sample.vector is not None)
    vectors = np.zeros((len(found), dimension))
    for row, sample in zip(vectors, found, strict=True):
        row[:] = 0.0 if sample.vector is None else sample.vector
    scores = vectors @ vectors.T
    refused = np.array([sample.vector is None for sample in found])
    scores[refused], scores[:, refused] = -np.inf, -np.inf
    return scores


def _nominated(scores: Floats, top: int) -> NDArray[np.bool_]:
    """The ``top`` best images of each row."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    chosen = np.zeros(scores.shape, bool)
    np.put_along_axis(chosen, best, True, axis=1)
    return chosen & np.isfinite(scores)


def _others(count: int, probes: NDArray[np.int64]) -> NDArray[np.bool_]:
    return ~np.isin(np.arange(count), probes)


def _geometry_scores(found: Sequence[Sample], verifier: Verifier, wanted: NDArray[np.bool_]) -> tuple[Floats, int]:
    from rich.progress import track

    templates: list[Template | None] = [sample.template for sample in found]
    scores = np.full(wanted.shape, -np.inf)
    pairs = np.argwhere(np.triu(wanted | wanted.T, 1))
    done = 0
    for first, second in track(pairs.tolist(), "comparisons"):
        probe, reference = templates[first], templates[second]
        if probe is not None and reference is not None:
            scores[first, second] = scores[second, first] = verifier.score(probe, reference)
            done += 1
    return scores, done


def _fused(table: _Table, embedding: Floats, geometry: Floats, nominated: NDArray[np.bool_]) -> Floats:
    """Sum of log likelihood ratios on nominated pairs, each half of the persons judged by the fit on the other."""
    from sklearn.linear_model import LogisticRegression

    features = np.stack([np.arctanh(np.clip(embedding, -0.995, 0.995)), _logit(geometry)], axis=-1)
    half = np.random.default_rng(0).permutation(table.patients) % 2 == 0
    mates = table.owners[:, None] == table.owners[None, :]
    usable = nominated & np.isfinite(features).all(axis=-1)
    result = np.full(embedding.shape, -np.inf)
    for side in (half, ~half):
        learned = usable & (~side)[table.owners][:, None] & (~side)[table.owners][None, :]
        judged = usable & side[table.owners][:, None]
        if not judged.any() or len(np.unique(mates[learned])) < 2:
            continue
        model = LogisticRegression(class_weight="balanced").fit(features[learned], mates[learned])
        result[judged] = model.decision_function(features[judged])
    return result


def _logit(scores: Floats) -> Floats:
    """Log odds of scores in [0, 1]; what was not compared counts as the lowest score."""
    bounded = np.clip(np.where(np.isfinite(scores), scores, 0.0), 1e-3, 1 - 1e-3)
    return np.asarray(np.log(bounded / (1 - bounded)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Makes phantoms, searches all among all, and shows what each method reaches."""
    from rich.progress import track

    from inference.encoders.registry import Registry
    from inference.verification.registry import verifier

    parser = argparse.ArgumentParser(prog="python -m training.studies.verification", description=main.__doc__)
    parser.add_argument("--verifier", required=True, help="name of a verifier")
    parser.add_argument("--kind", required=True, choices=sorted(KINDS), help="which phantom studies")
    parser.add_argument("--encoder", required=True, help="name of the encoder that nominates")
    parser.add_argument("--persons", type=int, default=60)
    parser.add_argument("--visits", type=int, default=2)
    parser.add_argument("--distractors", type=int, default=20)
    parser.add_argument("--seed", type=int, default=VERIFICATION_SEED, help="of the persons; no other use may share it")
    parser.add_argument("--nuisance", default="default", help="set of dials: default, unseen, coupled or clinical")
    parser.add_argument("--top", type=int, default=20, help="how many candidates the embedding nominates")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--json", type=Path, help="where the figures go as well")
    chosen = parser.parse_args(arguments)
    judge, encoder = verifier(chosen.verifier), Registry().get(chosen.encoder)
    made = phantom_images(
        chosen.kind,
        chosen.persons,
        chosen.visits,
        chosen.distractors,
        chosen.seed,
        dials_of(chosen.nuisance),
        chosen.processes,
    )
    found = list(track(samples(made, encoder, judge), "phantoms", chosen.persons * chosen.visits + chosen.distractors))
    study = measure(found, judge, chosen.top)
    show(study, f"{chosen.kind} ({chosen.nuisance}): {encoder.name} {encoder.version}, {judge.name} {judge.version}")
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(asdict(study), indent=1) + "\n", encoding="utf-8")


def show(study: Study, title: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("method", "rank-1", "EER", "FNIR at FPIR 1 %", title=title)
    for name, one in study.methods.items():
        table.add_row(
            name,
            f"{one.rank1:.3f} [{one.rank1_interval[0]:.3f}, {one.rank1_interval[1]:.3f}]",
            f"{one.equal_error_rate:.3f}",
            f"{one.fnir:.3f} [{one.fnir_interval[0]:.3f}, {one.fnir_interval[1]:.3f}]",
        )
    table.caption = (
        f"{study.probes} mated and {study.probes} non-mated searches among {study.patients} patients; not enrolled: "
        f"{study.refused_by_encoder} by the encoder, {study.refused_by_verifier} by the verifier; "
        f"{study.template_bytes:.0f} bytes a template"
    )
    Console().print(table)


if __name__ == "__main__":
    main()
