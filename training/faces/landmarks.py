"""Trains the network that finds the landmarks of a face, on phantom heads in CT and MR, and ends in a bundle.

``python -m training.faces.landmarks --persons 300 --steps 4000 --out FOLDER`` makes the phantoms, trains, and writes
``FOLDER/face-landmarks``. The same command goes on where it was stopped. A copy of the bundle in
``inference/imaging/bundles`` is what :func:`inference.imaging.depth.find_face` then starts from.

Every step sees heads turned to anywhere (half of them little), larger and smaller, cut by planes, on tables, with
brightness remapped at random, so that what is learnt is the shape of a head and not how one machine shows it.
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

from inference import networks
from inference.imaging.head_frame import BUNDLE, LANDMARKS, NETWORK, LandmarkFinder, Window
from inference.networks.landmarks import STRIDE, gaussian_maps
from inference.types import FloatArray
from training.faces.bundling import About, write_bundle
from training.faces.fitting import Item, Length, Machine, claim, fit
from training.faces.scans import Plan, Scan, scans_in, split
from training.learning.catalogue import Tell
from training.learning.seeds import stream

# No other use of phantoms draws persons from this seed.
LANDMARK_SEED = 7712
HELD_OUT = 0.1
# Deviation of the Gaussian of a heat map, in its voxels.
SIGMA = 1.0
# A voxel at a landmark weighs this much more than one of the background, of which there are thousands.
_FOREGROUND = 40.0
# How far heads are turned in what share of draws (degrees; all others to anywhere), and how much they are scaled.
_LITTLE, _LITTLE_SHARE, _SCALE = 12.0, 0.5, (0.85, 1.18)
_ASIDE = 45.0
_CUT_SHARE, _TABLE_SHARE, _REMAP_SHARE, _BLANK_SHARE = 0.25, 0.3, 0.7, 0.1


@dataclass(frozen=True)
class Task:
    """What is trained: ``edge`` voxels of ``spacing`` millimetres, and the network's settings."""

    persons: int
    edge: int = 48
    spacing: float = 4.5
    channels: int = 24
    depth: int = 3
    seed: int = LANDMARK_SEED

    @property
    def network(self) -> dict[str, int]:
        return {"landmarks": len(LANDMARKS), "channels": self.channels, "depth": self.depth}


class Draws:
    """Item ``n``: ``x`` float32 (2, edge, edge, edge), ``places`` (5, 3) voxels (z, y, x), ``present`` bool (5,)."""

    def __init__(self, scans: Sequence[Scan], task: Task) -> None:
        self._scans, self._task = scans, task

    def __call__(self, number: int) -> Item:
        rng = stream(self._task.seed, "landmarks", number)
        scan = self._scans[int(rng.integers(len(self._scans)))]
        window = self._window(scan, rng)
        shown, places = window.of(scan.form), window.voxels_of(scan.points)
        present = scan.present.copy()
        if rng.random() < _CUT_SHARE:
            present &= _cut(shown, places, _direction(window, scan.axes, rng), rng)
        if rng.random() < _TABLE_SHARE:
            _lay_table(shown, _direction(window, scan.axes, rng), rng)
        _remap(shown, rng)
        present &= ((places >= 0) & (places <= self._task.edge - 1)).all(axis=1)
        return {
            "x": torch.from_numpy(shown),
            "places": torch.from_numpy(places.astype(np.float32)),
            "present": torch.from_numpy(present),
        }

    def _window(self, scan: Scan, rng: np.random.Generator) -> Window:
        from scipy.spatial.transform import Rotation

        low, high = scan.form.bounds
        middle = (low + high) / 2
        if scan.present.any() and rng.random() < 0.5:
            # In a long scan a window is anywhere along it; in half of the draws the face is in it.
            middle = scan.points[scan.present].mean(axis=0) - 40.0 * scan.axes[2]
        if rng.random() < _LITTLE_SHARE:
            turn = Rotation.from_rotvec(rng.normal(0.0, np.radians(_LITTLE), 3)).as_matrix()
        else:
            turn = Rotation.random(rng=rng).as_matrix()
        scale = float(np.exp(rng.uniform(*np.log(_SCALE))))
        task = self._task
        return Window(middle + rng.uniform(-_ASIDE, _ASIDE, 3), task.edge, task.spacing / scale, turn)


def _direction(window: Window, axes: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """A unit vector (z, y, x) of the window: mostly the head's up, down or back, else any."""
    ways = (axes[1], -axes[1], -axes[2], rng.standard_normal(3))
    way = ways[int(rng.integers(len(ways)))] + rng.normal(0.0, 0.2, 3)
    found = (window.axes @ way)[::-1]
    return np.asarray(found / np.linalg.norm(found))


def _heights(edge: int, way: NDArray[np.float64]) -> FloatArray:
    """float32 (edge, edge, edge): how far each voxel lies along a direction (z, y, x)."""
    lines = [np.arange(edge, dtype=np.float32) * np.float32(part) for part in way]
    return np.asarray(lines[0][:, None, None] + lines[1][None, :, None] + lines[2][None, None, :], np.float32)


def _cut(
    shown: FloatArray, places: NDArray[np.float64], way: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Takes away what lies beyond a plane, as the end of a field of view does; which landmarks are left, bool (5,)."""
    heights = _heights(shown.shape[1], way)
    inside = heights[shown[0] > 0.5]
    if not len(inside):
        return np.ones(len(places), bool)
    limit = np.float32(np.quantile(inside, rng.uniform(0.35, 0.98)))
    shown[:, heights > limit] = 0.0
    return np.asarray(places @ way <= limit)


def _lay_table(shown: FloatArray, way: NDArray[np.float64], rng: np.random.Generator) -> None:
    """A slab of something that touches the body on one side: a table, a head rest, a coil."""
    edge = shown.shape[1]
    heights = _heights(edge, way)
    inside = heights[shown[0] > 0.5]
    if not len(inside):
        return
    start = float(np.quantile(inside, rng.uniform(0.985, 1.0)))
    across = np.cross(way, rng.standard_normal(3))
    side = _heights(edge, across / np.linalg.norm(across))
    slab = (heights >= start) & (heights <= start + rng.uniform(1.0, 5.0))
    slab &= np.abs(side - side.mean()) < rng.uniform(0.1, 0.6) * edge
    slab &= shown[0] < 0.5
    shown[0][slab] = rng.uniform(0.6, 1.0)
    shown[1][slab] = rng.uniform(0.0, 1.0)


def _remap(shown: FloatArray, rng: np.random.Generator) -> None:
    """Brightness by a curve that need not rise: no tissue has one value in CT and MR, nor in two coils."""
    bright, body = shown[1], shown[0] > 0.05
    if rng.random() < _BLANK_SHARE:
        bright[:] = 0.0
    elif rng.random() < _REMAP_SHARE:
        knots = np.sort(rng.uniform(0.0, 1.0, 3))
        values = np.concatenate([[0.0], np.clip(knots + rng.normal(0.0, 0.35, 3), 0.0, 1.0), [rng.uniform(0.3, 1.0)]])
        bright[:] = np.interp(bright, np.concatenate([[0.0], knots, [1.0]]), values)
    noise = rng.standard_normal(bright.shape, dtype=np.float32) * np.float32(rng.uniform(0.0, 0.08))
    bright[body] = np.clip(bright + noise, 0.0, 1.0)[body]


def heat_map_loss(network: nn.Module, batch: Item) -> Tensor:
    """Mean squared error of heat maps, in which the surroundings of landmarks weigh more than the background."""
    maps = cast(Tensor, network(batch["x"]))
    shape = cast("tuple[int, int, int]", tuple(maps.shape[2:]))
    target = gaussian_maps(batch["places"], batch["present"], shape, SIGMA)
    weight = 1.0 + _FOREGROUND * target
    return (weight * (maps - target) ** 2).sum() / weight.sum()


def errors_of(finder: LandmarkFinder, scans: Sequence[Scan]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distances (n, 5) in millimetres, NaN for landmarks that a scan does not hold, and confidences (n, 5)."""
    distances, confidences = [], []
    for scan in scans:
        found = finder.find_in(scan.form)
        distance = np.linalg.norm(found.points - scan.points, axis=1)
        distances.append(np.where(scan.present, distance, np.nan))
        confidences.append(found.confidence)
    return np.array(distances), np.array(confidences)


def train(task: Task, length: Length, out: Path, tell: Tell, machine: Machine) -> Path:
    """Makes phantoms, trains and exports; goes on with what is there. Returns the bundle's folder.

    Raises
    ------
    TrainingError, StorageError
        see :func:`training.faces.fitting.claim` and :func:`~training.faces.fitting.fit`.
    """
    claim(out, {"task": asdict(task), "length": asdict(length)})
    scans = scans_in(out / "phantoms", Plan(task.persons, task.seed), tell)
    learnt, held_out = split(scans, HELD_OUT)
    torch.manual_seed(length.seed)
    network = networks.build(NETWORK, task.network)
    fit(network, heat_map_loss, Draws(learnt, task), out, length, tell, machine)
    finder = LandmarkFinder(network, task.edge, task.spacing)
    faces = [scan for scan in held_out if scan.present.all()]
    about = About(
        name=BUNDLE,
        version="1.0",
        description=f"{', '.join(LANDMARKS)} in head CT and T1-weighted head MR, at any turn",
        trained_on=f"Digital phantoms of training.cohort only: {len(learnt)} scans of {task.persons} persons, seed "
        f"{task.seed}. Never shown a patient.",
        recipe=f"python -m training.faces.landmarks --persons {task.persons} --steps {length.steps}",
        intended_use="A starting pose for depth images of faces; no measurement of a patient. For research.",
    )
    return write_bundle(
        out, about, network, (NETWORK, task.network), len(LANDMARKS),
        {"edge": task.edge, "spacing": task.spacing}, {"held_out": _figures(finder, faces)},
        {"seed": task.seed, "steps": length.steps, "batch": length.batch, "sigma_mm": SIGMA * STRIDE * task.spacing},
    )  # fmt: skip


def _figures(finder: LandmarkFinder, scans: Sequence[Scan]) -> dict[str, Any]:
    """Errors on persons who were held out, as they lay: a first look; the study is training.studies.landmarks."""
    if not scans:
        return {"scans": 0}
    distances, confidences = errors_of(finder, scans)
    found = {name: round(float(np.nanmedian(distances[:, n])), 2) for n, name in enumerate(LANDMARKS)}
    return {"scans": len(scans), "median_error_mm": found, "mean_confidence": round(float(confidences.mean()), 3)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains ``face-landmarks``; the same command goes on where it was stopped."""
    from rich.console import Console

    from training.studies.stages import stages

    parser = argparse.ArgumentParser(prog="python -m training.faces.landmarks", description=main.__doc__)
    parser.add_argument("--persons", type=int, default=300)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--out", type=Path, required=True, help="folder of the training")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--edge", type=int, default=Task.edge, help="voxels of a side of what the network sees")
    parser.add_argument("--spacing", type=float, default=Task.spacing, help="millimetres of a voxel")
    parser.add_argument("--channels", type=int, default=Task.channels)
    parser.add_argument("--depth", type=int, default=Task.depth, help="how often the hourglass halves")
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--checkpoint", type=int, default=100, help="steps between two checkpoints")
    parser.add_argument("--seed", type=int, default=LANDMARK_SEED, help="of the persons; no other use may share it")
    parser.add_argument("--accelerator", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--workers", type=int, default=0, help="processes that make what the network sees")
    chosen = parser.parse_args(arguments)
    task = Task(chosen.persons, chosen.edge, chosen.spacing, chosen.channels, chosen.depth, chosen.seed)
    length = Length(chosen.steps, chosen.batch, chosen.learning_rate, chosen.checkpoint, chosen.seed)
    with stages() as tell:
        bundle = train(task, length, chosen.out, tell, Machine(chosen.accelerator, chosen.workers))
    Console().print(str(bundle), markup=False, highlight=False)


if __name__ == "__main__":
    main()
