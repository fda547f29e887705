"""Trains an encoder of faces in head CT and MR: phantoms or anybody's volumes become depth images, these a bundle.

``python -m training.faces.recognition --out FOLDER`` trains the recipe ``face-network``; ``--manifest`` takes volumes
of known patients in place of its phantoms, ``--start`` the weights of the source domain
(:mod:`training.faces.source_domain`). A recipe of this kind is any other recipe, read like this:

- ``sources`` are head CT and MR; ``store.slices`` poses of each training scan are kept, of at most 90;
- ``store.size`` is the edge of a depth image, ``input.size`` that of the random crop that the network sees, and
  ``input.slices`` how many views are averaged when it serves;
- a batch is ``sampler.images`` depth images, a random subgroup, of each of ``sampler.patients`` patients
  (:mod:`training.faces.groups`), whatever scans they are of.

Held-out patients are judged by one frontal image of each scan, probe and gallery from different visits; the bundle, on
their volumes. In FOLDER are the cohort, the depth images with their manifest, the training (``network``), and the
bundle under its name. The same command with ``--resume`` goes on wherever it was cut off.
"""

from __future__ import annotations

import argparse
import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from config.errors import TrainingError
from inference.encoders.face_network import middle
from inference.imaging.depth_image import DepthSpec, Turn
from inference.imaging.options import LoadOptions
from inference.imaging.skin import SKIN_HU
from inference.networks.depth import NAMES
from training.faces.depth_images import LABELS, DepthCache, Refusal, Scan, Volume, write_image
from training.faces.face_bundle import face_bundle
from training.faces.groups import GroupBatches, batches_in_epoch
from training.faces.poses import some_turns
from training.learning.catalogue import TRAIN, Catalogue, Tell, catalogue_of
from training.learning.export import Outcome
from training.learning.folder import Folder, is_first_process
from training.learning.prepare import Prepared
from training.learning.recipe import Recipe, Source, read_recipe, with_manifests
from training.learning.run import Hardware, Say, train
from training.learning.seeds import stream
from training.manifests.files import Manifest, read_manifest, write_manifest
from training.manifests.pictures import decode
from training.manifests.schema import Row

RECIPE = "face-network"


@dataclass(frozen=True, slots=True)
class FaceData:
    """Depth images to train and to judge on. ``manifest`` has a split in every row; ``refused`` scans have no image."""

    manifest: Manifest
    refused: tuple[Refusal, ...]


def is_face_recipe(recipe: Recipe) -> bool:
    """Whether a recipe's network looks at depth images, so that it is trained here."""
    return recipe.network.name in NAMES


def train_faces(
    recipe: Recipe,
    out: Path,
    *,
    resume: bool = False,
    hardware: Hardware | None = None,
    spec: DepthSpec | None = None,
    tell: Tell,
    say: Say,
) -> Outcome | None:
    """Trains a recipe of faces in ``out`` to the bundle ``out/<name>``; processes other than the first return None.

    Parameters
    ----------
    spec
        how depth images are made; None is the usual way, at the recipe's size.
    resume, hardware, tell, say
        see :func:`training.learning.run.train`.

    Raises
    ------
    TrainingError
        with the reason; what ``out`` holds can be gone on with.
    """
    chosen, folder, made_by = hardware or Hardware(), Folder(out), spec or depth_spec(recipe)
    if is_first_process():
        folder.claim(recipe, resume)
    catalogue = catalogue_of(recipe, out, chosen.processes, tell)
    if is_first_process():
        folder.same_data(catalogue.digest)
    data = scan_images(recipe, catalogue, out, made_by, processes=chosen.processes, tell=tell)
    if data.refused:
        say(f"NO_DEPTH_IMAGE: {len(data.refused)} scans without a face to see: {_reasons(data.refused)}")
    found = train_network(recipe, data.manifest, out / "network", chosen, tell, say)
    if found is None:
        return None
    return face_bundle(recipe, found, catalogue, data.manifest, out, made_by, tell)


def train_network(
    recipe: Recipe, manifest: Manifest, folder: Path, hardware: Hardware, tell: Tell, say: Say
) -> Outcome | None:
    """Trains the recipe's network on depth images with a split in every row, to ``folder/<name>``; goes on if it can.

    That bundle takes depth images; :func:`~training.faces.face_bundle.face_bundle` makes one of it that takes volumes.
    """
    own = face_recipe(recipe, manifest)
    return train(own, folder, resume=True, hardware=hardware, arrange=grouped, tell=tell, say=say)


def face_recipe(recipe: Recipe, manifest: Manifest) -> Recipe:
    """The recipe with depth images, which are pictures of one plane, in the place of its volumes."""
    source = Source(name="faces", manifest=str(manifest.path), outside=True)
    store = recipe.store.model_copy(update={"slices": 1})
    # The encoder that takes volumes is calibrated, not the one within.
    export = recipe.export.model_copy(update={"calibrate": False})
    return recipe.model_copy(update={"sources": (source,), "store": store, "export": export})


def grouped(recipe: Recipe, data: Prepared) -> Prepared:
    """The data in batches by group sampling; an epoch shows every subgroup that finds a batch once."""
    pools = data.train.pools(recipe)
    length, every = recipe.length, recipe.validation.every
    epoch = sum(batches_in_epoch(pool, recipe.sampler) for pool in pools)
    wanted = length.steps or math.ceil(length.epochs * epoch / length.accumulate)
    steps = math.ceil(wanted / every) * every
    batches = GroupBatches(pools, recipe.sampler, recipe.seed, steps * length.accumulate)
    return replace(data, batches=batches, steps=steps)


def depth_spec(recipe: Recipe, threshold: float = SKIN_HU, *, separate: bool = False) -> DepthSpec:
    """How a recipe's depth images are made."""
    return DepthSpec(recipe.store.size, threshold, separate=separate)


def scan_images(
    recipe: Recipe, catalogue: Catalogue, out: Path, spec: DepthSpec, *, processes: int, tell: Tell
) -> FaceData:
    """Depth images of the catalogue's volumes: the poses of training scans, one frontal view of all others.

    Raises
    ------
    TrainingError
        ``TOO_MANY_FAILURES`` when more than the share ``store.most_failures`` of the scans have no face to see.
    """
    scans = [
        Volume(image, _turns(recipe, number) if image.row.split == TRAIN else (Turn(),))
        for number, image in enumerate(catalogue.images)
    ]
    return depth_data(recipe, scans, out, spec, processes=processes, tell=tell)


def depth_data(
    recipe: Recipe, scans: Sequence[Scan], out: Path, spec: DepthSpec, *, processes: int, tell: Tell
) -> FaceData:
    """Depth images of scans with a split, below ``out``; held-out ones as they serve. Raises as :func:`scan_images`."""
    cache = DepthCache(out / "depth", spec)
    made = cache.fill(scans, processes, partial(tell, "depth images"))
    if made.manifest is None or len(made.refused) > recipe.store.most_failures * len(scans):
        raise TrainingError(
            f"{len(made.refused)} of {len(scans)} scans have no face to see ({_reasons(made.refused)}), more than the "
            f"share {recipe.store.most_failures:g} of store.most_failures",
            reason="TOO_MANY_FAILURES",
        )
    size = recipe.input_spec().size
    rows = [_from(out, made.manifest, row, size) for row in made.manifest.rows()]
    write_manifest(out / "faces.csv", rows, LABELS)
    return FaceData(read_manifest(out / "faces.csv"), made.refused)


def _turns(recipe: Recipe, number: int) -> tuple[Turn, ...]:
    return some_turns(recipe.store.slices, stream(recipe.seed, "poses", number))


def _from(out: Path, cache: Manifest, row: Row, size: int) -> Row:
    """The row with its path from ``out``; of a held-out image, that of its middle, which is what serves."""
    path = cache.file(row)
    if row.split != TRAIN:
        cut = out / "held-out" / f"{size}" / f"{path.parent.name}.png"
        if not cut.is_file():
            write_image(cut, middle(decode(path, LoadOptions())[..., 0], size))
        path = cut
    return replace(row, path=os.path.relpath(path.absolute(), out.absolute()))


def _reasons(refused: Sequence[Refusal]) -> str:
    return ", ".join(f"{name} {count}" for name, count in Counter(one.reason for one in refused).most_common())


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains an encoder of faces to a bundle."""
    from rich.console import Console

    from training.studies.stages import stages
    from training.studies.variants import shortened, with_persons

    parser = argparse.ArgumentParser(prog="python -m training.faces.recognition", description=main.__doc__)
    parser.add_argument("--recipe", type=Path, default=Path(RECIPE), help="a file, or a recipe that ships")
    parser.add_argument("--out", type=Path, required=True, help="folder of the training")
    parser.add_argument("--manifest", type=Path, action="append", default=[], help="volumes, in place of phantoms")
    parser.add_argument("--outside", action="store_true", help="paths may leave the manifests' folders")
    parser.add_argument("--start", type=Path, help="weights.safetensors to start from, those of the source domain")
    parser.add_argument(
        "--threshold", type=float, default=SKIN_HU, help="of the skin in Hounsfield units, -400 to -300"
    )
    parser.add_argument("--separate", action="store_true", help="drop what is no face, by the network that ships")
    parser.add_argument("--poses", type=int, default=0, help="of each training scan, at most 90; the recipe's without")
    parser.add_argument("--persons", type=int, default=0, help="patients of each phantom cohort; the recipe's without")
    parser.add_argument("--steps", type=int, default=0, help="of the training; the recipe's without")
    parser.add_argument("--resume", action="store_true", help="go on in a folder that holds this training")
    parser.add_argument("--accelerator", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--workers", type=int, default=0, help="processes that load batches")
    parser.add_argument("--processes", type=int, default=1, help="processes that make phantoms and depth images")
    chosen = parser.parse_args(arguments)
    recipe = with_manifests(read_recipe(chosen.recipe), chosen.manifest, outside=chosen.outside)
    recipe = with_poses(shortened(with_persons(recipe, chosen.persons), chosen.steps), chosen.poses)
    with stages() as tell:
        found = train_faces(
            started_from(recipe, chosen.start),
            chosen.out,
            resume=chosen.resume,
            hardware=Hardware(chosen.accelerator, workers=chosen.workers, processes=chosen.processes),
            spec=depth_spec(recipe, chosen.threshold, separate=chosen.separate),
            tell=tell,
            say=lambda line: Console(stderr=True).print(line, markup=False, highlight=False),
        )
    if found is not None:
        Console().print(f"bundle: {found.bundle}", highlight=False, soft_wrap=True)


def with_poses(recipe: Recipe, poses: int) -> Recipe:
    """The recipe with so many poses of each training scan; as it is for 0."""
    store = recipe.store.model_copy(update={"slices": poses or recipe.store.slices})
    return recipe.model_copy(update={"store": store})


def started_from(recipe: Recipe, weights: Path | None) -> Recipe:
    """The recipe with other weights to start from; None leaves it as it is."""
    if weights is None:
        return recipe
    network = recipe.network.model_copy(update={"start": str(weights.absolute())})
    return recipe.model_copy(update={"network": network})


if __name__ == "__main__":
    main()
