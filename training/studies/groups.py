"""How many depth images of how many patients make a batch: the E x L ablation of group sampling.

``python -m training.studies.groups --out FOLDER --persons 320`` makes one set of depth images, trains the light network
once for each of the seven ways to fill a batch of 270 (E images, a random subgroup, of each of L patients), all from
the same weights, for as many steps, and judges them on test patients whom no training saw: a frontal image of each
scan, probe and gallery from different visits. Differences are to 15 x 18, the published best, over the same draws.

At 112 pixels a run of all seven is a matter of hours on a CPU and of minutes on a GPU; figures are those of this size.
A study that was stopped goes on with the same command. ``table.json`` and ``table.svg`` hold what the terminal shows.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from config.errors import CommandError, StorageError
from inference.encoders.bundle import BUNDLE_FILE
from inference.encoders.registry import Registry
from training.evaluation.appraise import PIXELS
from training.evaluation.options import Options
from training.evaluation.table import Table
from training.faces.recognition import RECIPE, depth_spec, scan_images, train_network, with_poses
from training.learning.catalogue import TEST, TRAIN, Tell, catalogue_of
from training.learning.folder import Folder
from training.learning.recipe import Recipe, Splits, read_recipe
from training.learning.run import Hardware, Say
from training.manifests.files import Manifest
from training.studies.embeddings import bundled, embed
from training.studies.networks import ALL, write
from training.studies.paired import FPIR, Judgement, judge, unit
from training.studies.showing import shown
from training.studies.stages import stages
from training.studies.variants import shortened, with_persons

# No other use of phantoms draws persons from this seed.
GROUPS_SEED = 7810
# Images of a patient x patients in a batch, as the paper on CT faces has them.
PAIRS = ((3, 90), (5, 54), (10, 27), (15, 18), (18, 15), (30, 9), (90, 3))
BEST = "15x18"
# Input, and the depth image that it is cut from, in pixels.
SIZE, IMAGE = 112, 128
# More for the test than for a bundle: differences are what is asked for.
_SPLITS = Splits(train=0.6, validation=0.1, test=0.3)


@dataclass(frozen=True, slots=True)
class GroupData:
    """Depth images with a split in every row, the same for all."""

    manifest: Manifest
    train_patients: int


def study_recipe(base: Recipe, persons: int, steps: int) -> Recipe:
    """The base recipe at 112 pixels, on persons of this study alone; its own length for 0 steps."""
    sources = tuple(
        source
        if source.cohort is None
        else source.model_copy(update={"cohort": source.cohort.model_copy(update={"seed": GROUPS_SEED})})
        for source in base.sources
    )
    small = base.model_copy(
        update={
            "sources": sources,
            "splits": _SPLITS,
            "input": base.input | {"size": SIZE},
            "store": base.store.model_copy(update={"size": IMAGE}),
        }
    )
    return shortened(with_persons(small, persons), steps)


def named(images: int, patients: int) -> str:
    """As the table has it: ``15x18``."""
    return f"{images}x{patients}"


def variant(base: Recipe, images: int, patients: int) -> Recipe:
    """The recipe with another way to fill a batch, under its name."""
    sampler = base.sampler.model_copy(update={"images": images, "patients": patients})
    return base.model_copy(update={"name": named(images, patients), "sampler": sampler})


def make_data(base: Recipe, out: Path, processes: int, tell: Tell) -> GroupData:
    """Cohort and depth images below ``out``, made once.

    Raises
    ------
    TrainingError
        ``RECIPE_CHANGED`` and ``DATA_CHANGED`` when ``out`` holds another study, ``TOO_MANY_FAILURES``.
    """
    folder = Folder(out)
    folder.claim(base, resume=True)
    catalogue = catalogue_of(base, out, processes, tell)
    folder.same_data(catalogue.digest)
    manifest = scan_images(base, catalogue, out, depth_spec(base), processes=processes, tell=tell).manifest
    train = {(row.issuer, row.patient_id) for row in manifest.rows() if row.split == TRAIN}
    return GroupData(manifest, len(train))


def train_all(
    base: Recipe, data: GroupData, pairs: Sequence[tuple[int, int]], out: Path, hardware: Hardware, tell: Tell, say: Say
) -> dict[str, Path]:
    """Trains each of ``pairs`` in ``out/trained/<its name>``; whatever has a bundle there is left as it is.

    Raises
    ------
    CommandError
        ``TOO_FEW_PERSONS`` when a batch wants more patients than there are to train on: it would not be that batch.
    """
    most = max(patients for _, patients in pairs)
    if data.train_patients < most:
        raise CommandError(
            f"a batch of {most} patients needs as many to train on, there are {data.train_patients}: raise --persons, "
            "or leave that pair out",
            reason="TOO_FEW_PERSONS",
        )
    found = {}
    for images, patients in pairs:
        recipe = variant(base, images, patients)
        folder = out / "trained" / recipe.name
        _share_store(folder, out / "store")
        if not (folder / recipe.name / BUNDLE_FILE).is_file():
            say(f"{recipe.name}: training in {folder}")
            train_network(recipe, data.manifest, folder, hardware, _named(tell, recipe.name), say)
        found[recipe.name] = folder
    return found


def compare(trained: Mapping[str, Path], manifest: Manifest, out: Path, rounds: int, tell: Tell) -> Judgement:
    """All of them on the frontal images of the test patients, across visits, beside 32 x 32 pixels."""
    rows = [row for row in manifest.rows() if row.split == TEST]
    candidates = {name: bundled(Registry((folder,)), name) for name, folder in trained.items()}
    found = embed(manifest, rows, candidates, out / "embeddings", tell)
    methods = {name: found.vectors[name] for name in trained} | {PIXELS: unit(found.pixels)}
    base = BEST if BEST in trained else next(iter(trained))
    options = Options(fpirs=(FPIR,), strata=(), draws=1, rounds=rounds)
    return judge(Table.from_rows(rows), methods, base, options, tell)


def _share_store(folder: Path, store: Path) -> None:
    """Images are decoded once for all."""
    link = folder / "store"
    try:
        store.mkdir(parents=True, exist_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink() and not link.exists():
            link.symlink_to(os.path.relpath(store, folder), target_is_directory=True)
    except OSError as error:
        raise StorageError(f"{folder} cannot be written ({error.strerror}); choose another folder") from None


def _named(tell: Tell, name: str) -> Tell:
    return lambda stage, done, total: tell(f"{name}: {stage}", done, total)


def pair_of(text: str) -> tuple[int, int]:
    """``15x18`` as numbers; ValueError for anything else."""
    images, patients = (int(part) for part in text.split("x"))
    if min(images, patients) < 2:
        raise ValueError("a batch has two images or more of two patients or more")
    return images, patients


def main(arguments: Sequence[str] | None = None) -> None:
    """Makes, or goes on with, the ablation; prints its table."""
    from rich.console import Console

    parser = argparse.ArgumentParser(prog="python -m training.studies.groups", description=main.__doc__)
    parser.add_argument("--recipe", type=Path, default=Path(RECIPE), help="the base: a file, or a recipe that ships")
    parser.add_argument("--out", type=Path, required=True, help="folder of the study")
    parser.add_argument("--persons", type=int, default=320, help="phantoms; six of ten are trained on")
    parser.add_argument("--steps", type=int, default=0, help="of every training; the recipe's own without")
    parser.add_argument("--poses", type=int, default=0, help="of each training scan, at most 90; the recipe's without")
    parser.add_argument("--pairs", nargs="+", type=pair_of, default=list(PAIRS), help="images x patients, as 15x18")
    parser.add_argument("--accelerator", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--workers", type=int, default=0, help="processes that load batches")
    parser.add_argument("--processes", type=int, default=1, help="processes that make phantoms and depth images")
    parser.add_argument("--rounds", type=int, default=1000, help="draws of persons for intervals")
    chosen = parser.parse_args(arguments)
    errors = Console(stderr=True)
    hardware = Hardware(chosen.accelerator, workers=chosen.workers, processes=chosen.processes)
    base = with_poses(study_recipe(read_recipe(chosen.recipe), chosen.persons, chosen.steps), chosen.poses)
    with stages() as tell:
        data = make_data(base, chosen.out, chosen.processes, tell)
        trained = train_all(
            base, data, chosen.pairs, chosen.out, hardware, tell,
            lambda line: errors.print(line, markup=False, highlight=False),
        )  # fmt: skip
        found = compare(trained, data.manifest, chosen.out, chosen.rounds, tell)
    first = BEST if BEST in trained else next(iter(trained))
    write({ALL: found}, first, chosen.out)
    Console(width=170).print(shown(found, "E x L", first))


if __name__ == "__main__":
    main()
