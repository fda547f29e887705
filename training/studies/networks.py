"""Which part of a network recognises: variants of one recipe, and specialists, judged on the same people.

``python -m training.studies.networks --recipe mami-tiny --variants plain adapter alignment codes-8 cxr fundus ct mr
--out FOLDER`` makes the recipe's images once, trains every variant (:data:`training.studies.variants.VARIANTS`) and
every specialist (the name of a recipe) in a folder of its own, and compares them on the test patients, whom no training
saw. ``--manifest`` takes anybody's images in place of the recipe's. The first of ``--variants`` is what the others are
compared with, over the same draws of patients.

A study that was stopped goes on with the same command: what is trained stays, what is half trained goes on to the step
where it was, and embeddings are kept. ``table.json`` and ``table.svg`` hold what the terminal shows.

Beside them stand the floors: chance, correlation of 32 x 32 pixels, metadata, and the ImageNet encoder ``general``.
*specialists* is each image by the one specialist that takes it. What a method takes no image of is a miss for it.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from config.errors import CommandError, EvaluationError, StorageError, TrainingError
from inference.encoders.bundle import BUNDLE_FILE
from inference.encoders.registry import Registry
from inference.types import FloatArray
from inference.whole_file import whole_file
from training.evaluation.appraise import METADATA, PIXELS
from training.evaluation.options import Options
from training.evaluation.table import Table
from training.learning.catalogue import TEST, Image, Tell, catalogue_of
from training.learning.folder import Folder
from training.learning.recipe import Recipe, Source, read_recipe, shipped_recipes, with_manifests
from training.learning.run import Hardware, Say, train
from training.learning.validation import rule_of
from training.manifests.files import Manifest, read_manifest, write_manifest
from training.manifests.schema import Row
from training.studies.embeddings import Candidate, Embedded, bundled, embed
from training.studies.paired import FPIR, HEADLINE, Judgement, judge, side_by_side, unit
from training.studies.plots import comparison
from training.studies.showing import as_json, shown
from training.studies.stages import stages
from training.studies.variants import VARIANTS, family, resized, shortened, specialist, varied, with_persons

GENERAL, SPECIALISTS, ALL = "general", "specialists", "all"
_UNKNOWN = "unknown modality"


@dataclass(frozen=True, slots=True)
class Data:
    """The images of all variants. ``sources`` are manifests with a split in every row, ``modalities`` those of each."""

    sources: tuple[Source, ...]
    modalities: tuple[tuple[str, ...], ...]
    test: Manifest


@dataclass(frozen=True, slots=True)
class Trained:
    """A variant's recipe, and the folder that holds its bundle."""

    recipe: Recipe
    folder: Path
    specialised: bool


def make_data(base: Recipe, out: Path, processes: int, tell: Tell) -> Data:
    """Manifests of the base recipe's sources below ``out``, made once; patients keep their split in every variant.

    Raises
    ------
    TrainingError
        ``RECIPE_CHANGED`` when ``out`` holds the study of another recipe; ``SPLIT_EMPTY`` when nobody is in test.
    """
    folder = Folder(out)
    folder.claim(base, resume=True)
    catalogue = catalogue_of(base, out, processes, tell)
    folder.same_data(catalogue.digest)
    if not catalogue.of(TEST):
        raise TrainingError(
            "no patient is in the split test, on whom variants are compared: raise its share in [splits]",
            reason="SPLIT_EMPTY",
        )
    sources, modalities = [], []
    for number, source in enumerate(base.sources):
        images = [image for image in catalogue.images if image.source == number]
        manifest = _written(out / f"{source.name}.csv", images)
        update = {"manifest": str(manifest.path), "outside": True, "cohort": None}
        sources.append(source.model_copy(update=update))
        modalities.append(tuple(sorted({image.row.modality for image in images})))
    return Data(tuple(sources), tuple(modalities), _written(out / "test.csv", catalogue.of(TEST)))


def _written(path: Path, images: Sequence[Image]) -> Manifest:
    """A manifest of images from anywhere; one that is there holds the same, as its data did not change."""
    if not path.is_file():
        labels = sorted({label for image in images for label in image.row.labels})
        write_manifest(path, [_row(image, path.parent) for image in images], labels)
    return read_manifest(path, outside=True)


def _row(image: Image, folder: Path) -> Row:
    """The row with its path from ``folder``."""
    return replace(image.row, path=os.path.relpath(image.manifest.file(image.row).absolute(), folder.absolute()))


def train_variants(
    recipes: Mapping[str, Recipe], special: frozenset[str], out: Path, hardware: Hardware, tell: Tell, say: Say
) -> dict[str, Trained]:
    """Trains every recipe in ``out/trained/<its name>``; whatever has a bundle there is left as it is.

    Raises
    ------
    TrainingError
        ``RECIPE_CHANGED`` when a folder holds the training of another recipe, and what trainings raise.
    """
    found = {}
    for variant, recipe in recipes.items():
        folder = out / "trained" / recipe.name
        Folder(folder).claim(recipe, resume=True)
        _share_store(folder, out / "store")
        if not (folder / recipe.name / BUNDLE_FILE).is_file():
            say(f"{variant}: training in {folder}")
            train(
                recipe,
                folder,
                resume=True,
                hardware=hardware,
                tell=_named(tell, variant),
                say=_said(say, variant),
            )
        found[variant] = Trained(recipe, folder, variant in special)
    return found


def _share_store(folder: Path, store: Path) -> None:
    """Images are decoded once for all variants of one input."""
    link = folder / "store"
    try:
        store.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink() and not link.exists():
            link.symlink_to(os.path.relpath(store, folder), target_is_directory=True)
    except OSError as error:
        raise StorageError(f"{folder} cannot be written ({error.strerror}); choose another folder") from None


def compare(
    trained: Mapping[str, Trained], test: Manifest, base: Recipe, out: Path, rounds: int, tell: Tell
) -> dict[str, Judgement]:
    """All methods on all test images, and on those of each modality in which somebody can be found."""
    candidates = {name: bundled(Registry((one.folder,)), one.recipe.name) for name, one in trained.items()}
    candidates[GENERAL] = bundled(Registry(), GENERAL)
    rows = list(test.rows())
    methods = _methods(embed(test, rows, candidates, out / "embeddings", tell), trained, candidates)
    options = Options(rule=rule_of(base), fpirs=(FPIR,), strata=(), draws=1, rounds=rounds)
    first = next(iter(trained))
    kinds = [family(row.modality) or _UNKNOWN for row in rows]
    found = {}
    for group in (ALL, *(sorted(set(kinds)) if len(set(kinds)) > 1 else ())):
        chosen = [n for n, kind in enumerate(kinds) if group in (ALL, kind)]
        own = {name: vectors[chosen] for name, vectors in methods.items()}
        # Who takes no image of a modality is no method for it.
        own = {name: vectors for name, vectors in own.items() if vectors.any() or name == first}
        try:
            found[group] = judge(Table.from_rows([rows[n] for n in chosen]), own, first, options, _named(tell, group))
        except EvaluationError as error:
            # A modality of which nobody in test has two studies says nothing apart; it still counts among all.
            if group == ALL or error.reason != "NO_MATES":
                raise
    return found


def _methods(
    embedded: Embedded, trained: Mapping[str, Trained], candidates: Mapping[str, Candidate]
) -> dict[str, FloatArray]:
    found = {name: embedded.vectors[name] for name in candidates}
    special = {name: found[name] for name, one in trained.items() if one.specialised}
    if len(special) > 1:
        found[SPECIALISTS] = side_by_side(special)
    return found | {PIXELS: unit(embedded.pixels), METADATA: embedded.metadata}


def _named(tell: Tell, name: str) -> Tell:
    return lambda stage, done, total: tell(f"{name}: {stage}", done, total)


def _said(say: Say, name: str) -> Say:
    return lambda line: say(f"{name}: {line}")


def study(
    base: Recipe, names: Sequence[str], out: Path, *, hardware: Hardware, size: int, steps: int, rounds: int,
    tell: Tell, say: Say,
) -> dict[str, Judgement]:  # fmt: skip
    """Makes data, trains and compares; by group of test images (``all``, then modalities)."""
    data = make_data(base, (out / "data").resolve(), hardware.processes, tell)
    shared = base.model_copy(update={"sources": data.sources})
    recipes, special = {}, set()
    for name in names:
        if name in VARIANTS or not (name in shipped_recipes() or Path(name).is_file()):
            recipes[name] = shortened(varied(shared, name), steps)
        else:
            label = Path(name).stem
            recipes[label] = shortened(specialist(name, data.sources, data.modalities, size), steps)
            special.add(label)
    trained = train_variants(recipes, frozenset(special), out, hardware, tell, say)
    return compare(trained, data.test, base, out, rounds, tell)


def main(arguments: Sequence[str] | None = None) -> None:
    """Makes, or goes on with, a comparison of networks; prints one table for each modality."""
    from rich.console import Console

    parser = argparse.ArgumentParser(prog="python -m training.studies.networks", description=main.__doc__)
    parser.add_argument("--recipe", type=Path, required=True, help="the base: a file, or a recipe that ships")
    parser.add_argument(
        "--variants", nargs="+", default=list(VARIANTS), help=f"of {', '.join(VARIANTS)}, or recipes of specialists"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the study")
    parser.add_argument("--manifest", type=Path, action="append", default=[], help="in place of the recipe's sources")
    parser.add_argument("--outside", action="store_true", help="paths may leave the manifests' folders")
    parser.add_argument("--steps", type=int, default=0, help="of every training; its recipe's own without")
    parser.add_argument("--size", type=int, default=0, help="edge of every network's input in pixels, likewise")
    parser.add_argument("--persons", type=int, default=0, help="patients of each phantom cohort, likewise")
    parser.add_argument("--accelerator", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--workers", type=int, default=0, help="processes that load batches")
    parser.add_argument("--processes", type=int, default=1, help="processes that make phantoms and decode images")
    parser.add_argument("--rounds", type=int, default=1000, help="draws of patients for intervals")
    chosen = parser.parse_args(arguments)
    if min(chosen.steps, chosen.size, chosen.persons) < 0:
        raise CommandError("steps, size and persons are 0 or more")
    base = with_manifests(read_recipe(chosen.recipe), chosen.manifest, outside=chosen.outside)
    errors = Console(stderr=True)
    with stages() as tell:
        found = study(
            resized(with_persons(base, chosen.persons), chosen.size),
            chosen.variants,
            chosen.out,
            hardware=Hardware(chosen.accelerator, workers=chosen.workers, processes=chosen.processes),
            size=chosen.size,
            steps=chosen.steps,
            rounds=chosen.rounds,
            tell=tell,
            say=lambda line: errors.print(line, markup=False, highlight=False),
        )
    first = next(iter(found[ALL].methods))
    write(found, first, chosen.out)
    for group, judgement in found.items():
        Console(width=170).print(shown(judgement, group, first))


def write(found: Mapping[str, Judgement], base: str, out: Path) -> None:
    """``table.json`` and ``table.svg`` in ``out``."""
    whole = {"compared with": base, "groups": {group: as_json(one) for group, one in found.items()}}
    panels = {group: {name: one.headline() for name, one in found[group].methods.items()} for group in found}
    chance = {group: one.chance for group, one in found.items() if one.chance is not None}
    texts = {"table.json": json.dumps(whole, indent=1) + "\n", "table.svg": comparison(panels, HEADLINE, chance)}
    for name, text in texts.items():
        with whole_file(out / name) as file:
            file.write(text.encode())


if __name__ == "__main__":
    main()
