"""Bone views: two renderers that agree, and the person in the picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from training.cohort.bone_view import bone_view
from training.cohort.dials.bone_view import BoneViewDials
from training.cohort.dicom_bone_view import write_bone_view
from training.cohort.illness import no_illness
from training.cohort.person import person
from training.cohort.rendering import Look, Scene, by_shear_warp, through_vtk
from training.cohort.visit import Dials, visit

SMALL = BoneViewDials(voxel=(4.0, 4.0), size=(160,))
CALM = replace(
    SMALL,
    tilt_sd=0.0,
    camera_yaw_sd=0.0,
    camera_pitch_sd=0.0,
    shift_sd=0.0,
    extent=(400.0, 400.0),
    breath=(0.8, 0.8),
    above=(10.0, 10.0),
    below=(20.0, 20.0),
    arms_down=0.0,
    noise=(5.0, 5.0),
    threshold=(160.0, 160.0),
    softness=(150.0, 150.0),
    light_sd=0.0,
    shine=(0.1, 0.1),
    tint=(("white", 1.0),),
    depth_cue=(0.2, 0.2),
)
LOOK = Look(threshold=150.0, softness=150.0, tint=(1.0, 0.9, 0.7), lamp=(10.0, 12.0), shine=0.2, depth_cue=0.0)


def view(number: int, which: int, dials: BoneViewDials) -> NDArray[np.uint8]:
    who = person(3, number)
    return bone_view(who, visit(who, which, Dials(bone_view=dials, illness=no_illness())))


def scene(yaw: float = 0.0, pitch: float = 0.0) -> Scene:
    """A large ball in the middle, a small one to the patient's left and above, another in front of the large one."""
    z, y, x = np.mgrid[-30:31, -24:25, -30:31].astype(np.float32) * np.float32(2.0)
    volume = np.zeros(z.shape, np.float32)
    for cx, cy, cz, r in ((0.0, 6.0, 0.0, 22.0), (34.0, 0.0, 30.0, 10.0), (8.0, -30.0, -6.0, 7.0)):
        d = np.sqrt((x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2) - r
        volume += np.float32(600.0) * np.clip(np.float32(0.5) - d / 4, 0, 1)
    return Scene(volume, 2.0, yaw, pitch, (0.0, 0.0), 130.0, 128)


def test_the_patients_left_is_on_the_right_and_up_is_up() -> None:
    shown = by_shear_warp(scene(), LOOK).mean(axis=2) > 40
    rows, columns = np.nonzero(shown[:, 84:])
    assert rows.mean() < 50
    assert columns.mean() > 5
    assert not shown[60:, 90:].any()
    assert not by_shear_warp(scene(), LOOK)[:8].any()


def test_the_camera_goes_round_the_patient() -> None:
    # From the patient's left what is in front moves to the left of the picture.
    left, straight = (np.argwhere(by_shear_warp(scene(yaw=v), LOOK).mean(axis=2) > 40)[:, 1].mean() for v in (30, 0))
    assert left != pytest.approx(straight, abs=0.5)


@pytest.mark.egl
@pytest.mark.parametrize(("yaw", "pitch"), [(0.0, 0.0), (20.0, -8.0), (-15.0, 12.0), (180.0, 0.0)])
def test_both_renderers_show_the_same(yaw: float, pitch: float) -> None:
    one, other = (
        cv2.GaussianBlur(draw(scene(yaw, pitch), LOOK).mean(axis=2), (0, 0), 1.0)
        for draw in (by_shear_warp, through_vtk)
    )
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.97
    assert np.mean((one > 30) != (other > 30)) < 0.02


def test_bone_on_black_and_the_same_each_time(tmp_path: Path) -> None:
    who = person(3, 1)
    when = visit(who, 0, Dials(bone_view=SMALL))
    first, second = (write_bone_view(tmp_path / name, who, when)[0].read_bytes() for name in ("a", "b"))
    assert first == second
    shown = bone_view(who, when)
    assert shown.shape == (160, 160, 3)
    assert 0.06 < np.mean(shown.max(axis=2) > 30) < 0.6
    assert np.mean(shown.max(axis=2) < 5) > 0.3


def test_views_of_one_person_agree_when_nothing_moves() -> None:
    def detail(number: int, which: int) -> NDArray[np.float64]:
        grey = view(number, which, CALM).mean(axis=2).astype(np.float32)
        grey -= cv2.GaussianBlur(grey, (0, 0), 6.0)
        return np.asarray((grey - grey.mean()) / grey.std(), np.float64).ravel()

    views = [[detail(number, which) for which in (0, 1)] for number in (1, 2, 3)]
    same = [np.mean(a * b) for a, b in views]
    others = [np.mean(a[0] * b[1]) for i, a in enumerate(views) for j, b in enumerate(views) if i != j]
    assert min(same) > 0.8
    assert max(others) < min(same) - 0.2
