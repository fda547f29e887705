"""Chest CT: Hounsfield units, geometry, the person in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from training.cohort.chest_ct import chest_ct
from training.cohort.dials.chest_ct import ChestCtDials
from training.cohort.dicom_chest_ct import write_chest_ct
from training.cohort.illness import IllnessDials, no_illness
from training.cohort.kinds import KINDS
from training.cohort.person import Person, person
from training.cohort.thorax.frame import Arms
from training.cohort.thorax.patient import chest_of
from training.cohort.thorax.ribs import rib_path
from training.cohort.visit import Dials, Visit, visit

SMALL = ChestCtDials(matrix=(96,), spacing=(5.0, 5.0), contrast=(("none", 1.0),), missing=0.0)
CALM = replace(SMALL, tilt_sd=0.0, shift_sd=0.0, noise=(3.0, 3.0), sharp=0.0, field_of_view=(400.0, 400.0), leads=0.0)


def scan(
    number: int, which: int = 0, dials: ChestCtDials = SMALL, ill: IllnessDials | None = None
) -> tuple[Person, Visit]:
    who = person(3, number)
    return who, visit(who, which, Dials(chest_ct=dials, illness=ill or no_illness()))


def test_the_same_person_and_visit_give_the_same_bytes(tmp_path: Path) -> None:
    who, when = scan(1)
    first, second = (write_chest_ct(tmp_path / name, who, when) for name in ("a", "b"))
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


def test_a_volume_has_the_usual_size_and_range() -> None:
    who = person(3, 2)
    volume, affine = chest_ct(who, visit(who, 0))
    assert volume.dtype == np.int16
    assert 75 <= volume.shape[0] <= 160
    assert volume.shape[1] == volume.shape[2] in (160, 176, 192)
    assert volume.min() >= -1024
    assert volume.max() <= 3071
    assert 280 < affine[2, 0] * volume.shape[0] < 430


@pytest.mark.parametrize("number", [1, 2, 3])
def test_organs_lie_where_they_should(number: int) -> None:
    who, when = scan(number, dials=CALM)
    volume, affine = chest_ct(who, when)
    z = affine[2, 3] + affine[2, 0] * np.arange(len(volume)) - when.chest_ct.shift[2]
    x = affine[0, 3] + affine[0, 2] * np.arange(volume.shape[2])
    lung = (volume > -950) & (volume < -650)
    assert 0.05 < lung.mean() < 0.3
    # The liver is on the right, under the lungs; the heart's middle on the left of the spine.
    low = volume[(z > who.thorax.dome_right - 60) & (z < who.thorax.dome_right - 20)]
    organ = (low > 40) & (low < 80)
    assert organ[:, :, x < -20].mean() > 1.4 * organ[:, :, x > 20].mean()
    middle = volume[(z > -40) & (z < 0)]
    front = middle[:, : volume.shape[1] // 2]
    soft = (front > 20) & (front < 80) & (np.abs(x) < 90)
    assert (soft.sum(axis=(0, 1)) * x).sum() / soft.sum() > 2.0
    assert np.sum(volume > 300) > 0.004 * volume.size


def at(volume: NDArray[np.int16], affine: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.int16]:
    """HU at LPS points that lie in the volume."""
    index = np.rint(np.linalg.inv(affine) @ np.vstack([points.T, np.ones(len(points))])).astype(int)[:3]
    inside = np.all((index >= 0) & (index < np.array(volume.shape)[:, None]), axis=0)
    found: NDArray[np.int16] = volume[tuple(index[:, inside])]
    return found


def test_the_ribs_of_the_scan_are_those_of_the_person() -> None:
    scans = [scan(n, dials=CALM) for n in (1, 2, 3)]
    shares = np.zeros((3, 3))
    for row, (who, when) in enumerate(scans):
        taken, (volume, affine) = when.chest_ct, chest_ct(who, when)
        arms: Arms = "down" if taken.arms_down else "up"
        for column, (other, _) in enumerate(scans):
            chest = chest_of(other, when, breath=taken.breath, weight=taken.weight, arms=arms, supine=True)
            shift = np.array([0.0, -float(chest.centre_y(-40.0)) - 4.0, taken.shift[2]])
            ribs = np.concatenate([rib_path(chest, n, side)[0][10:70] for n in range(3, 10) for side in (1, -1)])
            shares[row, column] = np.mean(at(volume, affine, ribs + shift) > 100)
    assert shares.diagonal().min() > 0.8
    assert shares[~np.eye(3, dtype=bool)].max() < 0.6


def test_contrast_fills_the_vessels() -> None:
    plain, bright = (
        chest_ct(*scan(4, dials=replace(CALM, contrast=((phase, 1.0),))))[0] for phase in ("none", "arterial")
    )
    assert np.sum((bright > 220) & (plain < 100)) > 0.004 * plain.size
    assert abs(int(np.median(bright[plain < -700])) - int(np.median(plain[plain < -700]))) < 5


def test_a_pacemaker_is_metal_and_casts_streaks() -> None:
    paced = replace(no_illness(), pacemaker=1.0)
    volume, _ = chest_ct(*scan(5, dials=replace(CALM, streaks=1.0), ill=paced))
    clean, _ = chest_ct(*scan(5, dials=replace(CALM, streaks=0.0), ill=paced))
    assert np.sum(clean > 2800) > 20
    assert np.sum(chest_ct(*scan(5, dials=CALM))[0] > 2800) == 0
    with_metal = (clean > 2800).any(axis=(1, 2))
    difference = np.abs(volume.astype(float) - clean).mean(axis=(1, 2))
    assert difference[with_metal].mean() > 3 * difference[~with_metal].mean() + 1


def test_missing_slices_leave_a_gap(tmp_path: Path) -> None:
    who, when = scan(6, dials=replace(SMALL, missing=1.0))
    files = write_chest_ct(tmp_path, who, when)
    positions = np.sort([float(pydicom.dcmread(p, stop_before_pixels=True).ImagePositionPatient[2]) for p in files])
    gaps = np.diff(positions)
    assert gaps.min() == pytest.approx(5.0, abs=1e-3)
    assert gaps.max() > 9.0


def test_the_kind_writes_one_volume_with_its_labels(tmp_path: Path) -> None:
    who, when = scan(7, ill=replace(no_illness(), effusion=1.0))
    kind = KINDS["chest-ct"]
    images = kind.write(tmp_path, who, when, None)
    assert [len(image.files) for image in images] == [len(list(tmp_path.iterdir()))]
    assert when.illness.labels(kind.conditions)["effusion"] == "1"
