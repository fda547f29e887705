"""A whole training of a boneprint: pairs, translators where they are needed, the network, and the bundle at the end.

A folder of work holds ``pairs`` and ``translators``, which recipes share that would make the same ones, ``runs`` with a
training's checkpoints and logs, and ``bundles``. Whatever was cut off goes on when the same recipe is trained there
again; what has ended is not done again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import safetensors.torch
import torch
from torch import nn

from config.errors import StorageError, TrainingError
from inference import networks
from inference.encoders.inputs import InputSpec
from inference.networks.boneprint_sides import SIDES, Side
from inference.whole_file import whole_file
from training.boneprint.data import PairBatches, Persons, split_persons
from training.boneprint.export import export_bundle
from training.boneprint.fitting import Say, fit
from training.boneprint.making import manifest_jobs, phantom_jobs
from training.boneprint.pairs import PairStore
from training.boneprint.recipe import EXPLICIT, IMPLICIT, Optimising, Recipe, Source
from training.learning.catalogue import Tell
from training.learning.locks import exclusive
from training.manifests.files import read_manifest

# A training whose translators are these networks' own, by the attribute that draws that side.
_TRANSLATORS = ("to_rendering", "to_radiograph")


@dataclass(frozen=True, slots=True)
class Hardware:
    """What to train on. ``workers`` load batches, ``processes`` make pictures."""

    accelerator: str = "auto"
    workers: int = 0
    processes: int = 1


def train(recipe: Recipe, work: Path, *, hardware: Hardware, tell: Tell, say: Say) -> Path:
    """Trains a recipe in ``work``, or goes on with it; returns the bundle's folder.

    Raises
    ------
    TrainingError
        with the reason; ``RECIPE_CHANGED`` when ``work`` holds another recipe's training of that name.
    """
    run = work / "runs" / recipe.name
    claim(recipe, run)
    persons = persons_of(recipe, work, hardware.processes, tell)
    refused = len(persons.store) - len(persons.store.usable)
    if refused:
        say(f"REFUSED: {refused} persons whose pictures cannot be used")
    torch.manual_seed(recipe.seed)
    network = networks.build(recipe.network.name, recipe.network.settings)
    if recipe.translation is not None:
        take_translators(network, translators(recipe, work, persons, hardware, tell, say))
    learner = _learner(recipe, network, len(persons.trained))
    batches = batches_of(recipe, recipe.length, persons, hardware)
    fit(learner, batches, run, recipe.name, accelerator=hardware.accelerator, tell=tell, say=say)
    return export_bundle(recipe, network, persons, work / "bundles")


def claim(recipe: Recipe, run: Path) -> None:
    """Makes the folder this recipe's; raises TrainingError ``RECIPE_CHANGED`` where it is another's."""
    text, place = recipe.model_dump_json(indent=1), run / "recipe.json"
    if place.is_file() and place.read_text(encoding="utf-8") != text:
        raise TrainingError(
            f"{run} holds the training of another recipe (see recipe.json in it): choose another folder",
            reason="RECIPE_CHANGED",
        )
    try:
        with whole_file(place) as file:
            file.write(text.encode())
    except OSError as error:
        raise StorageError(f"{run} cannot be written ({error.strerror}); choose another folder") from None


def persons_of(recipe: Recipe, work: Path, processes: int, tell: Tell) -> Persons:
    """The recipe's pairs, made where they are not there yet, and who of them is held out."""
    own, spec = recipe.source, recipe.input_spec()
    if own.manifest:
        store = store_in(work, spec, ("manifest", own.manifest))
        store.fill(manifest_jobs(read_manifest(Path(own.manifest)), spec), processes, partial(tell, "pairs"))
    else:
        store = phantoms_in(work, spec, own, processes, partial(tell, "pairs"))
    return split_persons(store, own.validation, recipe.seed)


def phantoms_in(
    work: Path,
    spec: InputSpec,
    own: Source,
    processes: int,
    tell: Callable[[int, int], None],
    sides: tuple[Side, ...] = SIDES,
) -> PairStore:
    """A source's phantoms, made where they are not there yet; ``tell`` is called with (done, of how many)."""
    store = store_in(work, spec, ("phantoms", own.seed, own.nuisance, own.renderings, *sides), sides)
    store.fill(phantom_jobs(own.persons, own.seed, spec, own.nuisance, sides, own.renderings), processes, tell)
    return store


def store_in(work: Path, spec: InputSpec, whose: tuple[Any, ...], sides: tuple[Side, ...] = SIDES) -> PairStore:
    """The store of pictures of that kind of those persons, however many, below a folder of work."""
    return PairStore(work / "pairs" / _digest(*whose, spec.to_mapping()), spec.size, sides)


def batches_of(recipe: Recipe, length: Optimising, persons: Persons, hardware: Hardware) -> PairBatches:
    return PairBatches(persons, batch=length.batch, steps=length.steps, seed=recipe.seed, workers=hardware.workers)


def translators(
    recipe: Recipe, work: Path, persons: Persons, hardware: Hardware, tell: Tell, say: Say
) -> dict[str, torch.Tensor]:
    """Weights of both translators, trained once for all recipes that would train the same ones."""
    from training.boneprint.explicit import Translating

    assert recipe.translation is not None
    settings = {key: recipe.network.settings[key] for key in ("size", "translator") if key in recipe.network.settings}
    key = _digest(
        recipe.seed,
        settings,
        recipe.translation.model_dump(),
        recipe.augment.model_dump(),
        recipe.input,
        persons.digest,
    )
    folder = work / "translators" / key
    done = folder / "translators.safetensors"
    with exclusive(folder):
        if not done.is_file():
            torch.manual_seed(recipe.seed)
            # The encoders of this network are nobody's: the smallest there are.
            small = {"encoder": {"width": 8, "levels": 1, "local": 1, "grid": 1}}
            network: Any = networks.build(EXPLICIT, settings | small)
            batches = batches_of(recipe, recipe.translation, persons, hardware)
            learner = Translating(recipe, network)
            fit(learner, batches, folder, "translators", accelerator=hardware.accelerator, tell=tell, say=say)
            parts = {f"{name}.": getattr(network, name).state_dict() for name in _TRANSLATORS}
            state = {prefix + name: one for prefix, found in parts.items() for name, one in found.items()}
            with whole_file(done) as file:
                file.write(safetensors.torch.save(state))
    return safetensors.torch.load_file(done)


def take_translators(network: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Gives a network the translators that it has."""
    target = cast(Any, network)
    for name, side in zip(_TRANSLATORS, reversed(SIDES), strict=True):
        own = {key.removeprefix(f"{name}."): one for key, one in state.items() if key.startswith(f"{name}.")}
        if hasattr(target, name):
            getattr(target, name).load_state_dict(own)
        elif target.seen == side:
            target.translator.load_state_dict(own)


def _learner(recipe: Recipe, network: Any, persons: int) -> Any:
    if recipe.network.name == EXPLICIT:
        from training.boneprint.explicit import Fusing

        return Fusing(recipe, network)
    if recipe.network.name == IMPLICIT:
        from training.boneprint.implicit import Denoising

        return Denoising(recipe, network)
    from training.boneprint.baselines import Telling

    return Telling(recipe, network, persons)


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
