"""Skin and bone of one head CT: where they lie, and that a map of bone knows nothing of the face."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from config.errors import ImagingError
from inference.imaging.depth import DepthMap, find_face
from inference.imaging.head_depth import bone_depth, find_skull, skin_depth
from inference.types import LoadedSeries
from tests.skulls.heads import still_ct

SIZE = 48


def difference(a: DepthMap, b: DepthMap) -> float:
    """Median millimetres between two maps where both show something; both show most of the same."""
    both = a.mask & b.mask
    assert both.sum() > 0.7 * max(a.mask.sum(), b.mask.sum())
    return float(np.median(np.abs(a.depth - b.depth)[both]))


@pytest.fixture(scope="module")
def head() -> LoadedSeries:
    return still_ct(1)


def test_bone_lies_behind_skin_in_the_heads_own_frame(head: LoadedSeries) -> None:
    skin, bone = skin_depth(head, SIZE, "cpu"), bone_depth(head, SIZE, "cpu")
    assert skin.mask.mean() > 0.2
    assert bone.mask.mean() > 0.15
    # Both along one line: how far behind the nose's tip the foremost bone is.
    behind = (skin.pose.tip - bone.pose.tip) @ skin.pose.axes[2]
    assert 5 < behind < 60
    assert abs(float(np.percentile(bone.depth[bone.mask], 2.0))) < 5


def test_a_dry_skull_gives_the_same_map(head: LoadedSeries) -> None:
    dry = replace(head, pixels=np.where(head.pixels < 200, np.float32(-1000), head.pixels))
    assert difference(bone_depth(head, SIZE, "cpu"), bone_depth(dry, SIZE, "cpu")) < 3


def test_another_nose_does_not_move_the_bone(head: LoadedSeries) -> None:
    """A centimetre of soft tissue in front of the nose moves the face's frame, and not the skull's."""
    longer = head.pixels.copy()
    soft = (longer > -300) & (longer < 200)
    longer[:, :-3][soft[:, 3:] & (longer[:, :-3] < -300)] = 40.0
    other = replace(head, pixels=longer)
    face, skull = (np.linalg.norm(find(other).pose.tip - find(head).pose.tip) for find in (find_face, find_skull))
    assert skull < 0.5 * face
    assert difference(bone_depth(head, SIZE, "cpu"), bone_depth(other, SIZE, "cpu")) < 2


def test_two_people_differ_more_than_two_scans_of_one(head: LoadedSeries) -> None:
    again, other = still_ct(1, shift=(6.0, -4.0, 3.0)), still_ct(2)
    first = bone_depth(head, SIZE, "cpu")
    assert difference(first, bone_depth(again, SIZE, "cpu")) < difference(first, bone_depth(other, SIZE, "cpu"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"modality": "MR"}, "NO_SURFACE"), ({"kind": "photograph", "affine": None}, "NO_GEOMETRY")],
)
def test_what_has_no_skull_is_refused(head: LoadedSeries, change: dict[str, object], reason: str) -> None:
    with pytest.raises(ImagingError) as caught:
        find_skull(replace(head, **change))  # type: ignore[arg-type]
    assert caught.value.reason == reason


def test_a_box_of_water_has_no_skull(head: LoadedSeries) -> None:
    with pytest.raises(ImagingError) as caught:
        find_skull(replace(head, pixels=np.minimum(head.pixels, 40.0)))
    assert caught.value.reason == "NO_SURFACE"
