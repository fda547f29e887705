"""From a recipe to samples: everything that can be found wrong before the first step is found wrong here."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from config.errors import TrainingError
from training.learning.catalogue import TRAIN, VALIDATION, Catalogue, Image, Tell, catalogue_of
from training.learning.data import Samples, samples_of
from training.learning.folder import Folder, is_first_process
from training.learning.recipe import Recipe
from training.learning.sampler import Batches, Pool, batches_per_epoch
from training.learning.store import ImageStore, failures
from training.learning.validation import check_validation, chosen_for_validation


@dataclass(frozen=True, slots=True)
class Note:
    """Something about the data that is no error, and that whoever reads the figures has to know."""

    name: str
    count: int
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """What a training starts from. ``steps`` are those of the optimiser, a whole number of tests."""

    catalogue: Catalogue
    train: Samples
    held_out: Samples
    batches: Batches
    steps: int
    notes: tuple[Note, ...]


def prepare_data(recipe: Recipe, folder: Folder, kinds: Sequence[str], processes: int, tell: Tell) -> Prepared:
    """Reads, checks and decodes all that a training needs; ``kinds`` are the classes where the task is ``kind``.

    Raises
    ------
    TrainingError
        ``TOO_MANY_FAILURES``, ``ONE_PATIENT``, ``NO_PAIRS``, ``SPLIT_EMPTY``, ``LABEL_UNKNOWN`` or
        ``VALIDATION_TOO_SMALL``, each with its remedy.
    """
    unknown = [source.label for source in recipe.sources if source.label not in kinds]
    if recipe.task == "kind" and unknown:
        known = ", ".join(kinds) or "none"
        raise TrainingError(f"the network has no class {unknown[0]!r}; it has {known}", reason="LABEL_UNKNOWN")
    catalogue = catalogue_of(recipe, folder.path, processes, tell)
    if is_first_process():
        folder.same_data(catalogue.digest)
    train, held_out = catalogue.of(TRAIN), chosen_for_validation(recipe, catalogue.of(VALIDATION))
    spec = recipe.input_spec()
    wide = replace(spec, size=recipe.store.size, crop=recipe.store.crop, slices=recipe.store.slices)
    stores = ImageStore(folder.store, wide), ImageStore(folder.store, spec)
    records = [
        store.fill(images, processes, partial(tell, f"decoding, {name}"))
        for store, images, name in zip(stores, (train, held_out), (TRAIN, VALIDATION), strict=True)
    ]
    failed = failures(train, records[0]) + failures(held_out, records[1])
    _check(recipe, folder, failed, len(train) + len(held_out))
    usable = samples_of(recipe, stores[0], train, records[0], kinds=kinds)
    others = samples_of(recipe, stores[1], held_out, records[1], kinds=kinds, modalities=usable.modalities)
    check_validation(recipe, others.rows)
    pools = usable.pools(recipe)
    wanted = recipe.length.steps or recipe.length.epochs * batches_per_epoch(pools, recipe.sampler)
    # Up to a test, so that no step goes unjudged.
    steps = math.ceil(wanted / recipe.validation.every) * recipe.validation.every
    batches = Batches(pools, recipe.sampler, recipe.seed, steps * recipe.length.accumulate)
    left_out = sum(not record.refused for record in records[1]) - len(others)
    notes = _notes(failed, pools, recipe, left_out)
    return Prepared(catalogue, usable, others, batches, steps, tuple(notes))


def _check(recipe: Recipe, folder: Folder, failed: Sequence[tuple[Image, str]], total: int) -> None:
    if failed and is_first_process():
        folder.write_failures(failed)
    if len(failed) > recipe.store.most_failures * total:
        raise TrainingError(
            f"{len(failed)} of {total} images cannot be used ({_reasons(failed)}), more than the share "
            f"{recipe.store.most_failures:g} of store.most_failures; {folder.failures} lists them",
            reason="TOO_MANY_FAILURES",
        )


def _reasons(failed: Sequence[tuple[Image, str]]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in Counter(why for _, why in failed).most_common())


def _notes(failed: Sequence[tuple[Image, str]], pools: Sequence[Pool], recipe: Recipe, left_out: int) -> list[Note]:
    notes = []
    if failed:
        notes.append(Note("UNUSABLE_IMAGES", len(failed), f"images that cannot be used: {_reasons(failed)}"))
    if singles := sum(len(pool.singles) for pool in pools):
        use = "for cross-entropy alone" if recipe.sampler.singles else "not used (sampler.singles is 0)"
        notes.append(Note("ONE_IMAGE_PATIENTS", singles, f"training patients with one image of a kind, {use}"))
    if left_out:
        notes.append(Note("MODALITY_NOT_TRAINED", left_out, "validation images of a modality that was not trained"))
    return notes
