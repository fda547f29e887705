"""Depth images of phantom faces among clutter, each with the truth of which pixels are face, made once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from config.errors import StorageError
from inference.imaging.depth import DepthMap, Face, face_depth
from inference.imaging.grid import FieldOfView, Grid
from inference.imaging.pose import FRONTAL_AXES, Pose
from inference.types import FloatArray
from inference.whole_file import whole_file
from training.cohort import sampling
from training.cohort.head.bones import vault
from training.cohort.head.frame import Head
from training.cohort.head.landmarks import landmarks
from training.cohort.head.skin import skin
from training.cohort.head.today import head_of
from training.cohort.implicit import Field, Points
from training.cohort.nuisance import dials_of
from training.cohort.person import person
from training.cohort.visit import visit
from training.faces.clutter import clutter
from training.learning.catalogue import Tell
from training.learning.seeds import stream

# The box around the tip of the nose that is sampled: aside, before and behind, below and above; and its voxels (mm).
_ASIDE, _BEFORE, _BEHIND, _BELOW, _ABOVE = 112.0, 50.0, 125.0, 125.0, 130.0
_VOXEL = 3.0
# Depths of a scene and of its head alone that differ by less are of the head.
_SAME_MM = 0.75
# How the pose that is found differs from the truth: degrees, and millimetres, of which the tip lies behind by most.
_TURN_SD, _TIP_SD, _TIP_BEHIND = 5.0, 3.0, 14.0
_PITCH, _YAW, _ROLL = 20.0, 12.0, 25.0
_ROUGH_MM = 1.2
_CUT_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Scenes:
    """N scenes of one person.

    depth
        float16 (N, size, size) millimetres behind the tip of the nose, 0 where ``mask`` is False.
    mask, face
        bool (N, size, size): where something is seen; where that is face.
    """

    person: int
    depth: NDArray[np.float16]
    mask: NDArray[np.bool_]
    face: NDArray[np.bool_]


def is_face(head: Head, points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """bool (n,): which (n, 3) points of the skin, in the head's own frame, are face.

    Above the lower border of the jaw, however far it is opened; below the hair line; before the ears.
    """
    s = head.shape
    x, y, z = (points[:, n].astype(np.float32) for n in range(3))
    closed = head.hinge()(Points(x, y, z))
    border = np.interp(closed.y, [head.chin_y + 8.0, s.gonion_back], [s.chin_z - 8.0, s.gonion_height - 6.0])
    hair_line = s.brow_height + s.forehead_height + 6.0
    return np.asarray((closed.z > border) & (points[:, 2] < hair_line) & (points[:, 1] < -4.0))


class Stage:
    """A phantom's head, sampled once, before which any number of scenes are set."""

    def __init__(self, head: Head) -> None:
        self.head = head
        self.tip = landmarks(head)[2]
        low = self.tip - np.array([_ASIDE, _BEFORE, _BELOW])
        high = self.tip + np.array([_ASIDE, _BEHIND, _ABOVE])
        count = np.ceil((high - low) / _VOXEL).astype(int)[::-1]
        shape = (int(count[0]), int(count[1]), int(count[2]))
        origin = (float(low[2]), float(low[1]), float(low[0]))
        grid = sampling.Grid(shape, (_VOXEL,) * 3, origin, np.eye(3), np.zeros(3))
        ((_, self._slab),) = grid.slabs(shape[0], head.shape.warp)
        self._low, self._affine = low, grid.affine()
        self._skin = skin(self._slab, head, vault(self._slab, head))

    def scene(self, size: int, rng: np.random.Generator) -> tuple[DepthMap, NDArray[np.bool_]]:
        """What a camera sees of the head among clutter, and bool (size, size) where that is face."""
        rough = gaussian_filter(rng.standard_normal(self._skin.shape, dtype=np.float32), 1.5)
        bare = self._skin + rough * np.float32(rng.uniform(0.0, _ROUGH_MM) / max(float(rough.std()), 1e-6))
        full = bare.copy()
        shapes = clutter(self.head, rng)
        self._slab.unite(full, *shapes, blend=1.0)
        pose, field = self._camera(rng), self._field(rng)
        alone, found = (face_depth(self._seen(one, pose, field), pose, size, renderer="cpu") for one in (bare, full))
        same = found.mask & alone.mask & (np.abs(found.depth - alone.depth) < _SAME_MM)
        face = np.zeros_like(same)
        # Points of a map come in the order of its mask, in the camera's frame.
        points = found.points() @ pose.axes + pose.tip
        face[found.mask] = is_face(self.head, points)
        return found, face & same

    def _seen(self, distance: Field, pose: Pose, field: FieldOfView) -> Face:
        return Face(Grid(-distance, self._low, _VOXEL), 0.0, pose, field)

    def _camera(self, rng: np.random.Generator) -> Pose:
        error = np.clip(rng.normal(0.0, _TURN_SD, 3), -2.5 * _TURN_SD, 2.5 * _TURN_SD)
        tip = self.tip + rng.normal(0.0, _TIP_SD, 3) + np.array([0.0, rng.uniform(0.0, _TIP_BEHIND), 0.0])
        pose = Pose(tip, FRONTAL_AXES).turned(*(float(angle) for angle in error))
        limits = np.array([_PITCH, _YAW, _ROLL])
        return pose.turned(*(float(angle) for angle in rng.uniform(-limits, limits)))

    def _field(self, rng: np.random.Generator) -> FieldOfView:
        """All that was sampled, or less of it below or above: the ends of a scan."""
        affine, shape = self._affine.copy(), self._skin.shape
        if rng.random() < _CUT_SHARE:
            lost = int(rng.uniform(0.05, 0.35) * shape[0])
            if rng.random() < 0.7:
                affine[:3, 3] += lost * affine[:3, 0]
            shape = (shape[0] - lost, *shape[1:])
        return FieldOfView(np.asarray(np.linalg.inv(affine)), shape, (_VOXEL,) * 3)


def scenes_of(seed: int, number: int, count: int, size: int) -> Scenes:
    """``count`` scenes of a person, of ``size`` pixels."""
    who = person(seed, number)
    when = visit(who, 0, dials_of("default"))
    stage = Stage(head_of(who, when, when.head_ct))
    made = [stage.scene(size, stream(seed, "scene", number, n)) for n in range(count)]
    return Scenes(
        number,
        np.stack([found.depth for found, _ in made]).astype(np.float16),
        np.stack([found.mask for found, _ in made]),
        np.stack([face for _, face in made]),
    )


def scenes_in(folder: Path, seed: int, persons: Sequence[int], count: int, size: int, tell: Tell) -> list[Scenes]:
    """Scenes of persons, from ``folder`` where they are there, made and kept where they are not.

    Raises
    ------
    StorageError
        when they cannot be written; those that are there stay.
    """
    found = []
    for done, number in enumerate(persons, start=1):
        path = folder / f"{seed}-{number:05d}-{count}x{size}.npz"
        if path.is_file():
            with np.load(path) as kept:
                scenes = Scenes(number, kept["depth"], kept["mask"], kept["face"])
        else:
            scenes = scenes_of(seed, number, count, size)
            _keep(path, scenes)
        found.append(scenes)
        tell("scenes", done, len(persons))
    return found


def _keep(path: Path, scenes: Scenes) -> None:
    try:
        with whole_file(path) as file:
            np.savez_compressed(file, depth=scenes.depth, mask=scenes.mask, face=scenes.face)
    except OSError as error:
        raise StorageError(f"{path.parent} cannot be written ({error.strerror}); choose another folder") from None


def as_drawn(scenes: Scenes, place: int) -> tuple[FloatArray, NDArray[np.bool_], NDArray[np.bool_]]:
    """(depth, mask, face) of one scene."""
    return scenes.depth[place].astype(np.float32), scenes.mask[place], scenes.face[place]
