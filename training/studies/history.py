"""What a patient's past adds to a diagnosis when nobody says which images are the patient's: an encoder looks for them.

``python -m training.studies.history --kind chest-film --encoder cxr --out FOLDER`` makes phantoms with disease that
comes and goes; ``--manifest FILE`` takes anybody's images, with days and label columns. For every image with a past, up
to ``k`` earlier images are *retrieved* by the encoder from an archive that knows no patients, or are the patient's own
latest (*oracle*, what retrieval can reach at best), or are drawn at random (*random*, what it must beat). A logistic
regression reads the label from the image's own features and the retrieved ones'.

Persons whose labels are fitted on and persons who are judged are disjoint, and nothing of the latter is in the archive
that the former search. Beyond that an archive holds everybody, as a hospital's does. Images of one study are never each
other's past: what is retrieved was made on an earlier day.

After the application in "Multi-modal medical image re-identification" (CVPR 2025, arXiv 2503.08173), with fusion by a
mean that the similarities weigh.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from config.errors import CommandError
from inference.encoders.registry import Registry
from inference.whole_file import whole_file
from training.cohort.kinds import KINDS
from training.evaluation.bootstrap import Estimates, Trials
from training.evaluation.figures import Figure, to_json
from training.evaluation.options import Options
from training.evaluation.table import Codes
from training.learning.catalogue import Tell
from training.learning.cohorts import cohort_in
from training.learning.recipe import Cohort
from training.manifests.files import Manifest, read_manifest
from training.manifests.schema import Row
from training.studies.diagnosis import DiagnosisStatistic, diagnose
from training.studies.embeddings import bundled, embed
from training.studies.paired import Difference
from training.studies.past import WAYS, Archive, fused, retrieved
from training.studies.persons import FIT, JUDGE, parts_of
from training.studies.showing import told
from training.studies.stages import stages

# No other use of phantoms draws persons from this seed.
HISTORY_SEED = 7440
MOST = 5
FIGURES = ("accuracy", "balanced accuracy", "AUC")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One way of finding the past, with up to ``k`` images of it.

    ``figures`` by name; ``gain`` how far they lie from those without any past, over the same draws of patients.
    ``own`` is the share of the images found, for those who are judged, that are the patient's own.
    """

    k: int
    way: str
    figures: Mapping[str, Figure]
    gain: Mapping[str, Figure]
    own: float | None


@dataclass(frozen=True, slots=True)
class Study:
    """One label: how many images (with a past) of how many patients were fitted on and judged, and what came out."""

    label: str
    fitted: int
    fitted_patients: int
    judged: int
    judged_patients: int
    positive: int
    outcomes: tuple[Outcome, ...]


def measure(archive: Archive, label: str, most: int, seed: int, rounds: int, tell: Tell) -> Study:
    """Fits and judges one label with 0 to ``most`` images of the past.

    Raises
    ------
    CommandError
        ``SHARED_PERSONS`` when somebody is in both parts; ``LABEL`` when a part has not both values of the label.
    """
    archive.check()
    truth = archive.labels(label)
    chosen = np.flatnonzero((truth >= 0) & archive.has_past())
    fit, judged = (chosen[archive.part[chosen] == part] for part in (FIT, JUDGE))
    for name, some in ((FIT, fit), (JUDGE, judged)):
        if len(np.unique(truth[some])) < 2:
            raise CommandError(
                f"label {label}: the images with a past in the part {name} are not of both values; take more persons",
                reason="LABEL",
            )
    options = Options(rounds=rounds, seed=seed)
    patients = archive.patient[judged]
    plain: DiagnosisStatistic | None = None
    outcomes = []
    steps = [(0, "none"), *((k, way) for way in WAYS for k in range(1, most + 1))]
    for number, (k, way) in enumerate(steps, start=1):
        found = retrieved(archive, chosen, k, way, seed)
        features = fused(archive, chosen, found)
        inside = np.isin(chosen, fit)
        scores = diagnose(features[inside], truth[fit], archive.patient[fit], features[~inside], seed)
        statistic = DiagnosisStatistic(truth[judged], scores)
        plain = plain or statistic
        outcomes.append(
            Outcome(
                k,
                way,
                _figures(statistic, patients, options),
                {} if statistic is plain else _figures(Difference(statistic, plain), patients, options),
                found.own_share(archive, judged),
            )
        )
        tell(label, number, len(steps))
    return Study(
        label=label,
        fitted=len(fit),
        fitted_patients=len(np.unique(archive.patient[fit])),
        judged=len(judged),
        judged_patients=len(np.unique(patients)),
        positive=int(truth[judged].sum()),
        outcomes=tuple(outcomes),
    )


def _figures(statistic: DiagnosisStatistic | Difference, patients: Codes, options: Options) -> dict[str, Figure]:
    estimates = Estimates(patients, {"diagnosis": statistic}, options)
    everybody = Trials.among(patients, np.ones(len(patients), bool))
    return {name: estimates.figure(f"diagnosis.{name}", everybody) for name in FIGURES}


def usable_labels(archive: Archive, names: Sequence[str], least: int) -> list[str]:
    """Those labels of which both parts have at least ``least`` images, with a past, of either value."""
    past = archive.has_past()

    def counts(name: str) -> list[int]:
        truth = archive.labels(name)
        return [
            int(((truth == value) & past & (archive.part == part)).sum()) for value in (0, 1) for part in (FIT, JUDGE)
        ]

    return [name for name in names if min(counts(name)) >= least]


def main(arguments: Sequence[str] | None = None) -> None:
    """Makes, or goes on with, a study of diagnoses with a retrieved past; prints one table for each label."""
    from rich.console import Console

    parser = argparse.ArgumentParser(prog="python -m training.studies.history", description=main.__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--kind", choices=sorted(KINDS), help="which phantom studies")
    source.add_argument("--manifest", type=Path, help="images with labels, and days on one calendar")
    parser.add_argument("--encoder", required=True, help="name of the encoder that retrieves")
    parser.add_argument("--features", help="name of the encoder that the label is read from; the same without")
    parser.add_argument("--bundles", type=Path, action="append", default=[], help="folder with further bundles")
    parser.add_argument("--out", type=Path, required=True, help="folder of the study")
    parser.add_argument("--labels", nargs="+", help="label columns; all that occur often enough without")
    parser.add_argument("--least", type=int, default=20, help="images of either value that each part needs")
    parser.add_argument("--most", type=int, default=MOST, help="images of the past, at most")
    parser.add_argument("--persons", type=int, default=200)
    parser.add_argument("--visits", type=int, default=7)
    parser.add_argument("--nuisance", default="default", help="set of dials: default, unseen, coupled or clinical")
    parser.add_argument("--seed", type=int, default=HISTORY_SEED, help="of the persons; no other use may share it")
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=1)
    chosen = parser.parse_args(arguments)
    registry = Registry(chosen.bundles)
    wanted = {"search": bundled(registry, chosen.encoder), "read": bundled(registry, chosen.features or chosen.encoder)}
    with stages() as tell:
        manifest = _manifest(chosen, tell)
        rows = [row for row in manifest.rows() if row.days is not None]
        if not rows:
            raise CommandError(
                f"{manifest.path.name}: no row has days, so nothing is anything's past", reason="NO_DAYS"
            )
        found = embed(manifest, rows, wanted, chosen.out / "embeddings", tell)
        archive = Archive.of(rows, found.vectors["search"], found.vectors["read"], parts_of(rows, chosen.seed))
        names = chosen.labels or usable_labels(archive, _labels(rows), chosen.least)
        if not names:
            raise CommandError(
                f"no label has {chosen.least} images with a past, of either value, in both parts; take more persons",
                reason="LABEL",
            )
        studies = [measure(archive, name, chosen.most, chosen.seed, chosen.rounds, tell) for name in names]
    with whole_file(chosen.out / "history.json") as file:
        file.write((json.dumps([to_json(study) for study in studies], indent=1) + "\n").encode())
    for study in studies:
        Console(width=170).print(table(study))


def _manifest(chosen: argparse.Namespace, tell: Tell) -> Manifest:
    if chosen.manifest is not None:
        return read_manifest(chosen.manifest)
    wanted = Cohort(
        kinds=(chosen.kind,), patients=chosen.persons, visits=chosen.visits, seed=chosen.seed, nuisance=chosen.nuisance
    )
    # The folder's name says what is in it: with other numbers it is another cohort.
    name = f"{chosen.kind}-{chosen.seed}-{chosen.persons}-{chosen.visits}-{chosen.nuisance}"
    return cohort_in(
        chosen.out / "cohort" / name, wanted, chosen.processes, lambda done, of: tell("phantoms", done, of)
    )


def _labels(rows: Sequence[Row]) -> list[str]:
    return sorted({label for row in rows for label in row.labels})


def table(study: Study) -> object:
    """One row for each way and number of images."""
    from rich.table import Table

    shown = Table("past", "images", *FIGURES, *(f"{name}: gain" for name in FIGURES), "the patient's own")
    shown.title = (
        f"{study.label}: {study.judged} images of {study.judged_patients} patients, {study.positive} positive; "
        f"fitted on {study.fitted} of {study.fitted_patients} others"
    )
    for one in study.outcomes:
        figures = [told(one.figures[name]) for name in FIGURES]
        gains = [told(one.gain[name]) if one.gain else "" for name in FIGURES]
        shown.add_row(one.way, str(one.k), *figures, *gains, "" if one.own is None else f"{one.own:.0%}")
    shown.caption = "intervals of 95 % over patients; balanced accuracy and AUC do not depend on how many are ill"
    return shown


if __name__ == "__main__":
    main()
