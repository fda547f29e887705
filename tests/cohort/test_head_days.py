"""What time and illness do to a head, and what scans of it go wrong: each is seen, named and labelled."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from inference.imaging.headers import read_header
from inference.imaging.options import LoadOptions
from inference.imaging.series import load_series
from inference.types import SeriesHeader
from training.cohort.dials.head_ct import UNSEEN, HeadCtDials
from training.cohort.dicom_ct import write_head_ct
from training.cohort.head.today import aged
from training.cohort.head_ct import head_ct
from training.cohort.illness import Illness, State
from training.cohort.implicit import rotation
from training.cohort.person import Person, person
from training.cohort.visit import Dials, Visit, visit


def test_age_widens_ventricles_takes_teeth_and_never_gives_them_back() -> None:
    lost = 0
    for number in range(1, 30):
        who = person(51, number)
        shapes = [aged(who, years) for years in (0.0, 5.0, 20.0)]
        standing = [{n for n, size in enumerate(shape.teeth) if size > 0} for shape in shapes]
        assert standing[2] <= standing[1] <= standing[0]
        lost += len(standing[0]) - len(standing[2])
        assert shapes[0].ventricles <= shapes[1].ventricles <= shapes[2].ventricles
        assert shapes[2].cheek_fullness <= shapes[0].cheek_fullness
        assert shapes[2].orbit_width == shapes[0].orbit_width
        assert all(shapes[2].teeth[n] == shapes[0].teeth[n] for n in standing[2])
    assert lost > 5


def scan(who: Person, dials: Dials, ill: dict[str, State] | None = None, **changes: object) -> Visit:
    when = visit(who, 0, dials)
    when = replace(when, illness=Illness(ill or {}))
    return replace(when, head_ct=replace(when.head_ct, **changes))  # type: ignore[arg-type]


def volumes(who: Person, dials: Dials, ill: dict[str, State]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The same scan without and with an illness."""
    well, _ = head_ct(who, scan(who, dials))
    sick, _ = head_ct(who, scan(who, dials, ill))
    return well.astype(float), sick.astype(float)


@pytest.mark.parametrize("side", ["L", "R"])
def test_a_haemorrhage_is_dense_and_on_its_side(still: Dials, side: str) -> None:
    kinds = set()
    for seed in range(6):
        well, sick = volumes(person(52, 1), still, {"haemorrhage": State(0.9, side, seed)})
        change = sick - well
        denser = (change > 22) & (sick < 95)
        assert denser.sum() * 3.1 * 3.1 * 4.0 > 2000  # cubic millimetres
        columns = np.nonzero(denser)[2] - denser.shape[2] / 2
        assert (np.median(columns) > 0) == (side == "L")
        kinds.add(bool(np.abs(columns).max() > 19))
    assert kinds, "some are under the dura, some within the brain"


@pytest.mark.parametrize("side", ["L", "R"])
def test_sinusitis_fills_the_sinus_of_its_side_from_below(still: Dials, side: str) -> None:
    well, sick = volumes(person(52, 2), still, {"sinusitis": State(0.6, side, 3)})
    filled = (well < -600) & (sick > -100)
    assert filled.sum() > 40
    columns = np.nonzero(filled)[2] - filled.shape[2] / 2
    assert (np.median(columns) > 0) == (side == "L")
    # The patient lies on the back: what is still air lies in front of what is fluid.
    air = (well < -600) & (sick < -600)
    side_of = (
        slice(None),
        slice(None),
        slice(filled.shape[2] // 2, None) if side == "L" else slice(filled.shape[2] // 2),
    )
    box = np.nonzero(filled[side_of])
    near = air[side_of][box[0].min() : box[0].max(), box[1].min() - 6 : box[1].max(), box[2].min() : box[2].max()]
    assert np.median(np.nonzero(near)[1]) + box[1].min() - 6 < np.median(box[1])


def rejected(folder: Path, who: Person, when: Visit, options: LoadOptions | None = None) -> tuple[int, list[str]]:
    headers = tuple(read_header(path) for path in write_head_ct(folder, who, when))
    series = SeriesHeader(headers[0].study_uid, headers[0].series_uid, headers)
    found = load_series(series, options) if options else load_series(series)
    return len(found.images), [item.reason for item in found.rejections]


def test_a_lost_slice_is_refused_by_name(tmp_path: Path, small: Dials) -> None:
    who = person(53, 1)
    when = scan(who, small, dropped=(0.5,), gantry=0.0)
    assert rejected(tmp_path, who, when) == (0, ["SLICE_INCREMENT_INCONSISTENT"])


def test_a_tilted_gantry_is_refused_by_name_and_straightened_on_demand(tmp_path: Path, small: Dials) -> None:
    who = person(53, 2)
    straight = scan(who, small, dropped=(), gantry=0.0, missing_below=-10.0)
    tilted = replace(straight, head_ct=replace(straight.head_ct, gantry=14.0))
    assert rejected(tmp_path / "a", who, tilted) == (0, ["GANTRY_TILT"])
    headers = tuple(read_header(path) for path in write_head_ct(tmp_path / "b", who, tilted))
    allowed = LoadOptions(allow=frozenset({"GANTRY_TILT"}))
    (loaded,) = load_series(SeriesHeader(headers[0].study_uid, headers[0].series_uid, headers), allowed).images
    assert loaded.affine is not None
    # The centre of all bone lies as in a straight scan; the table's travel goes along the patient, not the normal.
    volume, affine = head_ct(who, straight)
    centres = []
    for pixels, to in ((loaded.pixels, loaded.affine), (volume, affine)):
        bone = np.argwhere(np.asarray(pixels) > 700)
        centres.append((bone @ to[:3, :3].T + to[:3, 3]).mean(axis=0))
    shift = np.array(straight.head_ct.shift)
    expected = centres[1] - shift + rotation(14.0, 0.0, 0.0) @ shift
    assert centres[0] == pytest.approx(expected, abs=7.0)


def test_a_prone_patient_is_the_same_patient_in_space(small: Dials) -> None:
    who = person(53, 3)
    supine = scan(who, small, prone=False, rest="none", gantry=0.0, streaks=False, noise=0.1)
    volume, affine = head_ct(who, supine)
    turned, other = head_ct(who, replace(supine, head_ct=replace(supine.head_ct, prone=True)))
    assert np.allclose(turned[:, ::-1, ::-1], volume, atol=3)
    assert np.linalg.det(affine) == pytest.approx(np.linalg.det(other))
    corner = np.array([0, volume.shape[1] - 1, volume.shape[2] - 1, 1.0])
    assert (other @ np.array([0, 0, 0, 1.0])) == pytest.approx(affine @ corner)


def test_a_scan_from_the_brow_upwards_has_no_face(small: Dials) -> None:
    only = replace(small, head_ct=replace(small.head_ct, brow=1.0, gantry=0.0))
    who = person(53, 4)
    volume, _ = head_ct(who, visit(who, 0, only))
    whole, _ = head_ct(who, visit(who, 0, replace(small, head_ct=replace(small.head_ct, brow=0.0, short=0.0))))
    assert volume.shape[0] < 0.62 * whole.shape[0]


@pytest.mark.parametrize("name", ["tube", "strap", "bandage", "arch_bar", "plate"])
def test_hardware_is_seen(small: Dials, name: str) -> None:
    who = person(53, 5)
    off = dict.fromkeys(("tube", "strap", "bandage", "arch_bar", "plate", "streaks"), False)
    bare, _ = head_ct(who, scan(who, small, gantry=0.0, missing_below=-10.0, **off))
    worn, _ = head_ct(who, scan(who, small, gantry=0.0, missing_below=-10.0, **(off | {name: True})))
    assert np.sum(np.abs(worn.astype(int) - bare) > 150) > 12


def test_rests_differ_and_default_dials_hold_nothing_unseen() -> None:
    default = HeadCtDials()
    for name in ("iterative", "feet_first", "prone", "bandage", "arch_bar", "plate"):
        assert getattr(default, name) == 0.0
        assert getattr(UNSEEN, name) > 0.0
    rests = {visit(person(54, n), 0).head_ct.rest for n in range(60)}
    assert rests == {"cup", "wedge", "pillow", "none"}


@pytest.mark.dicom3tools
def test_dciodvfy_finds_no_error_in_unseen_scans(tmp_path: Path, small: Dials) -> None:
    hard = replace(small, head_ct=replace(UNSEEN, matrix=(64,), spacing=(5.0, 6.0), gantry=0.5))
    for number in range(4):
        who = person(55, number)
        path = write_head_ct(tmp_path / str(number), who, visit(who, 0, hard))[2]
        said = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
        assert not [line for line in said.stderr.splitlines() if line.startswith(("Error", "Warning"))]
