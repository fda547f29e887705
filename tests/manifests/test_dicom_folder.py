"""Any folder of DICOM objects: rows from headers, whatever the files are called."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from config.errors import CommandError
from inference.types import LoadedSeries
from tests.imaging.objects import OP, SR, dataset, save, with_pixels
from tests.manifests.lookalikes import ct_series, film
from tests.manifests.test_images import RED
from training.manifests.adapters import ADAPTERS
from training.manifests.images import load_path
from training.manifests.schema import Row


def rows_of(root: Path) -> tuple[list[Row], Counter[str]]:
    skipped: Counter[str] = Counter()
    return list(ADAPTERS["dicom-folder"].rows(root, skipped)), skipped


def loaded(root: Path, row: Row) -> LoadedSeries:
    (image,) = load_path(root / row.path, row).images
    return image


def test_a_film_says_who_what_when_and_where(tmp_path: Path) -> None:
    path = film(
        tmp_path / "deep" / "IM000001", "PHANTOM-7", "2.25.7", IssuerOfPatientID="NORTH", StudyDate="20200131",
        PatientBirthDate="19600131", PatientSex="F", ViewPosition="LL", ImageLaterality="L", InstitutionName="Site 1",
        Manufacturer="Maker", ManufacturerModelName="Model", StationName="ROOM2",
    )  # fmt: skip
    ((row,), skipped) = rows_of(tmp_path)
    assert (row.path, row.patient_id, row.issuer, row.study) == ("deep/IM000001", "PHANTOM-7", "NORTH", "2.25.7")
    assert (row.series, row.instances, row.modality) == ("2.25.7.1", 1, "CR")
    assert row.instance.startswith("2.25.7.1.")
    assert (row.view, row.laterality, row.site, row.device) == ("LATERAL", "L", "Site 1", "Maker Model ROOM2")
    assert (row.sex, row.age, row.birth_date) == ("F", 60.0, "19600131")
    film(path.with_name("IM2"), "PHANTOM-7", "2.25.8", StudyDate="20200302")
    days = [item.days for item in rows_of(tmp_path)[0]]
    assert days[0] is not None
    assert days[1] == days[0] + 31
    assert not skipped


def test_what_headers_do_not_say_stays_empty(tmp_path: Path) -> None:
    film(tmp_path / "a", "PHANTOM-1", "2.25.1", PatientAge="018M", StudyDate="", PatientSex="X")
    ((row,), _) = rows_of(tmp_path)
    assert (row.days, row.sex, row.age, row.birth_date, row.site, row.device) == (None, "", 1.5, "", "", "")


def test_a_photograph_of_an_eye(tmp_path: Path) -> None:
    eye = with_pixels(dataset(OP, Modality="OP", SeriesDescription="OS macula"), RED, "RGB")
    save(eye, tmp_path / "eye.dcm")
    ((row,), _) = rows_of(tmp_path)
    assert (row.modality, row.laterality) == ("OP", "L")
    assert loaded(tmp_path, row).kind == "fundus"


def test_series_that_share_a_folder_have_a_row_each(tmp_path: Path) -> None:
    first = ct_series(tmp_path / "a", "PHANTOM-1", "2.25.1", "2.25.11", 5)
    for path in ct_series(tmp_path / "b", "PHANTOM-1", "2.25.2", "2.25.22", 7):
        path.rename(first[0].parent / f"second {path.name}")
    rows, _ = rows_of(tmp_path)
    assert [(row.path, row.series, row.instances) for row in rows] == [("a", "2.25.11", 5), ("a", "2.25.22", 7)]
    assert [loaded(tmp_path, row).pixels.shape[0] for row in rows] == [5, 7]


def test_a_series_in_two_folders_is_no_row(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        ct_series(tmp_path / folder, "PHANTOM-1", "2.25.1", "2.25.11")
    with pytest.raises(CommandError) as caught:
        rows_of(tmp_path)
    assert caught.value.reason == "SERIES_SCATTERED"


def test_a_series_right_in_the_root(tmp_path: Path) -> None:
    ct_series(tmp_path, "PHANTOM-1", "2.25.1", "2.25.11")
    ((row,), _) = rows_of(tmp_path)
    assert row.path == "."
    assert loaded(tmp_path, row).kind == "volume"


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    film(tmp_path / "kept", "PHANTOM-1", "2.25.1")
    film(tmp_path / "nobody", "", "2.25.2")
    ct_series(tmp_path / "scout", "PHANTOM-1", "2.25.1", "2.25.11", 3)
    save(dataset(SR, Modality="SR"), tmp_path / "report")
    save(dataset(OP, Modality="OP"), tmp_path / "blind")
    (tmp_path / "DICOMDIR").write_text("an index")
    (tmp_path / ".hidden").write_text("a note")
    (tmp_path / "README").write_text("a note")
    rows, skipped = rows_of(tmp_path)
    assert [row.path for row in rows] == ["kept"]
    assert skipped == {
        "NO_PATIENT_ID": 1, "TOO_FEW_SLICES": 3, "UNSUPPORTED_SOP_CLASS": 1, "NO_PIXELS": 1, "NOT_DICOM": 1,
    }  # fmt: skip


def test_line_breaks_in_headers_do_not_break_a_row(tmp_path: Path) -> None:
    film(tmp_path / "a", "PHANTOM-1", "2.25.1", InstitutionName="Site\r\n1")
    ((row,), _) = rows_of(tmp_path)
    assert row.site == "Site 1"
