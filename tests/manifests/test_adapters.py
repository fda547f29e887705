"""Adapters on look-alikes: every data set becomes a manifest that holds, and whose images load."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from config.errors import CommandError
from tests.manifests.lookalikes import DICOM_IDS, LOOKALIKES, mimic_cxr, picture, table, tcia
from training.manifests.adapters import ADAPTERS, adapter_named
from training.manifests.checking import check_manifest
from training.manifests.files import read_manifest
from training.manifests.images import load_row
from training.manifests.making import make_manifest
from training.manifests.schema import Row


@pytest.fixture
def rows_of(tmp_path: Path) -> Callable[[str], tuple[list[Row], Counter[str]]]:
    """Rows of a look-alike, and what its adapter left out."""

    def rows(name: str) -> tuple[list[Row], Counter[str]]:
        LOOKALIKES[name](tmp_path)
        skipped: Counter[str] = Counter()
        return list(ADAPTERS[name].rows(tmp_path, skipped)), skipped

    return rows


Rows = Callable[[str], tuple[list[Row], Counter[str]]]


def test_every_adapter_has_a_look_alike() -> None:
    assert set(LOOKALIKES) == set(ADAPTERS)


@pytest.mark.parametrize("name", sorted(ADAPTERS))
def test_a_data_set_becomes_a_manifest_whose_images_load(tmp_path: Path, name: str) -> None:
    LOOKALIKES[name](tmp_path)
    out = tmp_path / "made.csv"
    made = make_manifest(ADAPTERS[name], tmp_path, out)
    assert made.beside
    manifest = read_manifest(out)
    assert manifest.labels == ADAPTERS[name].labels
    summary = check_manifest(manifest)
    assert summary.images == made.rows > 0
    assert summary.problems == []
    for row in manifest.rows():
        assert row.issuer or name == "dicom-folder"
        assert len(load_row(manifest, row).images) == 1, row.path


@pytest.mark.parametrize("name", sorted(ADAPTERS))
def test_an_empty_folder_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(CommandError) as caught:
        make_manifest(ADAPTERS[name], tmp_path, tmp_path / "made.csv")
    assert str(tmp_path) in str(caught.value) or "no images" in str(caught.value)
    assert not (tmp_path / "made.csv").exists()


def test_an_unknown_adapter_is_answered_with_those_there_are() -> None:
    with pytest.raises(CommandError, match="mimic-cxr-jpg") as caught:
        adapter_named("mimic")
    assert caught.value.reason == "NOT_FOUND"


def test_mimic_cxr(rows_of: Rows) -> None:
    rows, skipped = rows_of("mimic-cxr-jpg")
    first, lateral, later, other = rows
    assert first.path == f"files/p10/p10000032/s50414267/{DICOM_IDS[0]}.jpg"
    assert (first.patient_id, first.study, first.view, first.split) == ("10000032", "50414267", "PA", "train")
    assert (lateral.study, lateral.view) == (first.study, "LATERAL")
    assert later.days is not None
    assert first.days is not None
    assert later.days - first.days == 51
    assert (other.view, other.split) == ("", "test")
    assert first.labels["atelectasis"] == "1"
    assert first.labels["cardiomegaly"] == "-1"
    assert later.labels == {}
    assert skipped == {"MISSING_FILE": 1, "BAD_ID": 1}


def test_mimic_cxr_in_dicom_without_the_tables_of_the_jpg_release(tmp_path: Path) -> None:
    mimic_cxr(tmp_path, picture, ".dcm.jpg")
    for path in tmp_path.rglob("*.dcm.jpg"):
        path.rename(path.with_suffix(""))
    for name in ("metadata", "split", "chexpert"):
        (tmp_path / f"mimic-cxr-2.0.0-{name}.csv.gz").unlink()
    columns = ("subject_id", "study_id", "dicom_id", "path")
    table(tmp_path / "cxr-record-list.csv.gz", columns, [("10000764", "57375967", DICOM_IDS[3], "ignored")])
    (row,) = ADAPTERS["mimic-cxr"].rows(tmp_path, Counter())
    assert row == Row(
        f"files/p10/p10000764/s57375967/{DICOM_IDS[3]}.dcm", "10000764", "57375967", "MIMIC",
        instance=DICOM_IDS[3], modality="DX", site="Beth Israel Deaconess Medical Center",
    )  # fmt: skip


def test_chestxray14(rows_of: Rows) -> None:
    rows, skipped = rows_of("chestxray14")
    assert [(row.patient_id, row.study, row.split) for row in rows] == [
        ("1", "follow-up 0", "train_val"),
        ("1", "follow-up 1", "train_val"),
        ("2", "follow-up 0", "test"),
    ]
    assert rows[0].path == "images_001/images/00000001_000.png"
    assert [(row.sex, row.age, row.view) for row in rows] == [("M", 58, "PA"), ("M", 58, "PA"), ("F", None, "AP")]
    assert {name for name, value in rows[1].labels.items() if value == "1"} == {"cardiomegaly", "emphysema"}
    assert set(rows[2].labels.values()) == {"0"}
    assert skipped == {"MISSING_FILE": 1}


def test_half_of_chestxray14s_split_is_none(tmp_path: Path) -> None:
    LOOKALIKES["chestxray14"](tmp_path)
    (tmp_path / "test_list.txt").unlink()
    with pytest.raises(CommandError, match="test_list"):
        list(ADAPTERS["chestxray14"].rows(tmp_path, Counter()))


def test_chexpert(rows_of: Rows) -> None:
    rows, skipped = rows_of("chexpert")
    assert [(row.patient_id, row.study, row.view, row.sex, row.split) for row in rows] == [
        ("patient00001", "study1", "AP", "F", "train"),
        ("patient00002", "study2", "PA", "", "train"),
        ("patient00002", "study1", "AP", "F", "train"),
        ("patient00002", "study1", "LATERAL", "F", "train"),
        ("patient64541", "study1", "AP", "M", "valid"),
    ]
    assert rows[0].path == "train/patient00001/study1/view1_frontal.jpg"
    assert (rows[0].labels["no_finding"], rows[1].labels["cardiomegaly"]) == ("1", "-1")
    assert skipped == {"BAD_PATH": 1}


def test_sets_that_come_with_a_list(rows_of: Rows) -> None:
    rows, skipped = rows_of("paediatric-cxr")
    assert rows == [
        Row("images/a.jpg", "p1", "fu000", "Kermany", modality="DX", view="PA",
            labels={"finding": "Cardiomegaly|Effusion"}),
        Row("images/b.jpg", "p1", "fu001", "Kermany", modality="DX", view="AP", labels={"finding": "No Finding"}),
    ]  # fmt: skip
    assert skipped == {"MISSING_FILE": 1, "BAD_PATH": 1}


def test_ccii(rows_of: Rows) -> None:
    rows, skipped = rows_of("ccii")
    assert [(row.path, row.patient_id, row.study, row.instances) for row in rows] == [
        ("NCP/328/1805", "328", "1805", 5),
        ("NCP/328/1806", "328", "1806", 5),
        ("Normal/1781/3567", "1781", "3567", 5),
    ]
    assert [(row.sex, row.age, row.labels["class"]) for row in rows] == [
        ("F", 47, "NCP"), ("F", 47, "NCP"), ("", None, "Normal"),
    ]  # fmt: skip
    assert skipped == {"EMPTY_FOLDER": 1}


def test_oasis2(rows_of: Rows) -> None:
    rows, skipped = rows_of("oasis-2")
    assert [(row.patient_id, row.study, row.series, row.days) for row in rows] == [
        ("OAS2_0001", "MR1", "mpr-1", 0),
        ("OAS2_0001", "MR1", "mpr-2", 0),
        ("OAS2_0002", "MR1", "mpr-1", None),
        ("OAS2_0001", "MR2", "mpr-1", 457),
        ("OAS2_0001", "MR2", "mpr-2", 457),
    ]
    assert (rows[0].sex, rows[0].age, rows[0].labels) == ("M", 87, {"group": "Nondemented", "cdr": "0"})
    assert skipped == {"MISSING_FILE": 1}


def test_eyepacs(rows_of: Rows) -> None:
    rows, skipped = rows_of("eyepacs")
    assert [(row.patient_id, row.laterality, row.split, row.labels["retinopathy"]) for row in rows] == [
        ("10", "L", "train", "0"),
        ("10", "R", "train", "2"),
        ("1", "L", "test", "4"),
    ]
    assert {row.study for row in rows} == {"1"}
    assert skipped == {"BAD_PATH": 1}


def test_odir(rows_of: Rows) -> None:
    rows, skipped = rows_of("odir")
    assert [(row.path, row.patient_id, row.laterality, row.sex, row.age) for row in rows] == [
        ("ODIR-5K/Training Images/0_left.jpg", "0", "L", "F", 69),
        ("ODIR-5K/Training Images/0_right.jpg", "0", "R", "F", 69),
        ("ODIR-5K/Training Images/1_left.jpg", "1", "L", "M", 57),
    ]
    assert (rows[0].labels["cataract"], rows[0].labels["normal"]) == ("1", "0")
    assert skipped == {"MISSING_FILE": 1}


def test_messidor2(rows_of: Rows) -> None:
    rows, skipped = rows_of("messidor-2")
    assert [(row.path, row.patient_id, row.laterality) for row in rows] == [
        ("IMAGES/20051020_43808_0100_PP.png", "0001", "L"),
        ("IMAGES/20051020_43832_0100_PP.png", "0001", "R"),
        ("IMAGES/IM004832.JPG", "0002", "L"),
    ]
    assert [row.labels["retinopathy"] for row in rows] == ["", "", "2"]
    assert {row.view for row in rows} == {"MACULA"}
    assert skipped == {"MISSING_FILE": 1}


def test_grape(rows_of: Rows) -> None:
    rows, skipped = rows_of("grape")
    assert [(row.patient_id, row.laterality, row.study, row.days) for row in rows] == [
        ("1", "R", "visit 1", 0),
        ("1", "R", "visit 2", 548),
        ("1", "L", "visit 1", 0),
        ("2", "R", "visit 1", 0),
    ]
    assert all(row.path.startswith("CFPs/") for row in rows)
    assert [(row.sex, row.age) for row in rows] == [("M", 44)] * 3 + [("F", 61)]
    assert skipped == {"BAD_PATH": 1}


def test_cptac_luad(rows_of: Rows) -> None:
    rows, skipped = rows_of("cptac-luad")
    assert [(row.patient_id, row.study, row.series) for row in rows] == [
        ("C3L-00001", "21", "C3L-00001-21"),
        ("C3L-00001", "26", "C3L-00001-26"),
        ("C3N-00169", "21", "C3N-00169-21"),
    ]
    assert skipped == {"WHOLE_SLIDE": 1, "BAD_PATH": 1}


def test_whole_slides_have_to_be_exported(tmp_path: Path) -> None:
    (tmp_path / "C3L-00001-21.svs").touch()
    with pytest.raises(CommandError, match="export them"):
        list(ADAPTERS["cptac-luad"].rows(tmp_path, Counter()))


@pytest.mark.parametrize(
    ("name", "patient", "site"),
    [
        ("head-neck-pet-ct", "HN-CHUM-001", "CHUM"),
        ("tcga-hnsc", "TCGA-CV-5973", "CV"),
        ("qin-headneck", "QIN-HEADNECK-01-0003", ""),
        ("head-neck-radiomics-hn1", "HN1004", ""),
        ("hnscc", "HNSCC-01-0001", ""),
    ],
)
def test_the_head_and_neck_collections(rows_of: Rows, name: str, patient: str, site: str) -> None:
    rows, skipped = rows_of(name)
    first, second, *_ = rows
    assert (first.patient_id, first.issuer, first.site, first.modality, first.sex) == (patient, "TCIA", site, "CT", "F")
    assert (first.instances, first.path.split("/")[:2]) == (5, ["COLLECTION", patient])
    assert first.study != second.study
    assert first.days is not None
    assert second.days == first.days + 91
    assert skipped == {"NOT_DICOM": 4}


def test_what_belongs_to_another_collection_is_counted(tmp_path: Path) -> None:
    tcia(tmp_path, "HN-CHUM-001", "TCGA-CV-5973")
    skipped: Counter[str] = Counter()
    assert len(list(ADAPTERS["tcga-hnsc"].rows(tmp_path, skipped))) == 2
    assert skipped["OTHER_COLLECTION"] == 10
    tcia(tmp_path / "mr", "TCGA-CV-0001", modality="MR")
    skipped.clear()
    assert len(list(ADAPTERS["tcga-hnsc"].rows(tmp_path / "mr", skipped))) == 0
    assert skipped["OTHER_MODALITY"] == 10


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (b"ID,Left-Fundus\n0,a\n", "lacks the column Right-Fundus"),
        (b"", "lacks the column ID"),
        (b"ID,Left-Fundus,Right-Fundus\n\xff\xfe,a,b\n", "damaged"),
        (b"ID,Left-Fundus,Right-Fundus\n" + b"x" * 2_000_000, "too long"),
        (b"ID,Left-Fundus,Right-Fundus\n" + b"x" * 200_000, "damaged"),
    ],
)
def test_a_damaged_table_is_named(tmp_path: Path, text: bytes, named: str) -> None:
    (tmp_path / "full_df.csv").write_bytes(text)
    with pytest.raises(CommandError, match=named) as caught:
        list(ADAPTERS["odir"].rows(tmp_path, Counter()))
    assert "full_df.csv" in str(caught.value)


def test_a_damaged_archive_of_a_table_is_named(tmp_path: Path) -> None:
    mimic_cxr(tmp_path)
    path = tmp_path / "mimic-cxr-2.0.0-split.csv.gz"
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(CommandError, match=r"split\.csv\.gz"):
        list(ADAPTERS["mimic-cxr-jpg"].rows(tmp_path, Counter()))


def test_short_lines_of_a_table_have_empty_values(tmp_path: Path) -> None:
    picture(tmp_path / "0_left.jpg", colour=True)
    (tmp_path / "full_df.csv").write_text("ID,Left-Fundus,Right-Fundus,N\n0,0_left.jpg\n")
    (row,) = ADAPTERS["odir"].rows(tmp_path, Counter())
    assert row.labels["normal"] == ""
