"""Volumes: order, units, geometry, groups, padding, multi-frame objects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless

from inference.imaging.geometry import even_distances, make_plane, make_stack, resample_slices
from tests.imaging.objects import CT, ENHANCED_CT, MR, ct_slices, dataset, load, reasons, save, with_pixels

AXIAL = [1, 0, 0, 0, 1, 0]


def test_slices_are_ordered_by_position_never_by_instance_number(tmp_path: Path) -> None:
    (image,) = load(*ct_slices(tmp_path, [6, 2, 8, 4, 0])).images
    assert image.pixels[:, 1, 1].tolist() == [50, 20, 40, 10, 30]
    assert image.sop_instance_uids == ("2.25.3.5", "2.25.3.2", "2.25.3.4", "2.25.3.1", "2.25.3.3")
    assert image.kind == "volume"
    assert image.spacing == (2.0, 2.0, 3.0)


def test_the_affine_leads_from_voxels_to_the_patient(tmp_path: Path) -> None:
    (image,) = load(*ct_slices(tmp_path, range(10, 30, 4))).images
    assert image.affine is not None
    assert (image.affine @ [0, 0, 0, 1])[:3].tolist() == [-15, -8, 10]
    # One slice up, two rows towards the back, three columns to the patient's left.
    assert (image.affine @ [1, 2, 3, 1])[:3].tolist() == [-15 + 9, -8 + 4, 14]


@pytest.mark.parametrize(
    ("orientation", "step"),
    [([0, 1, 0, 0, 0, -1], (-2.0, 0, 0)), ([1, 0, 0, 0, 0, -1], (0, 2.0, 0)), ([-1, 0, 0, 0, 1, 0], (0, 0, -2.0))],
)
def test_slices_follow_their_normal_in_every_orientation(
    tmp_path: Path, orientation: list[int], step: tuple[float, float, float]
) -> None:
    places = [tuple(n * value for value in step) for n in range(5)]
    (image,) = load(*ct_slices(tmp_path, places, ImageOrientationPatient=[orientation] * 5)).images
    assert image.affine is not None
    assert image.affine[:3, 0] == pytest.approx(step)
    assert np.linalg.det(image.affine[:3, :3]) != 0


def test_padding_and_what_is_below_air_become_air(tmp_path: Path) -> None:
    paths = []
    for number in range(4):
        pixels = np.full((8, 8), 40, np.int16)
        pixels[0], pixels[1] = -2000, -3000
        ds = dataset(
            CT, number + 1, Modality="CT", ImagePositionPatient=[0, 0, number], ImageOrientationPatient=AXIAL,
            PixelSpacing=[1, 1], RescaleSlope=1, RescaleIntercept=0,
        )  # fmt: skip
        ds = with_pixels(ds, pixels)
        ds.PixelPaddingValue = -2000
        ds["PixelPaddingValue"].VR = "SS"
        paths.append(save(ds, tmp_path / f"{number}.dcm"))
    (image,) = load(*paths).images
    assert np.unique(image.pixels).tolist() == [-1024, 40]


def test_each_slice_has_its_own_rescale(tmp_path: Path) -> None:
    paths = ct_slices(tmp_path, range(4), RescaleSlope=[1, 2, 1, 1])
    (image,) = load(*paths).images
    assert image.pixels[:, 1, 1].tolist() == [10, 2 * 1044 - 1024, 30, 40]


def test_mr_needs_no_rescale(tmp_path: Path) -> None:
    paths = []
    for number in range(4):
        ds = dataset(
            MR, number + 1, Modality="MR", ImagePositionPatient=[0, 0, number], ImageOrientationPatient=AXIAL,
            PixelSpacing=[1, 1],
        )  # fmt: skip
        paths.append(save(with_pixels(ds, np.arange(64, dtype=np.uint16).reshape(8, 8)), tmp_path / f"{number}.dcm"))
    (image,) = load(*paths).images
    assert (image.modality, float(image.pixels.max())) == ("MR", 63.0)


def test_phases_at_the_same_positions_are_told_apart(tmp_path: Path) -> None:
    paths = ct_slices(tmp_path, [*range(5), *range(5)], AcquisitionNumber=[1] * 5 + [2] * 5)
    result = load(*paths)
    assert [image.pixels[:, 1, 1].tolist() for image in result.images] == [[10, 20, 30, 40, 50]]
    assert reasons(result) == {"MIXED_SERIES": 5}
    assert len(load(*paths, allow=["MIXED_SERIES"]).images) == 2


def test_an_acquisition_number_that_changes_with_every_rotation_splits_nothing(tmp_path: Path) -> None:
    (image,) = load(*ct_slices(tmp_path, range(6), AcquisitionNumber=[1, 1, 2, 2, 3, 3])).images
    assert image.pixels.shape[0] == 6


@pytest.mark.parametrize(
    "change", [{"PixelSpacing": [[1, 1]] * 6 + [[2, 2]] * 6}, {"ConvolutionKernel": ["A"] * 6 + ["B"] * 6}]
)
def test_two_stacks_in_one_series_are_two_volumes(tmp_path: Path, change: dict[str, list[object]]) -> None:
    result = load(*ct_slices(tmp_path, [*range(6), *range(6)], **change))
    assert [image.pixels.shape[0] for image in result.images] == [6, 6]
    assert reasons(result) == {}


def test_one_bad_slice_names_the_reason_for_the_volume(tmp_path: Path) -> None:
    paths = ct_slices(tmp_path, range(5))
    paths[2].write_bytes(paths[2].read_bytes()[:-20])
    assert reasons(load(*paths)) == {"TRUNCATED_PIXELS": 5}


def enhanced(order: list[int], localizer: int | None = None) -> Dataset:
    """An Enhanced CT whose frames come in any order; shared spacing, orientation and rescale."""
    frames = np.stack([np.full((6, 6), 1024 + 10 * number, np.uint16) for number in order])
    frames[:, 0, 0] = 0
    ds = with_pixels(dataset(ENHANCED_CT, Modality="CT"), frames)

    def group(**attributes: object) -> list[Dataset]:
        item = Dataset()
        for keyword, value in attributes.items():
            setattr(item, keyword, value)
        return [item]

    shared = group()[0]
    shared.PixelMeasuresSequence = group(PixelSpacing=[1, 1])
    shared.PlaneOrientationSequence = group(ImageOrientationPatient=AXIAL)
    shared.PixelValueTransformationSequence = group(RescaleSlope=1, RescaleIntercept=-1024)
    ds.SharedFunctionalGroupsSequence = [shared]
    per_frame = []
    for index, number in enumerate(order):
        frame = group()[0]
        frame.PlanePositionSequence = group(ImagePositionPatient=[0, 0, 3 * number])
        kind = "LOCALIZER" if index == localizer else "VOLUME"
        frame.CTImageFrameTypeSequence = group(FrameType=["ORIGINAL", "PRIMARY", kind, "NONE"])
        per_frame.append(frame)
    ds.PerFrameFunctionalGroupsSequence = per_frame
    return ds


def test_an_enhanced_object_is_a_volume(tmp_path: Path) -> None:
    (image,) = load(save(enhanced([3, 0, 1, 2, 4]), tmp_path / "a.dcm")).images
    assert image.pixels[:, 1, 1].tolist() == [0, 10, 20, 30, 40]
    assert image.spacing == (3.0, 1.0, 1.0)
    assert image.sop_instance_uids == ("2.25.3.1",)


def test_a_localizer_frame_stays_out(tmp_path: Path) -> None:
    result = load(save(enhanced([0, 1, 2, 3, 4], localizer=4), tmp_path / "a.dcm"))
    assert result.images[0].pixels.shape[0] == 4
    assert reasons(result) == {"LOCALIZER": 1}


def test_a_compressed_enhanced_object_is_the_same_volume(tmp_path: Path) -> None:
    ds = enhanced([3, 0, 1, 2, 4])
    plain = load(save(ds, tmp_path / "a.dcm")).images[0].pixels
    ds.compress(RLELossless, generate_instance_uid=False)
    ds.save_as(tmp_path / "b.dcm", enforce_file_format=True)
    np.testing.assert_array_equal(load(tmp_path / "b.dcm").images[0].pixels, plain)


@settings(max_examples=60, deadline=None)
@given(
    order=st.permutations(range(8)),
    angles=st.tuples(*[st.floats(-3, 3)] * 3),
    step=st.floats(0.2, 10),
)
def test_any_stack_in_any_order_is_even(order: list[int], angles: tuple[float, float, float], step: float) -> None:
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_euler("xyz", angles).as_matrix()
    planes = [make_plane((turn[2] * step * n).tolist(), [*turn[0], *turn[1]], [1.0, 1.0]) for n in order]
    assert all(plane is not None for plane in planes)
    stack = make_stack([plane for plane in planes if plane is not None])
    assert [order[index] for index in stack.order] == list(range(8))
    assert stack.step == pytest.approx(step)
    assert (stack.uneven_steps, stack.has_duplicates) == (0, False)
    assert stack.shear == pytest.approx(0.0, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.5, 5.0), min_size=3, max_size=20))
def test_filling_gaps_keeps_what_is_linear(steps: list[float]) -> None:
    distances = np.concatenate([[0.0], np.cumsum(steps)])
    volume = np.broadcast_to(distances[:, None, None], (len(distances), 2, 2)).astype(np.float32)
    wanted = even_distances(distances, float(np.median(steps)), 80)
    np.testing.assert_allclose(resample_slices(volume, distances, wanted)[:, 0, 0], wanted, atol=1e-3)
