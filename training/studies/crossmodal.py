"""Search across modalities: whose CT is this, asked with a chest film, and the reverse.

``python -m training.studies.crossmodal --kinds chest-film chest-ct --encoder cxr ct --out FOLDER`` makes phantoms that
have both kinds of study at every visit; ``--probes FILE --gallery FILE`` takes anybody's images, with the same ids in
both. Two encoders (or one and the same) are joined by a linear map, ridge regression or canonical correlation, that is
fitted on persons who are not judged. *direct* is one encoder's own similarity, where one encoder takes both kinds.

Probe and gallery never share a study, nor a day: the film and the CT of one visit would share its breath and illness.
Floors are chance and the correlation of 32 x 32 pixels, of a volume those of its frontal projection. Lateral films are
left out: they would need a map of their own.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from config.errors import CommandError
from inference.encoders.families import canonical_view
from inference.encoders.registry import Registry
from inference.types import FloatArray
from inference.whole_file import whole_file
from training.cohort.kinds import KINDS
from training.evaluation.appraise import PIXELS
from training.evaluation.enrolling import FLOOR_SIZE
from training.evaluation.options import Options
from training.evaluation.table import Table
from training.learning.catalogue import Tell
from training.learning.cohorts import cohort_in
from training.learning.recipe import Cohort
from training.manifests.files import Manifest, read_manifest
from training.manifests.pairs import GALLERY, PROBES, Rule, comparable_mask, keys_of, mated_mask
from training.manifests.schema import Role, Row
from training.studies.embeddings import Candidate, bundled, embed
from training.studies.joins import JOINS, fitted
from training.studies.paired import FPIR, Judgement, judge, unit, without_embedding
from training.studies.persons import FIT, JUDGE, Parts, check_disjoint, parts_of
from training.studies.showing import as_json, shown
from training.studies.stages import stages

# No other use of phantoms draws persons from this seed.
CROSSMODAL_SEED = 7460
DIRECT = "direct"
# Not of one study, and not of one day; "not known" is not one day.
_RULE = Rule(min_days=1)
_UNDATED = Rule()
_LATERAL = "LATERAL"


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """Images of one kind: their rows, embeddings (n, D) with zeros for failures, pictures (n, P), and parts (n,)."""

    rows: Sequence[Row]
    vectors: FloatArray
    pixels: FloatArray
    part: Parts


def measure(probes: Side, gallery: Side, *, direct: bool, rounds: int, seed: int, tell: Tell) -> Judgement:
    """Fits the joins on the persons of the part ``fit``, and searches the others' probes among the others' gallery.

    Raises
    ------
    CommandError
        ``SHARED_PERSONS`` when somebody is in both parts; ``TOO_FEW_PERSONS`` when nobody can be fitted on.
    EvaluationError
        ``NO_MATES`` when nobody who is judged has both kinds of image in different studies.
    """
    both = [*probes.rows, *gallery.rows]
    check_disjoint([(row.issuer, row.patient_id) for row in both], np.concatenate([probes.part, gallery.part]))
    rule = _RULE if all(row.days is not None for row in both) else _UNDATED
    ours, theirs = _within(probes, JUDGE, PROBES), _within(gallery, JUDGE, GALLERY)
    methods = {}
    first, second, persons = _pairs(_within(probes, FIT, frozenset(Role)), _within(gallery, FIT, frozenset(Role)), rule)
    for number, name in enumerate(JOINS, start=1):
        join = fitted(name, first, second, persons)
        methods[name] = _stacked(ours, theirs, join.probes(ours.vectors), join.gallery(theirs.vectors))
        tell("maps", number, len(JOINS))
    if direct:
        methods[DIRECT] = _stacked(ours, theirs, ours.vectors, theirs.vectors)
    methods[PIXELS] = np.concatenate([frontal(ours.pixels), frontal(theirs.pixels)])
    rows = [replace(row, role=Role.PROBE) for row in ours.rows] + [_enrolled(row) for row in theirs.rows]
    options = Options(
        rule=rule, ranks=(1, 5, 10), percentiles=(1.0, 5.0, 10.0), fpirs=(FPIR,), strata=(), draws=1,
        rounds=rounds, seed=seed,
    )  # fmt: skip
    return judge(Table.from_rows(rows), methods, PIXELS, options, tell)


def _within(side: Side, part: str, roles: frozenset[Role]) -> Side:
    chosen = np.flatnonzero((side.part == part) & np.array([row.role in roles for row in side.rows], bool))
    rows = [side.rows[number] for number in chosen.tolist()]
    return Side(rows, side.vectors[chosen], side.pixels[chosen], side.part[chosen])


def _enrolled(row: Row) -> Row:
    return row if row.role is Role.DISTRACTOR else replace(row, role=Role.GALLERY)


def _pairs(probes: Side, gallery: Side, rule: Rule) -> tuple[FloatArray, FloatArray, np.ndarray]:
    """Embeddings of both images of every pair of one person that the rule allows, and whose they are."""
    ours, theirs = (keys_of([replace(row, role=Role.BOTH) for row in side.rows]) for side in (probes, gallery))
    usable = ~without_embedding(probes.vectors)[:, None] & ~without_embedding(gallery.vectors)[None, :]
    first, second = np.nonzero(comparable_mask(ours, theirs, rule) & mated_mask(ours, theirs) & usable)
    return probes.vectors[first], gallery.vectors[second], ours.patient[first]


def _stacked(ours: Side, theirs: Side, probes: FloatArray, gallery: FloatArray) -> FloatArray:
    """Probes above gallery images in one space; what was not embedded stays zeros, whatever a map makes of it."""
    both = np.concatenate([probes, gallery])
    both[np.concatenate([without_embedding(ours.vectors), without_embedding(theirs.vectors)])] = 0.0
    return both


def frontal(pixels: FloatArray) -> FloatArray:
    """(n, 1024) of unit length: a picture as it is, of a volume its frontal projection, head up.

    ``pixels`` (n, 3072) are those of :class:`training.evaluation.enrolling.Enrolled`; a picture fills the first third.
    """
    size = FLOOR_SIZE**2
    pictures = np.array(pixels[:, :size], np.float32)
    volumes = pixels[:, size:].any(axis=1)
    turned = pictures[volumes].reshape(-1, FLOOR_SIZE, FLOOR_SIZE)[:, ::-1]
    pictures[volumes] = turned.reshape(-1, size)
    return unit(pictures)


def main(arguments: Sequence[str] | None = None) -> None:
    """Makes, or goes on with, a study of search across modalities, in both directions; prints a table for each."""
    from rich.console import Console

    parser = argparse.ArgumentParser(prog="python -m training.studies.crossmodal", description=main.__doc__)
    parser.add_argument("--kinds", nargs=2, choices=sorted(KINDS), help="of phantom studies: of probes and of gallery")
    parser.add_argument("--probes", type=Path, help="manifest of one kind of image, in place of phantoms")
    parser.add_argument("--gallery", type=Path, help="manifest of the other kind, with the same patient ids")
    parser.add_argument("--encoder", nargs="+", required=True, help="one for both, or one of probes and one of gallery")
    parser.add_argument("--bundles", type=Path, action="append", default=[], help="folder with further bundles")
    parser.add_argument("--out", type=Path, required=True, help="folder of the study")
    parser.add_argument("--persons", type=int, default=200)
    parser.add_argument("--visits", type=int, default=2)
    parser.add_argument("--nuisance", default="default", help="set of dials: default, unseen, coupled or clinical")
    parser.add_argument("--seed", type=int, default=CROSSMODAL_SEED, help="of the persons; no other use may share it")
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=1)
    chosen = parser.parse_args(arguments)
    if len(chosen.encoder) > 2 or bool(chosen.kinds) == bool(chosen.probes and chosen.gallery):
        parser.error("give one encoder or two, and either --kinds or both --probes and --gallery")
    registry = Registry(chosen.bundles)
    encoders = [bundled(registry, name) for name in (chosen.encoder[0], chosen.encoder[-1])]
    with stages() as tell:
        sides = [
            _side(manifest, encoder, chosen.out, chosen.seed, tell)
            for manifest, encoder in zip(_manifests(chosen, tell), encoders, strict=True)
        ]
        names = chosen.kinds or [chosen.probes.parent.name, chosen.gallery.parent.name]
        direct = len(set(chosen.encoder)) == 1
        found = {}
        for ours, theirs in ((0, 1), (1, 0)):
            found[f"{names[ours]} among {names[theirs]}"] = measure(
                sides[ours], sides[theirs], direct=direct, rounds=chosen.rounds, seed=chosen.seed, tell=tell
            )
    write(found, chosen.out)
    for title, one in found.items():
        Console(width=190).print(shown(one, title, PIXELS, closed=True))


def write(found: Mapping[str, Judgement], out: Path) -> None:
    """``crossmodal.json`` in ``out``."""
    whole = {title: as_json(one) for title, one in found.items()}
    with whole_file(out / "crossmodal.json") as file:
        file.write((json.dumps(whole, indent=1) + "\n").encode())


def _manifests(chosen: argparse.Namespace, tell: Tell) -> list[Manifest]:
    if not chosen.kinds:
        return [read_manifest(chosen.probes), read_manifest(chosen.gallery)]
    found = []
    for kind in chosen.kinds:
        wanted = Cohort(
            kinds=(kind,), patients=chosen.persons, visits=chosen.visits, seed=chosen.seed, nuisance=chosen.nuisance
        )
        # The folder's name says what is in it: with other numbers it is another cohort.
        name = f"{kind}-{chosen.seed}-{chosen.persons}-{chosen.visits}-{chosen.nuisance}"
        folder = chosen.out / "cohort" / name
        found.append(cohort_in(folder, wanted, chosen.processes, _counted(tell, f"phantoms, {kind}")))
    return found


def _counted(tell: Tell, stage: str) -> Callable[[int, int], None]:
    return lambda done, of: tell(stage, done, of)


def _side(manifest: Manifest, encoder: Candidate, out: Path, seed: int, tell: Tell) -> Side:
    rows = [row for row in manifest.rows() if canonical_view(row.view) != _LATERAL]
    if not rows:
        raise CommandError(f"{manifest.path.name}: all images are lateral; frontal ones are needed", reason="NO_IMAGES")
    found = embed(manifest, rows, {"encoder": encoder}, out / "embeddings", tell)
    return Side(rows, found.vectors["encoder"], found.pixels, parts_of(rows, seed))


if __name__ == "__main__":
    main()
