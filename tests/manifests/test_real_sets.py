"""The two real sets of radiographs: what is known of them, and that splits hold on them."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.manifests.adapters import ADAPTERS
from training.manifests.checking import check_manifest
from training.manifests.files import read_manifest
from training.manifests.images import load_row
from training.manifests.making import make_manifest
from training.manifests.pairs import comparable_mask, keys_of, mated_mask, training_pairs

pytestmark = pytest.mark.data

SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}


@pytest.mark.parametrize(
    ("name", "folder", "images", "patients", "repeated"),
    [
        ("paediatric-cxr", "paediatric_cxr", 4115, 2981, 451),
        ("adult-cxr-64px", "adult_cxr_64px", 1000, 264, 136),
    ],
)
def test_a_real_set(
    data_folder: Path, tmp_path: Path, name: str, folder: str, images: int, patients: int, repeated: int
) -> None:
    out = tmp_path / "made.csv"
    made = make_manifest(ADAPTERS[name], data_folder / folder, out, shares=SHARES, stratify="finding")
    assert made.rows == images
    assert not made.skipped
    manifest = read_manifest(out, outside=True)
    summary = check_manifest(manifest)
    assert (summary.images, summary.patients, summary.repeated) == (images, patients, repeated)
    assert summary.problems == []
    assert sum(summary.split_patients.values()) == patients
    for split, share in SHARES.items():
        assert abs(summary.split_patients[split] / patients - share) < 0.06
    rows = list(manifest)
    for row in rows[:: images // 20]:
        (image,) = load_row(manifest, row).images
        assert image.kind == "radiograph"
        assert image.view == row.view
    keys = keys_of(rows)
    pairs = comparable_mask(keys, keys) & mated_mask(keys, keys)
    assert not (pairs & (keys.study[:, None] == keys.study[None, :])).any()
    assert len({rows[index].patient_id for index in pairs.any(axis=1).nonzero()[0]}) == repeated
    splits = [row.split for row in rows]
    for pair in training_pairs(keys, 1, per_patient=3):
        assert (splits[pair.first] == splits[pair.second]) or not pair.mated


def test_a_real_series_becomes_a_row(data_folder: Path, tmp_path: Path) -> None:
    made = make_manifest(ADAPTERS["dicom-folder"], data_folder / "dicom", tmp_path / "made.csv")
    manifest = read_manifest(tmp_path / "made.csv", outside=True)
    assert made.rows == 2
    assert sorted((row.modality, row.instances) for row in manifest) == [("CT", 138), ("MR", 175)]
