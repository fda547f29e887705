"""Bone views of chest CT: the region is that of the person's vertebrae, and bone is all that is seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from config.errors import ImagingError
from inference.imaging.bone_render import Frame, bone_look, render_by_vtk, render_on_cpu
from inference.imaging.bone_roi import ChestRoi, chest_window, find_chest_roi
from inference.imaging.bone_view import BoneView, bone_view, bones_of
from inference.imaging.trunk import find_trunk
from inference.types import LoadedSeries
from tests.boneview.chests import SMALL, cut, loaded
from tests.boneview.chests import chest as phantom
from tests.imaging.heads import head, stored_differently

HALF_PITCH = 11.0
HARD = {
    "arms down, lung kernel, noise": replace(SMALL, arms_down=1.0, sharp=1.0, noise=(28.0, 28.0)),
    "arterial contrast, leads, line": replace(SMALL, contrast=(("arterial", 1.0),), leads=1.0, line=1.0),
    "tilted, begins below the apices": replace(SMALL, tilt_sd=4.0, above=(-4.0, -4.0)),
}


def roi_of(volume: LoadedSeries) -> ChestRoi:
    return find_chest_roi(find_trunk(volume))


@pytest.mark.parametrize("number", [1, 2])
def test_the_region_is_that_of_the_persons_own_vertebrae(number: int) -> None:
    known = phantom(number)
    found = roi_of(known.volume)
    heights = known.vertebrae[:, 2]
    assert np.abs(found.vertebrae - heights).max() < HALF_PITCH, "no rib was left out or counted twice"
    assert np.abs(found.vertebrae - heights).mean() < 5.0
    assert found.top > heights[0] + 4
    assert found.bottom < heights[-1] - 4
    middle = float(np.median(known.vertebrae[:, 0]))
    assert 100 < middle - found.right < 175
    assert 100 < found.left - middle < 175


@pytest.mark.parametrize("name", HARD)
def test_ribs_are_counted_under_difficult_dials(name: str) -> None:
    known = phantom(2, HARD[name])
    apart = np.abs(roi_of(known.volume).vertebrae - known.vertebrae[:, 2])
    assert np.median(apart) < 8.0
    assert apart[-1] < HALF_PITCH * 1.3, "the last rib is the twelfth"


def grey(view: BoneView) -> NDArray[np.float64]:
    found = view.pixels.mean(axis=2)
    return np.asarray((found - found.mean()) / found.std())


def test_however_the_slices_were_stored_the_view_is_the_same() -> None:
    volume = phantom().volume
    first = bone_view(volume, 128, "cpu")
    for order, flips in (((0, 1, 2), (True, True, False)), ((2, 0, 1), (False, True, True))):
        other = bone_view(stored_differently(volume, order, flips), 128, "cpu")
        assert np.mean(grey(first) * grey(other)) > 0.98


def test_a_view_is_bone_on_black_with_the_patients_left_on_the_right() -> None:
    view = bone_view(phantom().volume, 192, "cpu")
    assert view.pixels.shape == (192, 192, 3)
    assert view.pixels.dtype == np.uint8
    lit = view.pixels.max(axis=2) > 30
    assert 0.15 < lit.mean() < 0.75
    assert lit[20:-40, 90:102].mean() > 0.9, "spine and sternum are in the middle"
    marked = phantom().volume
    pixels = marked.pixels.copy()
    z, x = len(pixels) // 2, round(0.7 * pixels.shape[2])
    front = int((pixels[z, :, x] > -300).argmax())
    pixels[z - 2 : z + 3, front : front + 3, x - 2 : x + 3] = 2000.0
    changed = bone_view(replace(marked, pixels=pixels), 192, "cpu")
    where = np.argwhere(np.abs(changed.pixels.astype(int) - view.pixels).max(axis=2) > 40)
    assert len(where)
    assert where[:, 1].mean() > 110


def test_table_arms_and_what_lies_outside_the_body_are_not_shown() -> None:
    known = phantom(2, HARD["arms down, lung kernel, noise"])
    trunk = find_trunk(known.volume)
    roi = find_chest_roi(trunk)
    bones = bones_of(trunk, roi)
    pixels = known.volume.pixels.copy()
    pixels[:, -6:, 10:-10] = 1500.0  # a table of steel
    pixels[20:24, 3:9, 50:60] = 3000.0  # a connector in the air above the patient
    steel = bone_view(replace(known.volume, pixels=pixels), 128, "cpu")
    plain = bone_view(known.volume, 128, "cpu")
    assert np.mean(grey(steel) * grey(plain)) > 0.97
    columns = bones.origin[0] + bones.spacing * np.arange(bones.values.shape[2])
    assert columns[0] > roi.right - 10
    assert columns[-1] < roi.left + 10


def test_contrast_in_heart_and_vessels_is_no_bone() -> None:
    views = {}
    for phase, dials in (("none", SMALL), ("arterial", HARD["arterial contrast, leads, line"])):
        trunk = find_trunk(phantom(2, dials).volume)
        roi = find_chest_roi(trunk)
        views[phase] = (bones_of(trunk, roi), trunk)
    bright = {phase: float((bones.values > 180).sum()) for phase, (bones, _) in views.items()}
    raw = {}
    for phase, (bones, trunk) in views.items():
        first = round(float(bones.origin[2] - trunk.grid.origin[2]) / trunk.grid.spacing)
        raw[phase] = float((trunk.grid.values[max(first, 0) :][: len(bones.values)] > 180).sum())
    assert raw["arterial"] > 1.3 * raw["none"], "the contrast is there"
    assert bright["arterial"] - bright["none"] < 0.5 * (raw["arterial"] - raw["none"]), "and most of it goes"


@pytest.mark.egl
def test_both_renderers_show_the_same() -> None:
    trunk = find_trunk(phantom().volume)
    roi = find_chest_roi(trunk)
    (x, z), side = chest_window(roi)
    bones, frame = bones_of(trunk, roi), Frame(float(x), float(z), side, 160)
    cpu, vtk = (render(bones, frame, bone_look()).mean(axis=2) for render in (render_on_cpu, render_by_vtk))
    assert np.corrcoef(cpu.ravel(), vtk.ravel())[0, 1] > 0.94
    assert np.mean((cpu > 40) != (vtk > 40)) < 0.06


def refused(volume: LoadedSeries) -> str:
    with pytest.raises(ImagingError) as caught:
        bone_view(volume, 64, "cpu")
    return caught.value.reason


def test_what_shows_too_little_of_a_chest_is_refused_by_name() -> None:
    volume = phantom().volume
    assert refused(cut(volume, len(volume.pixels) * 11 // 20, len(volume.pixels))) in ("CHEST_CUT", "NO_CHEST")
    assert refused(cut(volume, 0, len(volume.pixels) // 5)) in ("CHEST_CUT", "NO_CHEST")
    assert refused(head()) in ("NO_CHEST", "CHEST_CUT")
    assert refused(replace(volume, modality="MR")) == "NO_CHEST"
    assert refused(replace(volume, kind="photograph")) in ("NO_GEOMETRY", "NO_CHEST")
    assert refused(loaded(np.full((40, 40, 40), -1000.0, np.float32), np.diag([5.0, 5, 5, 1])[[2, 1, 0, 3]])) in (
        "NO_SURFACE",
        "NO_CHEST",
        "NOT_HOUNSFIELD",
    )


def test_a_chest_upside_down_is_no_chest() -> None:
    volume = phantom().volume
    turned = replace(volume, pixels=volume.pixels[::-1, ::-1].copy())
    assert refused(turned) in ("NO_CHEST", "CHEST_CUT")


def test_a_scan_that_ends_within_the_last_vertebrae_has_black_below() -> None:
    known = phantom()
    assert known.volume.affine is not None
    low = int((known.vertebrae[10, 2] - known.volume.affine[2, 3]) / known.volume.affine[2, 0])
    view = bone_view(cut(known.volume, low, len(known.volume.pixels)), 128, "cpu")
    lit = (view.pixels.max(axis=2) > 30).any(axis=1)
    assert not lit[-4:].any()
    assert lit[:100].all()


def test_the_transfer_function_rises_with_density() -> None:
    look = bone_look()
    for table in (look.opacity, look.colour):
        assert (np.diff(table[:, 0]) > 0).all()
        assert ((table[:, 1:] >= 0) & (table[:, 1:] <= 1)).all()
    assert (np.diff(look.opacity[:, 1]) >= 0).all()
    assert look.opacity[0, 1] == 0.0, "what is softer than bone is not seen at all"


@pytest.mark.data
def test_a_real_chest_has_its_ribs_counted(data_folder) -> None:  # type: ignore[no-untyped-def]
    from tests.imaging.objects import load

    (volume,) = load(*sorted((data_folder / "dicom" / "ct_chest").iterdir())).images
    found = roi_of(volume)
    # Where its ribs leave the spine, as read off the slices by eye; the scan ends at the eleventh.
    ribs = np.array([-428, -442, -460, -480, -504, -531, -558, -586, -613, -649, -677])
    assert np.abs(found.vertebrae[:11] - ribs).max() < 8.0
    assert 230 < found.left - found.right < 290
