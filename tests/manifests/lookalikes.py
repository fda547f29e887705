"""Tiny data sets laid out as the real ones are published. Pictures and volumes are random numbers."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.imaging.objects import CR, ct_slices, dataset, save, with_pixels

_numbers = count()


def picture(path: Path, colour: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(next(_numbers))
    Image.fromarray(rng.integers(0, 255, (12, 10, 3) if colour else (12, 10), np.uint8)).save(path)
    return path


def table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]], delimiter: str = ",") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", newline="") if path.suffix == ".gz" else path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(columns)
        writer.writerows(rows)
    return path


DICOM_IDS = [f"{n:08x}-0000000a-0000000b-0000000c-0000000d" for n in range(4)]


def mimic_cxr(root: Path, save_image: Callable[[Path], Path] = picture, suffix: str = ".jpg") -> None:
    images = [
        (DICOM_IDS[0], "10000032", "50414267", "PA", "21800506"),
        (DICOM_IDS[1], "10000032", "50414267", "LATERAL", "21800506"),
        (DICOM_IDS[2], "10000032", "53189527", "AP", "21800626"),
        (DICOM_IDS[3], "10000764", "57375967", "", "21321015"),
    ]
    for dicom, subject, study, *_ in images:
        save_image(root / "files" / f"p{subject[:2]}" / f"p{subject}" / f"s{study}" / f"{dicom}{suffix}")
    columns = ("dicom_id", "subject_id", "study_id", "PerformedProcedureStepDescription", "ViewPosition", "StudyDate")
    rows = [(d, p, s, "CHEST (PA AND LAT)", v, t) for d, p, s, v, t in images]
    # One that was not downloaded, one that would lead out of the folder.
    rows += [(DICOM_IDS[0][::-1].replace("d", "e"), "10000764", "57375967", "", "PA", "21321015")]
    rows += [("../../../../etc/passwd", "10000764", "57375967", "", "PA", "21321015")]
    table(root / "mimic-cxr-2.0.0-metadata.csv.gz", columns, rows)
    splits = [(d, s, p, "train" if p == "10000032" else "test") for d, p, s, *_ in images]
    table(root / "mimic-cxr-2.0.0-split.csv.gz", ("dicom_id", "study_id", "subject_id", "split"), splits)
    findings = (
        "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Enlarged Cardiomediastinum", "Fracture",
        "Lung Lesion", "Lung Opacity", "No Finding", "Pleural Effusion", "Pleural Other", "Pneumonia", "Pneumothorax",
        "Support Devices",
    )  # fmt: skip
    labels = [("10000032", "50414267", "1.0", "-1.0", *[""] * 12)]
    table(root / "mimic-cxr-2.0.0-chexpert.csv.gz", ("subject_id", "study_id", *findings), labels)


def chestxray14(root: Path) -> None:
    columns = (
        "Image Index", "Finding Labels", "Follow-up #", "Patient ID", "Patient Age", "Patient Gender",
        "View Position", "OriginalImage[Width", "Height]", "OriginalImagePixelSpacing[x", "y]", "",
    )  # fmt: skip
    entries = [
        ("00000001_000.png", "Cardiomegaly", 0, 1, "058Y", "M", "PA", 2682, 2749, 0.143, 0.143),
        ("00000001_001.png", "Cardiomegaly|Emphysema", 1, 1, "058Y", "M", "PA", 2894, 2729, 0.143, 0.143),
        ("00000002_000.png", "No Finding", 0, 2, "412", "F", "AP", 2500, 2048, 0.168, 0.168),
        ("00000003_000.png", "Hernia", 0, 3, "6", "F", "PA", 2582, 2991, 0.143, 0.143),
    ]
    for number, entry in enumerate(entries[:3]):
        picture(root / f"images_{number + 1:03d}" / "images" / str(entry[0]))
    table(root / "Data_Entry_2017.csv", columns, entries)
    (root / "train_val_list.txt").write_text("00000001_000.png\n00000001_001.png\n")
    (root / "test_list.txt").write_text("00000002_000.png\n00000003_000.png\n")


def chexpert(root: Path) -> None:
    from training.manifests.adapters.chexpert import FINDINGS

    columns = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *FINDINGS)
    train = [
        ("patient00001/study1/view1_frontal.jpg", "Female", "68", "Frontal", "AP", "1.0", *[""] * 13),
        ("patient00002/study2/view1_frontal.jpg", "Unknown", "0", "Frontal", "PA", "", "", "-1.0", *[""] * 11),
        ("patient00002/study1/view1_frontal.jpg", "Female", "87", "Frontal", "AP", *[""] * 14),
        ("patient00002/study1/view2_lateral.jpg", "Female", "83", "Lateral", "", *[""] * 14),
    ]
    valid = [("patient64541/study1/view1_frontal.jpg", "Male", "73", "Frontal", "AP", "0.0", *[""] * 13)]
    for split, rows in (("train", train), ("valid", valid)):
        for path, *_ in rows:
            picture(root / split / path)
        table(root / f"{split}.csv", columns, [(f"CheXpert-v1.0-small/{split}/{row[0]}", *row[1:]) for row in rows])
    with (root / "valid.csv").open("a") as file:
        file.write("CheXpert-v1.0/valid/../secret.jpg,Male,1,Frontal,AP" + "," * 14 + "\n")


def listed_cxr(root: Path) -> None:
    rows = [
        ("images/a.jpg", "p1", "fu000", "PA", "Cardiomegaly|Effusion"),
        ("images/b.jpg", "p1", "fu001", "AP", "No Finding"),
        ("images/gone.jpg", "p2", "fu000", "PA", "No Finding"),
        ("../outside.jpg", "p3", "fu000", "PA", "No Finding"),
    ]
    for path, *_ in rows[:2]:
        picture(root / path)
    table(root / "manifest.csv", ("path", "patient_id", "study", "view", "label"), rows)


def ccii(root: Path) -> None:
    for folder in ("NCP/328/1805", "NCP/328/1806", "Normal/1781/3567"):
        for number in range(5):
            picture(root / folder / f"{number:04d}.png")
    (root / "CP" / "900" / "1").mkdir(parents=True)
    columns = ("label", "patient_id", "Age", "Sex(Male1/Female2)", "Critical_illness")
    table(root / "metadata.csv", columns, [("NCP", "328", "47", "2", "0"), ("CP", "900", "60", "1", "0")])


def oasis2(root: Path) -> None:
    import SimpleITK

    sitk: Any = SimpleITK
    rng = np.random.default_rng(1)
    for part, session in (("1", "OAS2_0001_MR1"), ("2", "OAS2_0001_MR2"), ("1", "OAS2_0002_MR1")):
        folder = root / f"OAS2_RAW_PART{part}" / session / "RAW"
        folder.mkdir(parents=True)
        for number in (1, 2):
            volume = sitk.GetImageFromArray(rng.integers(0, 3000, (6, 7, 8)).astype(np.int16))
            sitk.WriteImage(volume, str(folder / f"mpr-{number}.nifti.hdr"))
    (root / "OAS2_RAW_PART1" / "OAS2_0002_MR1" / "RAW" / "mpr-2.nifti.img").unlink()
    columns = ("Subject ID", "MRI ID", "Group", "Visit", "MR Delay", "M/F", "Hand", "Age", "CDR")
    rows = [
        ("OAS2_0001", "OAS2_0001_MR1", "Nondemented", 1, 0, "M", "R", 87, 0),
        ("OAS2_0001", "OAS2_0001_MR2", "Nondemented", 2, 457, "M", "R", 88, 0),
    ]
    table(root / "oasis_longitudinal.csv", columns, rows)


def eyepacs(root: Path) -> None:
    for name in ("train/10_left", "train/10_right", "test/1_left"):
        picture(root / f"{name}.jpeg", colour=True)
    (root / "train" / "sample.jpeg").touch()
    table(root / "trainLabels.csv", ("image", "level"), [("10_left", 0), ("10_right", 2)])
    table(root / "retinopathy_solution.csv", ("image", "level", "Usage"), [("1_left", 4, "Private")])


def odir(root: Path) -> None:
    for name in ("0_left", "0_right", "1_left"):
        picture(root / "ODIR-5K" / "Training Images" / f"{name}.jpg", colour=True)
        picture(root / "preprocessed_images" / f"{name}.jpg", colour=True)
    columns = (
        "ID", "Patient Age", "Patient Sex", "Left-Fundus", "Right-Fundus", "Left-Diagnostic Keywords",
        "Right-Diagnostic Keywords", "N", "D", "G", "C", "A", "H", "M", "O", "filename",
    )  # fmt: skip
    first = (0, 69, "Female", "0_left.jpg", "0_right.jpg", "cataract", "normal fundus", 0, 0, 0, 1, 0, 0, 0, 0)
    second = (1, 57, "Male", "1_left.jpg", "1_right.jpg", "normal, clear", "normal", 1, 0, 0, 0, 0, 0, 0, 0)
    rows = [(*first, "0_right.jpg"), (*first, "0_left.jpg"), (*second, "1_left.jpg")]
    table(root / "full_df.csv", columns, rows)


def messidor2(root: Path) -> None:
    for name in ("20051020_43808_0100_PP.png", "20051020_43832_0100_PP.png", "IM004832.JPG"):
        picture(root / "IMAGES" / name, colour=True)
    pairs = [("20051020_43808_0100_PP.png", "20051020_43832_0100_PP.png"), ("IM004832.jpg", "IM004811.jpg")]
    table(root / "messidor-2.csv", ("left", "right"), pairs, delimiter=";")
    columns = ("image_id", "adjudicated_dr_grade", "adjudicated_dme", "adjudicated_gradable")
    table(root / "messidor_data.csv", columns, [("IM004832.jpg", "2.0", "0.0", 1)])


def grape(root: Path) -> None:
    for name in ("1_OD_1", "1_OS_1", "1_OD_2", "2_OD_1"):
        picture(root / "CFPs" / f"{name}.jpg", colour=True)
        picture(root / "Annotated Images" / f"{name}.jpg", colour=True)
    picture(root / "CFPs" / "cover.jpg", colour=True)
    columns = ("Subject Number", "Laterality", "Visit Number", "Interval Years", "IOP", "Corresponding CFP")
    follow = [("", "", "", "", "", ""), (1, "OD", 1, 0, 16, "1_OD_1.jpg"), (1, "OD", 2, 1.5, 15, "1_OD_2.jpg")]
    table(root / "Follow-up.csv", columns, follow)
    columns = ("Subject Number", "Laterality", "Age", "Gender")
    table(root / "Baseline.csv", columns, [("", "", "", ""), (1, "OD", 44, "M"), (2, "OD", 61, "F")])


def cptac_luad(root: Path) -> None:
    picture(root / "C3L-00001-21.png", colour=True)
    picture(root / "C3L-00001-26" / "region 1.png", colour=True)
    picture(root / "C3N-00169-21" / "region 1.jpg", colour=True)
    (root / "C3L-00001-21.svs").touch()
    picture(root / "legend.png", colour=True)


def ct_series(folder: Path, patient: str, study: str, series: str, slices: int = 5, **changes: Any) -> list[Path]:
    return ct_slices(
        folder, range(slices), PatientID=patient, StudyInstanceUID=study, SeriesInstanceUID=series,
        SOPInstanceUID=[f"{series}.{n}" for n in range(slices)], **changes,
    )  # fmt: skip


def film(path: Path, patient: str, study: str, **changes: Any) -> Path:
    pixels = np.random.default_rng(next(_numbers)).integers(0, 4000, (9, 8)).astype(np.uint16)
    ds = with_pixels(dataset(CR, Modality="CR"), pixels)
    ds.PatientID, ds.StudyInstanceUID, ds.SeriesInstanceUID = patient, study, f"{study}.1"
    ds.SOPInstanceUID = f"{study}.1.{next(_numbers)}"
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    return save(ds, path)


def tcia(root: Path, *patients: str, modality: str = "CT") -> None:
    """Two dated studies of each patient, as the NBIA Data Retriever lays them out."""
    for number, patient in enumerate(patients):
        for visit, day in enumerate(("20000101", "20000401")):
            study = f"2.25.{number + 1}.{visit + 1}"
            folder = root / "COLLECTION" / patient / f"{day[4:6]}-01-2000-NA-CT-{study[-5:]}" / "2.000000-AXIAL"
            ct_series(folder, patient, study, f"{study}.7", StudyDate=day, Modality=modality, PatientSex="F")
            (folder / "LICENSE").write_text("Creative Commons")


LOOKALIKES: dict[str, Callable[[Path], None]] = {
    "mimic-cxr-jpg": mimic_cxr,
    "mimic-cxr": lambda root: mimic_cxr(root, lambda path: film(path, "hidden", f"2.25.{next(_numbers)}"), ".dcm"),
    "chestxray14": chestxray14,
    "chexpert": chexpert,
    "paediatric-cxr": listed_cxr,
    "adult-cxr-64px": listed_cxr,
    "ccii": ccii,
    "oasis-2": oasis2,
    "eyepacs": eyepacs,
    "odir": odir,
    "messidor-2": messidor2,
    "grape": grape,
    "cptac-luad": cptac_luad,
    "dicom-folder": lambda root: tcia(root, "PHANTOM-1", "PHANTOM-2"),
    "hcc-tace": lambda root: tcia(root, "HCC_001", "HCC_002"),
    "tcga-kirc": lambda root: tcia(root, "TCGA-B0-4700", "TCGA-CJ-4634"),
    "tcga-lihc": lambda root: tcia(root, "TCGA-BC-4073", "TCGA-DD-A113"),
    "cptac-luad-ct": lambda root: tcia(root, "C3L-00001", "C3N-00169"),
    "head-neck-pet-ct": lambda root: tcia(root, "HN-CHUM-001", "HN-HGJ-002"),
    "hnscc": lambda root: tcia(root, "HNSCC-01-0001", "HNSCC-01-0002"),
    "head-neck-radiomics-hn1": lambda root: tcia(root, "HN1004", "HN1006"),
    "qin-headneck": lambda root: tcia(root, "QIN-HEADNECK-01-0003", "QIN-HEADNECK-01-0024"),
    "tcga-hnsc": lambda root: tcia(root, "TCGA-CV-5973", "TCGA-QK-A6IF"),
}
