"""``medreid evaluate`` as a user meets it: any kind of file, every promised figure, clear refusals."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import SimpleITK
from click.testing import Result
from typer.testing import CliRunner

from config.errors import MedReIDError
from dicom_node.cli.app import command_line
from dicom_node.cli.exits import Exit
from tests.node.films import film, write_film

PERSONS, VISITS = 10, 2


def evaluate(manifest: Path, *arguments: str, encoder: str = "general") -> Result:
    done = CliRunner().invoke(
        command_line(), ["evaluate", "--manifest", str(manifest), "--encoder", encoder, "--rounds", "50", *arguments]
    )
    if done.exception is not None and not isinstance(done.exception, SystemExit | MedReIDError):
        raise done.exception
    return done


def write_manifest(folder: Path, rows: Iterable[Mapping[str, object]]) -> Path:
    listed = list(rows)
    path = folder / "manifest.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(listed[0]) if listed else ["path", "patient_id", "study"])
        writer.writeheader()
        writer.writerows(listed)
    return path


def write_picture(path: Path, person: int, visit: int) -> None:
    """A film of the person, as another machine would have cut and shown it."""
    rng = np.random.default_rng([person, visit])
    top, left, bottom, right = rng.integers(1, 16, 4)
    cut = (film(person, visit) / 4095.0)[top:-bottom, left:-right] ** rng.uniform(0.6, 1.6)
    cv2.imwrite(str(path), (255 * cut).astype(np.uint8))


def rows_of(manifest: Path) -> list[dict[str, str]]:
    with manifest.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten persons with two studies each, as PNG, with sites and devices that tell nothing."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(3)
    rows = []
    for person in range(PERSONS):
        for visit in range(VISITS):
            name = f"{person}-{visit}.png"
            write_picture(folder / name, person, visit)
            rows.append(
                {
                    "path": name,
                    "patient_id": f"P{person}",
                    "study": f"S{visit}",
                    "view": "PA",
                    "sex": "FM"[person % 2],
                    "site": "AB"[rng.integers(2)],
                    "device": f"D{rng.integers(3)}",
                    "days": 200 * visit,
                    "label_effusion": person % 2,
                }
            )
    return write_manifest(folder, rows)


@pytest.fixture(scope="module")
def made(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, dict[str, Any], str]:
    """What one run printed and wrote."""
    out = tmp_path_factory.mktemp("out")
    done = evaluate(pictures, "--json", str(out / "out.json"), "--report", str(out / "out.html"))
    return done, json.loads((out / "out.json").read_text()), (out / "out.html").read_text()


def test_every_promised_figure_is_in_the_json(made: tuple[Result, dict[str, Any], str]) -> None:
    done, found, _ = made
    assert done.exit_code == 0, done.output
    measures = found["evaluation"]["measures"]
    assert set(measures["closed_set"]["rank"]) >= {"1", "5", "10", "50"}
    assert measures["closed_set"]["rank"]["1"]["value"] == 1.0
    assert {"map", "map_at_r", "minp", "mrr", "percentile_rank", "cmc"} <= set(measures["closed_set"])
    assert {"eer", "auc", "fnmr", "roc"} <= set(measures["verification"])
    assert [point["fpir"] for point in measures["open_set"]["points"]] == [1e-3, 3e-3, 1e-2, 1e-1]
    assert {"cllr", "min_cllr", "ece", "tippett", "supported"} <= set(measures["likelihood"])
    assert {"sex", "site", "device", "interval", "label", "impostors"} & set(found["evaluation"]["strata"])
    assert found["evaluation"]["distractors"]
    rank1 = measures["closed_set"]["rank"]["1"]
    assert rank1["low"] < rank1["value"], "no error among ten persons does not mean that there is none"


def test_floors_stand_beside_the_encoder(made: tuple[Result, dict[str, Any], str]) -> None:
    _, found, page = made
    assert list(found["methods"]) == ["general 1.1", "pixel correlation", "metadata only", "probe cropped 8 %"]
    assert found["chance"]["rank-1"] == pytest.approx(1 / PERSONS)
    metadata = found["methods"]["metadata only"]["closed_set"]["rank"]["1"]["value"]
    assert metadata < 0.6
    assert all(name in page for name in found["methods"])


class _Page(HTMLParser):
    """Collects what a browser would have to fetch, and what it would run."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.scripts = 0
        self.images = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.images += tag == "img"
        for name, value in attrs:
            if name in ("src", "href") and value and not value.startswith(("data:", "#")):
                self.links.append(value)


def test_the_report_needs_nothing_but_itself(made: tuple[Result, dict[str, Any], str]) -> None:
    page = _Page()
    page.feed(made[2])
    assert page.links == [] and page.scripts == 0
    assert page.images > PERSONS
    assert made[2].count("<svg") >= 6
    assert not re.search(r"url\(\s*['\"]?http|@import", made[2])


def test_a_report_may_do_without_pictures_of_patients(pictures: Path, tmp_path: Path) -> None:
    assert evaluate(pictures, "--report", str(tmp_path / "r.html"), "--no-thumbnails", "--no-crop").exit_code == 0
    page = _Page()
    page.feed((tmp_path / "r.html").read_text())
    assert page.images == 0


def test_dicom_png_jpeg_and_folders_may_be_mixed(tmp_path: Path) -> None:
    rows = []
    for person in range(6):
        dicom = write_film(tmp_path / "dicom", person, 0, f"X{person}")
        rows.append((dicom.relative_to(tmp_path), person, 0))
        write_picture(tmp_path / f"{person}.jpg", person, 1)
        rows.append((Path(f"{person}.jpg"), person, 1))
        series = write_film(tmp_path / f"series-{person}", person, 2, f"X{person}")
        rows.append((series.parent.relative_to(tmp_path), person, 2))
    manifest = write_manifest(
        tmp_path, [{"path": path, "patient_id": f"P{person}", "study": visit} for path, person, visit in rows]
    )
    # Two DICOM objects of a person differ in grain alone, which the audit sees.
    done = evaluate(manifest, "--json", str(tmp_path / "o.json"), "--allow", "near-duplicates")
    assert done.exit_code == 0
    found = json.loads((tmp_path / "o.json").read_text())
    assert found["failed_to_enrol"] == {}
    assert found["evaluation"]["sizes"]["images"] == 18
    assert found["evaluation"]["measures"]["closed_set"]["rank"]["1"]["value"] > 0.8


def test_volumes_come_as_nifti(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    rows = []
    for person in range(3):
        anatomy = cv2.GaussianBlur(rng.normal(0, 900, (40, 40)).astype(np.float32), (0, 0), 3)
        for visit in range(2):
            volume = np.stack([anatomy + rng.normal(0, 8, anatomy.shape) for _ in range(24)]).astype(np.float32)
            image = SimpleITK.GetImageFromArray(volume)
            image.SetSpacing((1.0, 1.0, 2.0))
            SimpleITK.WriteImage(image, str(tmp_path / f"{person}-{visit}.nii.gz"))
            rows.append(
                {"path": f"{person}-{visit}.nii.gz", "patient_id": f"P{person}", "study": visit, "modality": "MR"}
            )
    manifest = write_manifest(tmp_path, rows)
    evaluate(manifest, "--json", str(tmp_path / "o.json"), "--allow", "near-duplicates")
    assert json.loads((tmp_path / "o.json").read_text())["evaluation"]["sizes"]["images"] == 6


def test_failures_to_enrol_are_counted_and_count_as_misses(pictures: Path, tmp_path: Path) -> None:
    rows = rows_of(pictures)
    for row in rows:
        (tmp_path / row["path"]).write_bytes((pictures.parent / row["path"]).read_bytes())
    (tmp_path / rows[0]["path"]).write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))
    (tmp_path / rows[3]["path"]).unlink()
    assert evaluate(write_manifest(tmp_path, rows), "--json", str(tmp_path / "o.json")).exit_code == 0
    found = json.loads((tmp_path / "o.json").read_text())
    assert sum(found["failed_to_enrol"].values()) == 2 and found["failed_to_enrol"]["MISSING_FILE"] == 1
    enrolment = found["evaluation"]["enrolment"]
    assert enrolment["failed_images"] == 2
    # The two, and their only mates, cannot be found.
    assert enrolment["generalised_rank"]["1"]["value"] == pytest.approx(1 - 4 / (PERSONS * VISITS))
    assert found["evaluation"]["measures"]["closed_set"]["rank"]["1"]["value"] == 1.0


def test_a_failed_audit_is_loud_and_may_be_allowed(pictures: Path, tmp_path: Path) -> None:
    rows = [{**row, "device": f"D{int(row['patient_id'][1:]) % 3}"} for row in rows_of(pictures)]
    for row in rows:
        (tmp_path / row["path"]).write_bytes((pictures.parent / row["path"]).read_bytes())
    manifest = write_manifest(tmp_path, rows)
    done = evaluate(manifest, "--report", str(tmp_path / "r.html"), "--no-crop")
    assert done.exit_code == Exit.BROKEN
    assert "device: FAILED" in done.output
    assert "AUDITS FAILED: device" in (tmp_path / "r.html").read_text()
    assert evaluate(manifest, "--allow", "device", "--no-crop").exit_code == 0


@pytest.mark.parametrize(
    ("change", "arguments", "said"),
    [
        ("empty", (), "no rows"),
        ("torn", (), "patient_id"),
        ("", ("--split", "test"), "split"),
        ("galleries", (), "probe"),
        ("", ("--encoder", "nobody"), "general"),
        ("", ("--allow", "everything"), "near-duplicates"),
        ("", ("--json", "nowhere/out.json"), "nowhere"),
        ("missing", (), "MISSING_FILE"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_with_the_remedy(
    pictures: Path, tmp_path: Path, change: str, arguments: tuple[str, ...], said: str
) -> None:
    manifest = pictures
    if change == "empty":
        manifest = write_manifest(tmp_path, [])
    elif change == "torn":
        manifest = write_manifest(tmp_path, [{"path": "a.png", "study": "1"}])
    elif change == "galleries":
        manifest = write_manifest(tmp_path, [{"path": "a.png", "patient_id": "P", "study": "1", "role": "gallery"}])
    elif change == "missing":
        manifest = write_manifest(tmp_path, [{"path": "a.png", "patient_id": "P", "study": "1"}])
    done = evaluate(manifest, *arguments)
    assert isinstance(done.exception, MedReIDError)
    assert said in str(done.exception)


def test_the_same_run_gives_the_same_figures(pictures: Path, tmp_path: Path) -> None:
    texts = []
    for name in ("a", "b"):
        assert (
            evaluate(pictures, "--json", str(tmp_path / name), "--report", str(tmp_path / f"{name}.html")).exit_code
            == 0
        )
        texts.append(((tmp_path / name).read_text(), (tmp_path / f"{name}.html").read_text()))
    assert texts[0] == texts[1]


def test_a_split_may_serve_as_cohort_for_score_normalisation(pictures: Path, tmp_path: Path) -> None:
    rows = [{**row, "split": "held-out" if int(row["patient_id"][1:]) > 6 else "test"} for row in rows_of(pictures)]
    for row in rows:
        (tmp_path / row["path"]).write_bytes((pictures.parent / row["path"]).read_bytes())
    manifest = write_manifest(tmp_path, rows)
    done = evaluate(
        manifest, "--cohort-split", "held-out", "--json", str(tmp_path / "o.json"), "--report", str(tmp_path / "r.html")
    )
    assert done.exit_code == 0
    found = json.loads((tmp_path / "o.json").read_text())["evaluation"]
    assert set(found["normalised"]) == {"z", "t", "s", "as"}
    assert found["sizes"]["patients"] == 7
    assert "as-norm" in (tmp_path / "r.html").read_text()
