"""What geometry adds to an embedding: recognition with the embedding alone, with a verifier alone, and with both.

``python -m training.studies.verification --verifier volume --kind head-ct --encoder ct-face`` makes phantoms that no
recipe and no calibration drew, and searches every study among all others; ``--manifest FILE`` does so with images of
anybody's.

Every image is a probe twice: with its own patient enrolled (a mated search) and with its patient left out (a non-mated
one). Images of one study are never compared. *pixels* is the floor, correlation at 32 x 32; *nominated* is what the
verifier thinks of the ``top`` candidates of the embedding; *both* adds the log likelihood ratios of the two scores,
fitted on the other half of the persons.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from config.errors import CommandError
from inference.verification.protocol import Verifier
from training.cohort.kinds import KINDS
from training.cohort.nuisance import dials_of
from training.evaluation.metrics import equal_error_rate, person_bootstrap
from training.manifests.files import read_manifest
from training.studies.comparisons import Comparisons, Floats, compare_all
from training.studies.samples import Sample, manifest_images, phantom_images, samples

# No other use of phantoms draws persons from these seeds: persons here, distractors one above.
VERIFICATION_SEED = 7300
FPIR = 0.01


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


def measure(found: Sequence[Sample], verifier: Verifier, top: int = 20, processes: int = 1) -> Study:
    """Searches every sample among all others; without any embedding all are nominated.

    Raises
    ------
    CommandError
        when nobody can be searched for: a study needs two patients, and one of them twice.
    """
    compared = compare_all(found, verifier, top, processes)
    if compared.patients < 2 or not len(compared.probes):
        raise CommandError("there is nobody to search for: a study needs two patients or more, with two visits each")
    methods: dict[str, Floats] = {}
    if compared.pixels is not None:
        methods["pixels"] = compared.pixels
    if compared.embedding is not None:
        methods["embedding"] = compared.embedding
    if compared.complete:
        methods["verifier"] = compared.geometry
    if compared.embedding is not None:
        methods["nominated"] = np.where(compared.nominated, compared.geometry, -np.inf)
        methods["both"] = _fused(compared, compared.embedding)
    sizes = [len(sample.template.data) for sample in found if sample.template is not None]
    return Study(
        methods={name: figures(compared.by_patient(scores), compared.mates) for name, scores in methods.items()},
        probes=len(compared.probes),
        patients=compared.patients,
        refused_by_encoder=sum(sample.vector is None for sample in found),
        refused_by_verifier=len(found) - len(sizes),
        template_bytes=float(np.mean(sizes)) if sizes else 0.0,
        comparisons=compared.asked,
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


def _fused(compared: Comparisons, embedding: Floats) -> Floats:
    """Sum of log likelihood ratios on nominated pairs, each half of the persons judged by the fit on the other."""
    from sklearn.linear_model import LogisticRegression

    owners = compared.owners
    features = np.stack([np.arctanh(np.clip(embedding, -0.995, 0.995)), _logit(compared.geometry)], axis=-1)
    half = np.random.default_rng(0).permutation(compared.patients) % 2 == 0
    mates = owners[:, None] == owners[None, :]
    result = np.full(embedding.shape, -np.inf)
    for side in (half, ~half):
        learned = compared.nominated & ~side[owners][:, None] & ~side[owners][None, :]
        judged = compared.nominated & side[owners][:, None]
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
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--kind", choices=sorted(KINDS), help="which phantom studies")
    source.add_argument("--manifest", type=Path, help="studies of a manifest instead of phantoms")
    parser.add_argument("--encoder", help="name of the encoder that nominates; without one all are nominated")
    parser.add_argument("--persons", type=int, default=60)
    parser.add_argument("--visits", type=int, default=2)
    parser.add_argument("--distractors", type=int, default=20)
    parser.add_argument("--seed", type=int, default=VERIFICATION_SEED, help="of the persons; no other use may share it")
    parser.add_argument("--nuisance", default="default", help="set of dials: default, unseen, coupled or clinical")
    parser.add_argument("--top", type=int, default=20, help="how many candidates the embedding nominates")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--json", type=Path, help="where the figures go as well")
    chosen = parser.parse_args(arguments)
    judge, encoder = verifier(chosen.verifier), Registry().get(chosen.encoder) if chosen.encoder else None
    if chosen.manifest is not None:
        made = manifest_images(read_manifest(chosen.manifest), chosen.persons, chosen.distractors, chosen.seed)
        label, total = chosen.manifest.parent.name, None
    else:
        dials = dials_of(chosen.nuisance)
        made = phantom_images(
            chosen.kind, chosen.persons, chosen.visits, chosen.distractors, chosen.seed, dials, chosen.processes
        )
        label = f"{chosen.kind} ({chosen.nuisance})"
        total = chosen.persons * chosen.visits + chosen.distractors
    found = list(track(samples(made, encoder, judge), "images", total))
    study = measure(found, judge, chosen.top, chosen.processes)
    show(study, f"{label}: {chosen.encoder or 'no encoder'}, {judge.name} {judge.version}")
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
