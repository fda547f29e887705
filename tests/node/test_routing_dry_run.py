"""The dry run over a folder: what a site looks at before it switches rules."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_node.routing import NO_RULE, RoutingRules, dry_run
from tests.ledger.files import part10


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a" / "b").mkdir(parents=True)
    for number in range(3):
        (tmp_path / "a" / f"{number}.dcm").write_bytes(
            part10(number, "1.1", BodyPartExamined="HEAD", Rows=8, Columns=8)
        )
    (tmp_path / "a" / "b" / "film").write_bytes(
        part10(1, "1.2", SOPClassUID="1.2.840.10008.5.1.4.1.1.6.1", Modality="US", Rows=8, Columns=8)
    )
    (tmp_path / "DICOMDIR").write_bytes(b"an index, no object")
    (tmp_path / "readme.txt").write_text("no object either")
    (tmp_path / "torn.dcm").write_bytes(part10(9)[:200])
    (tmp_path / "link").symlink_to("/etc/hostname")
    return tmp_path


def test_every_series_and_every_refusal_has_a_row(folder: Path) -> None:
    seen: list[Path] = []
    rows = dry_run(folder, RoutingRules.load(), seen.append)
    found = {(row.modality, row.instances, row.route.encoders, row.route.reason) for row in rows if row.series_uid}
    assert found == {("CT", 3, ("ct-face",), ""), ("US", 1, (), NO_RULE)}
    refused = [row for row in rows if not row.series_uid]
    assert sum(row.instances for row in refused) == 2
    assert all(row.route.reason and not row.route.encoders for row in refused)
    assert len(seen) == 6


@pytest.mark.data
def test_the_real_series_are_routed_by_what_they_show(data_folder: Path) -> None:
    rows = dry_run(data_folder / "dicom", RoutingRules.load())
    assert {(row.modality, row.route.encoders, row.route.reason) for row in rows} == {
        ("CT", (), "NO_BONEPRINT_BUNDLE"),
        ("MR", ("general",), ""),
    }
