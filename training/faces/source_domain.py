"""The source domain: faces of very many persons, rendered from their skin's own shape without any scanner.

``python -m training.faces.source_domain --out FOLDER`` draws persons, renders depth images of them (further to the side
than any scan is seen), and trains the recipe's network on these. The weights that come out
(``FOLDER/network/<name>/weights.safetensors``) are what ``python -m training.faces.recognition --start`` begins with.

The skin is an implicit surface; sampled on a grid of 2 mm around the face, its signed distance is a volume like any
other to the renderer, a hundred times cheaper than a CT of the head. The paper on CT faces took 581,366 depth images of
450 people from depth cameras; these are phantoms, and drawn from other seeds than any that is trained or judged later.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from inference.imaging import grid as lps
from inference.imaging.depth import BEFORE_MM, BEHIND_MM, FACE_HEIGHT_MM, FACE_WIDTH_MM, Face
from inference.imaging.depth_image import Camera, Turn
from inference.imaging.pose import FRONTAL_AXES, Pose
from training.cohort.head.bones import vault
from training.cohort.head.frame import Head
from training.cohort.head.landmarks import landmarks
from training.cohort.head.skin import skin
from training.cohort.head.today import head_of
from training.cohort.person import ISSUER, person
from training.cohort.sampling import Grid
from training.cohort.visit import visit
from training.faces.depth_images import MODALITY
from training.faces.poses import source_turns
from training.faces.recognition import RECIPE, depth_data, depth_spec, train_network
from training.learning.catalogue import TEST, TRAIN, VALIDATION, Tell
from training.learning.export import Outcome
from training.learning.folder import Folder, is_first_process
from training.learning.recipe import Recipe, read_recipe
from training.learning.run import Hardware, Say
from training.learning.seeds import stream
from training.manifests.schema import Row
from training.manifests.splits import split_of

# No study and no other recipe draws persons from this seed.
SOURCE_SEED = 7710
_SPACING, _SLAB = 2.0, 24
# Around the box of the face, so that the grid's own edge is no skin.
_MARGIN_MM = 8.0
# Shapes are only evaluated near themselves: beyond that a distance says no more than "far".
_FAR = np.float32(9.0)
# Nobody is judged by this domain in the end: a tenth is enough to know when to stop.
_SHARES = {TRAIN: 0.9, VALIDATION: 0.1, TEST: 0.0}
_NOSE_TIP = 2


@dataclass(frozen=True, slots=True)
class DrawnFace:
    """A person's face on one day, as a :class:`~training.faces.depth_images.Scan`."""

    seed: int
    number: int
    visit: int
    row: Row
    turns: tuple[Turn, ...]

    @property
    def key(self) -> str:
        return json.dumps(["drawn face", self.seed, self.number, self.visit, _SPACING])

    def face(self, camera: Camera) -> Face:
        """The face in the head's own frame; there always is one."""
        del camera
        who = person(self.seed, self.number)
        when = visit(who, self.visit)
        return drawn_face(head_of(who, when, when.face_photo))


def drawn_faces(seed: int, persons: int, visits: int, views: int) -> list[DrawnFace]:
    """Faces of ``persons``: ``views`` poses of each visit in training, the frontal one of whoever is held out."""
    found = []
    for number in range(1, persons + 1):
        patient = person(seed, number).patient_id
        for when in range(visits):
            row = Row("", patient, f"visit {when}", ISSUER, series=f"face {when}", modality=MODALITY)
            split = split_of(row, _SHARES, seed)
            turns = source_turns(views, stream(seed, "poses", number, when)) if split == TRAIN else (Turn(),)
            found.append(DrawnFace(seed, number, when, replace(row, split=split), turns))
    return found


def drawn_face(head: Head) -> Face:
    """The face of a head, from its signed distance: 0 on the skin, positive inside. Millimetres of the head's frame."""
    tip = landmarks(head)[_NOSE_TIP]
    low = tip + np.array([-FACE_WIDTH_MM / 2, -BEFORE_MM, -FACE_HEIGHT_MM / 2]) - _MARGIN_MM
    high = tip + np.array([FACE_WIDTH_MM / 2, BEHIND_MM, FACE_HEIGHT_MM / 2]) + _MARGIN_MM
    x, y, z = (int(np.ceil(length / _SPACING)) + 1 for length in high - low)
    sampled = Grid((z, y, x), (_SPACING,) * 3, (low[2], low[1], low[0]), np.eye(3), np.zeros(3))
    inside = np.empty(sampled.shape, np.float32)
    for part, slab in sampled.slabs(_SLAB, head.shape.warp):
        np.negative(skin(slab, head, vault(slab, head)), out=inside[part])
    np.clip(inside, -_FAR, _FAR, out=inside)
    # The surface is closed where the grid ends: no camera sees a face from within.
    for axis in range(3):
        ends = np.moveaxis(inside, axis, 0)
        ends[[0, -1]] = -_FAR
    inverse = np.asarray(np.linalg.inv(sampled.affine()), np.float64)
    field = lps.FieldOfView(inverse, inside.shape, sampled.spacing)
    return Face(lps.Grid(inside, low, _SPACING), 0.0, Pose(tip, FRONTAL_AXES), field)


def train_source(
    recipe: Recipe,
    out: Path,
    *,
    persons: int,
    visits: int,
    views: int,
    seed: int = SOURCE_SEED,
    resume: bool = False,
    hardware: Hardware | None = None,
    tell: Tell,
    say: Say,
) -> Outcome | None:
    """Trains the recipe's network on ``persons`` drawn persons, ``views`` poses of each of ``visits`` visits.

    Raises
    ------
    TrainingError
        see :func:`training.learning.run.train`; what ``out`` holds can be gone on with.
    """
    chosen, folder = hardware or Hardware(), Folder(out)
    scans = drawn_faces(seed, persons, visits, views)
    if is_first_process():
        folder.claim(recipe, resume)
        folder.same_data(hashlib.sha256(repr([(scan.key, scan.turns) for scan in scans]).encode()).hexdigest())
    data = depth_data(recipe, scans, out, depth_spec(recipe), processes=chosen.processes, tell=tell)
    return train_network(recipe, data.manifest, out / "network", chosen, tell, say)


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains weights to start from."""
    from rich.console import Console

    from training.studies.stages import stages
    from training.studies.variants import shortened

    parser = argparse.ArgumentParser(prog="python -m training.faces.source_domain", description=main.__doc__)
    parser.add_argument("--recipe", type=Path, default=Path(RECIPE), help="a file, or a recipe that ships")
    parser.add_argument("--out", type=Path, required=True, help="folder of the training")
    parser.add_argument("--persons", type=int, default=2000)
    parser.add_argument("--visits", type=int, default=2, help="of each person, with another mien and weight")
    parser.add_argument("--views", type=int, default=40, help="poses of each visit")
    parser.add_argument("--seed", type=int, default=SOURCE_SEED, help="of the persons; no other use may share it")
    parser.add_argument("--steps", type=int, default=0, help="of the training; the recipe's without")
    parser.add_argument("--resume", action="store_true", help="go on in a folder that holds this training")
    parser.add_argument("--accelerator", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--workers", type=int, default=0, help="processes that load batches")
    parser.add_argument("--processes", type=int, default=1, help="processes that render")
    chosen = parser.parse_args(arguments)
    with stages() as tell:
        found = train_source(
            shortened(read_recipe(chosen.recipe), chosen.steps),
            chosen.out,
            persons=chosen.persons,
            visits=chosen.visits,
            views=chosen.views,
            seed=chosen.seed,
            resume=chosen.resume,
            hardware=Hardware(chosen.accelerator, workers=chosen.workers, processes=chosen.processes),
            tell=tell,
            say=lambda line: Console(stderr=True).print(line, markup=False, highlight=False),
        )
    if found is not None:
        weights = found.bundle / "weights.safetensors"
        Console().print(f"start from: {weights}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
