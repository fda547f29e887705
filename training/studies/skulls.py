"""Whose face belongs to this skull: recall@k, mAP@k and MRR@k of skull encoders, each above what chance gives.

``python -m training.studies.skulls --bundles FOLDER --encoder skull-face --out FOLDER`` makes phantoms that no training
saw, searches every skull among the faces of *other* visits, and prints one row for each encoder (a table by backbone,
where several were trained) and each gallery: the persons' own faces, and those mixed with ``--distractors`` faces of
further people. Intervals are over persons.

``--seen DIR`` names the work folder of a training: its rows *of the training's own persons* show, apart, what the split
of triplets 70:30 inflates that the literature uses. There the persons of the test were trained on, in other triplets;
here that is the upper row, and the lower one is what is left on people whom nobody has seen.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from config.errors import CommandError, MedReIDError
from inference.encoders.registry import Registry
from inference.encoders.skull_face import SkullFaceEncoder
from inference.whole_file import whole_file
from training.learning.catalogue import Tell
from training.skulls.album import Album, AlbumPlan, make_album
from training.skulls.export import sides_of
from training.skulls.recipe import SkullRecipe
from training.skulls.retrieval import Faces, Retrieval, Search, joined, measured, searches_of
from training.skulls.run import plan_of, split_persons
from training.skulls.showing import as_json, table
from training.studies.stages import stages

# No other use of phantoms draws persons from this seed.
SKULLS_SEED = 7840
RANKS = (1, 5, 10, 30)
# What the persons of a study show, of each kind that an encoder takes.
_VIEWS = {"film": ("film/PA", "film/LL"), "photo": ("photo/FRONTAL",)}


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many persons, visits of each, and faces of further people; and how the figures are drawn."""

    persons: int = 40
    visits: int = 2
    distractors: int = 445
    ranks: tuple[int, ...] = RANKS
    rounds: int = 1000
    seed: int = SKULLS_SEED
    nuisance: str = "default"


_USUAL = Sizes()


def judged(skulls: Faces, faces: Faces, distractors: Faces, sizes: Sizes) -> dict[str, Retrieval]:
    """Figures by gallery: one visit's faces of all persons, and those mixed with faces of people who are never searched
    for. With one photograph a visit, 40 persons and 445 distractors these are the galleries of the literature.

    Raises
    ------
    CommandError
        ``SHARED_PERSONS`` when somebody is searched for and a distractor as well.
    EvaluationError
        ``NO_MATES`` when no skull has a face of another visit.
    """
    if np.intersect1d(skulls.persons, distractors.persons).size:
        raise CommandError("somebody is searched for and a distractor as well", reason="SHARED_PERSONS")
    galleries = {"own faces": faces.chosen(np.zeros(0, np.int64))}
    if len(distractors):
        galleries[f"with {len(distractors)} distractors"] = distractors
    return {
        name: measured(list(_next_day(skulls, faces, others)), sizes.ranks, sizes.rounds, sizes.seed)
        for name, others in galleries.items()
    }


def _next_day(skulls: Faces, faces: Faces, distractors: Faces) -> Iterator[Search]:
    """Skulls of each visit among everybody's faces of the next one (of the first, after the last)."""
    visits = np.unique(faces.visits)
    for visit, other in zip(visits, np.roll(visits, -1), strict=True):
        gallery = joined(faces.chosen(faces.visits == other), distractors)
        yield from searches_of(skulls.chosen(skulls.visits == visit), gallery)


def study(encoder: SkullFaceEncoder, out: Path, sizes: Sizes, processes: int, tell: Tell) -> dict[str, Retrieval]:
    """An encoder's figures on phantoms of its own kinds, by gallery; pictures are made once below ``out``."""
    plan = _plan(encoder, sizes)
    album = make_album(out / plan.name, plan, processes, tell, f"pictures, {encoder.name}").without_repeats()
    others = range(sizes.persons + 1, sizes.persons + sizes.distractors + 1)
    skulls, faces = sides_of(encoder, album, range(1, sizes.persons + 1), encoder.name, tell)
    _, distractors = sides_of(encoder, album, others, f"{encoder.name}, distractors", tell)
    return judged(skulls, faces, distractors, sizes)


def trap(encoder: SkullFaceEncoder, work: Path, sizes: Sizes, tell: Tell) -> dict[str, Retrieval]:
    """Figures of the persons that a training saw, and of as many that it did not, from galleries of one size.

    Raises
    ------
    CommandError
        ``NOT_FOUND`` when ``work`` holds no training.
    """
    recipe = _recipe_in(work)
    plan, persons = plan_of(recipe), split_persons(recipe)
    album = make_album(work / plan.name, plan, 1, tell, "pictures of the training").without_repeats()
    unseen = persons["test"] or persons["validation"]
    groups = {"trained on (as a split of triplets has it)": persons["train"][: len(unseen)], "never seen": unseen}
    return {label: _own(encoder, album, group, sizes, tell, label) for label, group in groups.items()}


def write(found: Mapping[str, Mapping[str, Retrieval]], sizes: Sizes, out: Path) -> None:
    """``skulls.json`` in ``out``."""
    whole = {name: {gallery: as_json(one) for gallery, one in rows.items()} for name, rows in found.items()}
    said = {"seed": sizes.seed, "persons": sizes.persons, "nuisance": sizes.nuisance, "encoders": whole}
    with whole_file(out / "skulls.json") as file:
        file.write((json.dumps(said, indent=1) + "\n").encode())


def _plan(encoder: SkullFaceEncoder, sizes: Sizes) -> AlbumPlan:
    skulls, faces = (
        tuple(one for kind in encoder.kinds(side) for one in _VIEWS.get(kind, (kind,))) for side in ("skull", "face")
    )
    size = max(encoder.size("skull"), encoder.size("face"))
    return AlbumPlan(
        sizes.seed, sizes.persons, sizes.visits, skulls, faces, size, sizes.nuisance, sizes.distractors
    )  # fmt: skip


def _own(
    encoder: SkullFaceEncoder, album: Album, persons: Sequence[int], sizes: Sizes, tell: Tell, label: str
) -> Retrieval:
    skulls, faces = sides_of(encoder, album, persons, label, tell)
    nobody = faces.chosen(np.zeros(0, np.int64))
    return judged(skulls, faces, nobody, sizes)["own faces"]


def _recipe_in(work: Path) -> SkullRecipe:
    try:
        return SkullRecipe.model_validate_json((work / "recipe.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise CommandError(f"{work} holds no training of a skull encoder", reason="NOT_FOUND") from None


def _encoder(registry: Registry, name: str) -> SkullFaceEncoder:
    found = registry.get(name)
    if not isinstance(found, SkullFaceEncoder):
        raise CommandError(f"the encoder {name!r} compares no skulls with faces", reason="ENCODER_KIND")
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Makes, or goes on with, a study of skull encoders; prints their figures with chance beside each."""
    parser = argparse.ArgumentParser(prog="python -m training.studies.skulls", description=main.__doc__)
    parser.add_argument("--encoder", nargs="+", required=True, help="bundles; several make a table by backbone")
    parser.add_argument("--bundles", type=Path, action="append", default=[], help="folder with further bundles")
    parser.add_argument("--out", type=Path, required=True, help="folder of the study")
    parser.add_argument("--persons", type=int, default=_USUAL.persons)
    parser.add_argument("--visits", type=int, default=_USUAL.visits)
    parser.add_argument("--distractors", type=int, default=_USUAL.distractors)
    parser.add_argument("--ranks", type=int, nargs="+", default=list(RANKS))
    parser.add_argument("--rounds", type=int, default=_USUAL.rounds)
    parser.add_argument("--seed", type=int, default=SKULLS_SEED, help="of the persons; no other use may share it")
    parser.add_argument("--nuisance", default="default", help="set of dials: default, unseen, coupled or clinical")
    parser.add_argument("--seen", type=Path, help="work folder of the first encoder's training: shows the trap apart")
    parser.add_argument("--processes", type=int, default=1)
    chosen = parser.parse_args(arguments)
    sizes = Sizes(
        chosen.persons, chosen.visits, chosen.distractors, tuple(chosen.ranks), chosen.rounds, chosen.seed,
        chosen.nuisance,
    )  # fmt: skip
    try:
        _run(chosen, sizes)
    except MedReIDError as error:
        sys.exit(f"{error} [{error.reason}]")


def _run(chosen: argparse.Namespace, sizes: Sizes) -> None:
    from rich.console import Console

    registry = Registry(chosen.bundles)
    encoders = {name: _encoder(registry, name) for name in chosen.encoder}
    with stages() as tell:
        found = {
            f"{name} ({one.network('skull')})": study(one, chosen.out, sizes, chosen.processes, tell)
            for name, one in encoders.items()
        }
        apart = trap(encoders[chosen.encoder[0]], chosen.seen, sizes, tell) if chosen.seen else {}
    write(found | ({"the published trap": apart} if apart else {}), sizes, chosen.out)
    console = Console(width=190)
    rows = {f"{name}, {gallery}": one for name, own in found.items() for gallery, one in own.items()}
    console.print(table(f"skulls among faces of other visits, seed {sizes.seed}", rows))
    if apart:
        console.print(table("what training on the persons of the test inflates", apart))


if __name__ == "__main__":
    main()
