"""A volume-rendered view of the bones of a supine chest CT, as a workstation shows them."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from training.cohort.chance import stream
from training.cohort.dials.bone_view import BoneViewVisit
from training.cohort.implicit import Field, rotation
from training.cohort.person import Person
from training.cohort.rendering import Look, Scene, picture
from training.cohort.sampling import Grid
from training.cohort.thorax import devices
from training.cohort.thorax.frame import Chest
from training.cohort.thorax.patient import chest_of
from training.cohort.thorax.skeleton import skeleton
from training.cohort.thorax.volume import lay_bones
from training.cohort.visit import Visit

# What is left of soft parts when bones are shown: far too faint to be seen.
_SOFT = 30.0
_WEIGHT = 2.5  # mm of fat for each standard deviation of weight
_TINTS = {
    "ivory": (0.98, 0.90, 0.74),
    "white": (0.97, 0.96, 0.93),
    "amber": (0.99, 0.82, 0.58),
    "blue": (0.66, 0.78, 0.99),
    "red": (0.95, 0.55, 0.45),
}


def bone_view(who: Person, when: Visit) -> NDArray[np.uint8]:
    """The picture, uint8 (rows, columns, 3) RGB on black; the patient's left is on the right."""
    view = when.bone_view
    chest = chest_of(
        who,
        when,
        breath=view.breath,
        weight=_WEIGHT * when.weight,
        arms="down" if view.arms_down else "up",
        supine=True,
    )
    grid = _grid(chest, view)
    rng = stream(who.seed, "visit", who.number, when.number, "bone view noise")
    volume = np.full(grid.shape, _SOFT, dtype=np.float32)
    lay_bones(volume, grid, [*skeleton(chest), *devices.implants(chest)], 1.5 * view.voxel)
    _blur(volume, view, rng)
    look = Look(
        threshold=view.threshold,
        softness=view.softness,
        tint=_TINTS[view.tint],
        lamp=view.lamp,
        shine=view.shine,
        depth_cue=view.depth_cue,
    )
    yaw, pitch = view.camera
    scene = Scene(volume, view.voxel, yaw + (180.0 if view.behind else 0.0), pitch, view.shift, view.extent, view.size)
    return picture(scene, look)


def _grid(chest: Chest, view: BoneViewVisit) -> Grid:
    turn = rotation(*view.tilt)
    s, voxel = chest.shape, view.voxel
    middle = turn @ np.array([0.0, float(chest.centre_y(-40.0)) + 8.0, 0.0])
    shift = np.array([0.0, -middle[1], 0.0])
    wide, deep = 0.5 * s.cage_width + 66.0, 0.5 * s.cage_depth + 44.0
    top = s.apex_height + 12.0 + view.above
    bottom = s.dome_right - s.dome_difference - 72.0 - view.below
    shape = tuple(int(np.ceil(length / voxel)) for length in (top - bottom, 2 * deep, 2 * wide))
    return Grid((shape[0], shape[1], shape[2]), (voxel, voxel, voxel), (bottom, -deep, -wide), turn, shift)


def _blur(volume: Field, view: BoneViewVisit, rng: np.random.Generator) -> None:
    """Noise, and the smooth kernel with which bone is reconstructed for such views, in place."""
    for image in volume:
        image += rng.standard_normal(image.shape, dtype=np.float32) * np.float32(2.6 * view.noise)
        cv2.GaussianBlur(image, (0, 0), 0.75, dst=image)
    before = volume.copy()
    volume[1:-1] *= np.float32(0.6)
    volume[1:-1] += np.float32(0.2) * before[:-2]
    volume[1:-1] += np.float32(0.2) * before[2:]
