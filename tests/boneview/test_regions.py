"""One series of head and chest is two images, and each encoder sees its own."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from config.errors import ImagingError
from inference.imaging.bone_roi import find_chest_roi
from inference.imaging.depth import find_face
from inference.imaging.regions import find_regions, part_of
from inference.imaging.trunk import find_trunk
from inference.types import LoadedSeries
from tests.boneview.chests import chest
from tests.imaging.heads import head, solid, stored_differently

# The nose of the head of solids lies at this height over its middle, and its middle so far over the last slice.
NOSE, RAISED = -12.0, 150.0


@cache
def both() -> tuple[LoadedSeries, float]:
    """A chest with a head on it, and the height of its nose."""
    trunk = chest().volume
    affine = trunk.affine
    assert affine is not None
    step, top = float(affine[2, 0]), float(affine[2, 3] + affine[2, 0] * len(trunk.pixels))
    count = round((RAISED + 130.0) / step)
    k, j, i = np.indices((count, *trunk.pixels.shape[1:]), dtype=np.float32)
    middle = affine[:2, :3] @ (np.array(trunk.pixels.shape) / 2.0) + affine[:2, 3]
    points = np.stack([i * affine[0, 2] + affine[0, 3], j * affine[1, 1] + affine[1, 3], k * step + top], axis=-1)
    own = points - np.array([middle[0], middle[1], top + RAISED])
    units = np.clip(40.0 + 800.0 * np.minimum(solid(own.astype(np.float32)), 0.0), -1000.0, 40.0)
    return replace(trunk, pixels=np.concatenate([trunk.pixels, units.astype(np.float32)])), top + RAISED + NOSE


def test_both_regions_are_where_they_are() -> None:
    volume, nose = both()
    found = find_regions(volume)
    assert found.head is not None
    assert found.chest is not None
    assert found.head[0] < nose - 60 < nose + 60 < found.head[1]
    heights = chest().vertebrae[:, 2]
    assert found.chest[0] < heights[-1]
    assert heights[0] < found.chest[1] < nose - 20


def test_each_part_shows_its_own_and_not_the_other() -> None:
    volume, nose = both()
    assert abs(find_face(part_of(volume, "head")).pose.tip[2] - nose) < 12.0
    trunk = part_of(volume, "chest")
    assert np.abs(find_chest_roi(find_trunk(trunk)).vertebrae - chest().vertebrae[:, 2]).mean() < 6.0
    with pytest.raises(ImagingError):
        find_face(trunk)
    assert len(part_of(volume, "head").pixels) + len(trunk.pixels) < 1.4 * len(volume.pixels)


def test_a_part_lies_where_it_lay() -> None:
    volume, _ = both()
    part = part_of(volume, "head")
    assert part.affine is not None
    assert volume.affine is not None
    first = round(float((part.affine[2, 3] - volume.affine[2, 3]) / volume.affine[2, 0]))
    np.testing.assert_array_equal(part.pixels, volume.pixels[first : first + len(part.pixels)])


def test_slices_from_head_to_feet_are_cut_alike() -> None:
    volume, _ = both()
    down = stored_differently(volume, (0, 1, 2), (True, False, False))
    for region in ("head", "chest"):
        straight, turned = part_of(volume, region), part_of(down, region)  # type: ignore[arg-type]
        assert abs(len(straight.pixels) - len(turned.pixels)) <= 1


@pytest.mark.parametrize("one", [chest().volume, head()], ids=["chest", "head"])
def test_what_shows_one_region_alone_is_never_cut(one: LoadedSeries) -> None:
    assert part_of(one, "head") is one
    assert part_of(one, "chest") is one


def test_a_series_knows_which_of_its_instances_a_part_is_of() -> None:
    volume, _ = both()
    uids = tuple(f"2.25.{n}" for n in range(len(volume.pixels)))
    named = replace(volume, sop_instance_uids=uids)
    part = part_of(named, "head")
    assert part.sop_instance_uids == uids[-len(part.pixels) :]
    assert part_of(volume, "head").sop_instance_uids == volume.sop_instance_uids, "a multi-frame object stays whole"
