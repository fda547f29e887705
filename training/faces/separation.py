"""Trains the network that tells face from what is around it in depth images, on phantoms, and ends in a bundle.

``python -m training.faces.separation --persons 200 --scenes 16 --steps 3000 --out FOLDER`` sets the scenes, trains, and
writes ``FOLDER/face-mask``. The same command goes on where it was stopped. A copy of the bundle in
``inference/imaging/bundles`` is what :func:`inference.imaging.face_mask.shipped_separator` gives.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from config.errors import CommandError
from inference import networks
from inference.imaging.depth import EXTENT_MM, DepthMap
from inference.imaging.face_mask import BUNDLE, NETWORK, FaceSeparator, planes_of
from inference.imaging.pose import FRONTAL_AXES, Pose
from inference.types import FloatArray
from training.faces.bundling import About, write_bundle
from training.faces.fitting import Item, Length, Loss, Machine, claim, fit
from training.faces.scenes import Scenes, as_drawn, scenes_in
from training.learning.catalogue import Tell
from training.learning.seeds import stream

# No other use of phantoms draws persons from this seed.
SEPARATION_SEED = 7714
HELD_OUT = 0.1
_HOLES, _HOLE_SHARE = 4, 0.4
_NOISE_MM, _SHIFT_MM = 1.5, 6.0


@dataclass(frozen=True)
class Task:
    """What is trained: images of ``size`` pixels, ``scenes`` of every person, and the network's settings."""

    persons: int
    scenes: int
    size: int = 96
    channels: int = 12
    depth: int = 4
    seed: int = SEPARATION_SEED

    def __post_init__(self) -> None:
        if self.persons < 2 or self.scenes < 1:
            raise CommandError("persons are 2 or more, scenes 1 or more: some persons are held out")
        if self.size % 2**self.depth:
            raise CommandError(
                f"size is a multiple of {2**self.depth} pixels, which the network halves {self.depth} times"
            )

    @property
    def network(self) -> dict[str, int]:
        return {"channels": self.channels, "depth": self.depth}


class Draws:
    """Item ``n``: ``x`` float32 (2, size, size) and ``face`` float32 (1, size, size), 1 where that is face."""

    def __init__(self, scenes: Sequence[Scenes], task: Task) -> None:
        self._scenes, self._task = scenes, task

    def __call__(self, number: int) -> Item:
        rng = stream(self._task.seed, "separation", number)
        own = self._scenes[int(rng.integers(len(self._scenes)))]
        depth, mask, face = as_drawn(own, int(rng.integers(len(own.mask))))
        if rng.random() < 0.5:
            depth, mask, face = depth[:, ::-1], mask[:, ::-1], face[:, ::-1]
        mask = mask & ~_holes(len(mask), rng)
        depth = depth + np.float32(rng.normal(0.0, _SHIFT_MM))
        depth = depth + rng.standard_normal(depth.shape, dtype=np.float32) * np.float32(rng.uniform(0.0, _NOISE_MM))
        return {
            "x": torch.from_numpy(planes_of(depth, mask, self._task.size)),
            "face": torch.from_numpy((face & mask).astype(np.float32))[None],
        }


def _holes(size: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """What streaks and masks in front of the camera leave out."""
    found = np.zeros((size, size), bool)
    if rng.random() < _HOLE_SHARE:
        for _ in range(int(rng.integers(1, _HOLES + 1))):
            row, column = (int(value) for value in rng.integers(0, size, 2))
            high, wide = (int(value) for value in rng.integers(2, max(3, size // 8), 2))
            found[row : row + high, column : column + wide] = True
    return found


def mask_loss() -> Loss:
    """Cross-entropy and the Dice loss (F. Milletari et al., "V-Net", 3DV 2016), as MONAI has them."""
    from monai.losses.dice import DiceCELoss

    measure = DiceCELoss(sigmoid=True)

    def loss(network: nn.Module, batch: Item) -> Tensor:
        return cast(Tensor, measure(network(batch["x"]), batch["face"]))

    return loss


def overlaps(separator: FaceSeparator | None, scenes: Sequence[Scenes]) -> NDArray[np.float64]:
    """(N,) intersection over union of what is kept and what is face; without a separator all is kept: the floor."""
    found = []
    for own in scenes:
        for place in range(len(own.mask)):
            depth, mask, face = as_drawn(own, place)
            kept = mask if separator is None else separator(_map(depth, mask))
            found.append((kept & face).sum() / max(1, (kept | face).sum()))
    return np.array(found)


def _map(depth: FloatArray, mask: NDArray[np.bool_]) -> DepthMap:
    return DepthMap(depth, mask, EXTENT_MM / len(mask), Pose(np.zeros(3), FRONTAL_AXES), "cpu")


def train(task: Task, length: Length, out: Path, tell: Tell, machine: Machine) -> Path:
    """Sets the scenes, trains and exports; goes on with what is there. Returns the bundle's folder.

    Raises
    ------
    TrainingError, StorageError
        see :func:`training.faces.fitting.claim` and :func:`~training.faces.fitting.fit`.
    """
    claim(out, {"task": asdict(task), "length": asdict(length)})
    everyone = range(1, task.persons + 1)
    scenes = scenes_in(out / "scenes", task.seed, everyone, task.scenes, task.size, tell)
    first = task.persons - max(1, round(HELD_OUT * task.persons))
    learnt, held_out = scenes[:first], scenes[first:]
    torch.manual_seed(length.seed)
    network = networks.build(NETWORK, task.network)
    fit(network, mask_loss(), Draws(learnt, task), out, length, tell, machine)
    about = About(
        name=BUNDLE,
        version="1.0",
        description="What of a depth image of a head is face: not neck, hands, tubes, straps, sheets, rests or table",
        trained_on=f"Digital phantoms of training.cohort only: {len(learnt)} persons, {task.scenes} scenes each, seed "
        f"{task.seed}. Never shown a patient.",
        recipe=f"python -m training.faces.separation --persons {task.persons} --scenes {task.scenes} "
        f"--steps {length.steps}",
        intended_use="Before the recognition of faces in CT and MR. For research.",
    )
    return write_bundle(
        out, about, network, (NETWORK, task.network), 1, {"size": task.size},
        {"held_out": _figures(FaceSeparator(network, task.size), held_out)},
        {"seed": task.seed, "steps": length.steps, "batch": length.batch},
    )  # fmt: skip


def _figures(separator: FaceSeparator, scenes: Sequence[Scenes]) -> dict[str, Any]:
    found, floor = overlaps(separator, scenes), overlaps(None, scenes)
    return {
        "persons": len(scenes),
        "scenes": len(found),
        "mean_overlap": round(float(found.mean()), 4),
        "mean_overlap_without": round(float(floor.mean()), 4),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains ``face-mask``; the same command goes on where it was stopped."""
    from rich.console import Console

    from training.studies.stages import stages

    parser = argparse.ArgumentParser(prog="python -m training.faces.separation", description=main.__doc__)
    parser.add_argument("--persons", type=int, default=200)
    parser.add_argument("--scenes", type=int, default=16, help="of each person")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--out", type=Path, required=True, help="folder of the training")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=Task.size, help="edge of an image in pixels")
    parser.add_argument("--channels", type=int, default=Task.channels)
    parser.add_argument("--depth", type=int, default=Task.depth, help="how often the network halves")
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--checkpoint", type=int, default=100, help="steps between two checkpoints")
    parser.add_argument("--seed", type=int, default=SEPARATION_SEED, help="of the persons; no other use may share it")
    parser.add_argument("--accelerator", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--workers", type=int, default=0, help="processes that make what the network sees")
    chosen = parser.parse_args(arguments)
    task = Task(chosen.persons, chosen.scenes, chosen.size, chosen.channels, chosen.depth, chosen.seed)
    length = Length(chosen.steps, chosen.batch, chosen.learning_rate, chosen.checkpoint, chosen.seed)
    with stages() as tell:
        bundle = train(task, length, chosen.out, tell, Machine(chosen.accelerator, chosen.workers))
    Console().print(str(bundle), markup=False, highlight=False)


if __name__ == "__main__":
    main()
