"""``medreid identify-skull`` with a toy bundle: a list of leads, and every way to be refused."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from config.errors import CommandError, EncoderError, ImagingError, MedReIDError
from dicom_node.cli.app import command_line
from dicom_node.skulls import search
from inference.calibration import fit_calibration, to_json
from tests.cohort.conftest import STILL
from tests.skulls.conftest import ToyRun
from tests.skulls.toy import TINY
from training.cohort.dicom_ct import write_head_ct
from training.cohort.person import person
from training.cohort.skull_film import skull_films
from training.cohort.visit import visit
from training.recipes.bundles import name_calibration, put_file

HOSTILE = "<script>alert(1)</script>&.png"


@pytest.fixture
def home(toy_run: ToyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: None) -> Path:
    """A site whose bundle folder holds the toy."""
    monkeypatch.setenv("MEDREID_HOME", str(tmp_path / "home"))
    shutil.copytree(toy_run.outcome.bundle, tmp_path / "home" / "bundles" / "skull-face")
    return tmp_path


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    who = person(7758, 30)
    shown = skull_films(who, visit(who, 0, TINY), ("PA",))[0]
    path = tmp_path_factory.mktemp("query") / "skull.png"
    cv2.imwrite(str(path), (shown.image.astype(np.uint32) * 16).astype(np.uint16))
    return path


def photograph(path: Path, number: int, grey: bool = False) -> None:
    """A smooth picture of its own colours."""
    coarse = np.random.default_rng(number).integers(0, 256, (5, 4, 1 if grey else 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.resize(coarse, (80, 100), interpolation=cv2.INTER_CUBIC))


def gallery_in(folder: Path) -> Path:
    for number in range(4):
        photograph(folder / f"{number}.png", number)
    photograph(folder / "below" / HOSTILE, 4)
    photograph(folder / "old.jpg", 5, grey=True)
    return folder


def identify(query: Path, gallery: Path, *arguments: str) -> Result:
    done = CliRunner().invoke(command_line(), ["identify-skull", str(query), "--gallery", str(gallery), *arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit | MedReIDError):
        raise done.exception
    return done


def refusal(done: Result) -> MedReIDError:
    assert isinstance(done.exception, MedReIDError)
    return done.exception


def test_a_list_of_leads_with_chance_beside_it(home: Path, film: Path) -> None:
    gallery = gallery_in(home / "gallery")
    done = identify(film, gallery, "--top", "3", "--html", str(home / "l.html"), "--json", str(home / "l.json"))
    assert done.exit_code == 0
    assert search.WORDS in done.stdout
    found = json.loads((home / "l.json").read_text())
    assert (found["searched"], found["chance"]) == (6, {"on_the_list": 0.5, "first": pytest.approx(1 / 6)})
    assert [one["rank"] for one in found["leads"]] == [1, 2, 3]
    sure = [one["confidence"] for one in found["leads"]]
    assert sure == sorted(sure, reverse=True)
    assert all(np.exp(-4) <= one <= 1 for one in sure)
    assert all(one["log10_lr"] is None for one in found["leads"])
    assert "50.0%" in done.stdout
    assert "not calibrated" in done.stdout


def test_the_page_is_self_contained_and_says_what_it_is(home: Path, film: Path) -> None:
    gallery = gallery_in(home / "gallery")
    identify(film, gallery, "--html", str(home / "leads.html"))
    page = (home / "leads.html").read_text()
    assert page.count(search.WORDS) == 3
    assert page.count("data:image/png;base64,") == 2 + 6
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&amp;.png" in page
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:)""", page)
    assert "default-src 'none'" in page


def test_embeddings_are_made_once_and_anew_for_another_model(
    home: Path, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = gallery_in(home / "gallery")
    identify(film, gallery, "--json", str(home / "first.json"))
    (folder,) = (gallery / ".medreid-skulls").iterdir()
    kept = sorted(folder.iterdir())
    assert len(kept) == 6
    assert {file.stat().st_mode & 0o077 for file in kept} == {0}
    with monkeypatch.context() as patch:
        patch.setattr(search, "load_face", lambda face: pytest.fail(f"{face.name} was embedded again"))
        identify(film, gallery, "--json", str(home / "second.json"))
    assert (home / "first.json").read_text() == (home / "second.json").read_text()
    # A face that moved is the same face; one that changed is another; damage is mended.
    (gallery / "0.png").rename(gallery / "moved.png")
    photograph(gallery / "1.png", 77)
    kept[0].write_bytes(b"damaged")
    identify(film, gallery)
    assert len(list(folder.iterdir())) == 7
    assert len(kept[0].read_bytes()) > 32
    bundle = home / "home" / "bundles" / "skull-face" / "bundle.toml"
    bundle.write_text(bundle.read_text().replace('version = "0.1"', 'version = "0.2"'))
    identify(film, gallery, "--cache", str(home / "cache"))
    assert len(list((home / "cache").glob("skull-face-0.2-*/*.npy"))) == 6


def test_one_face_under_several_names_is_one_candidate_and_reported(home: Path, film: Path) -> None:
    gallery = gallery_in(home / "gallery")
    shutil.copy(gallery / "2.png", gallery / "again.png")
    cv2.imwrite(str(gallery / "stored anew.png"), cv2.imread(str(gallery / "2.png")), [cv2.IMWRITE_PNG_COMPRESSION, 0])
    done = identify(film, gallery, "--json", str(home / "l.json"), "--html", str(home / "l.html"))
    found = json.loads((home / "l.json").read_text())
    assert found["searched"] == 6
    assert found["twice"] == [["2.png", "again.png", "stored anew.png"]]
    assert "one face under several names" in done.stderr
    assert "One face under several names" in (home / "l.html").read_text()


def test_what_cannot_be_searched_is_named_and_the_rest_is(home: Path, film: Path) -> None:
    gallery = gallery_in(home / "gallery")
    whole = (gallery / "3.png").read_bytes()
    (gallery / "3.png").write_bytes(whole[: len(whole) // 2])
    (gallery / "notes.txt").write_text("none")
    done = identify(film, gallery, "--json", str(home / "l.json"))
    found = json.loads((home / "l.json").read_text())
    assert found["refused"] == [
        {"name": "notes.txt", "reason": "UNKNOWN_FORMAT"},
        {"name": "3.png", "reason": "UNDECODABLE_PIXELS"},
    ]
    assert found["searched"] == 5
    assert "3.png [UNDECODABLE_PIXELS]" in done.stderr
    assert any("2 files could not be searched" in line for line in found["statements"])


def test_the_querys_own_picture_is_no_candidate(home: Path, film: Path) -> None:
    gallery = gallery_in(home / "gallery")
    shutil.copy(film, gallery / "the query itself.png")
    identify(film, gallery, "--json", str(home / "l.json"))
    found = json.loads((home / "l.json").read_text())
    assert found["refused"] == [{"name": "the query itself.png", "reason": "SAME_STUDY"}]


def test_an_empty_gallery_is_refused(home: Path, film: Path) -> None:
    (home / "gallery").mkdir()
    error = refusal(identify(film, home / "gallery"))
    assert isinstance(error, CommandError)
    assert error.reason == "GALLERY_EMPTY"


@pytest.mark.parametrize("missing", ["query", "gallery"])
def test_what_is_not_there_is_named(home: Path, film: Path, missing: str) -> None:
    gallery = gallery_in(home / "gallery")
    paths = {"query": film, "gallery": gallery} | {missing: home / "nowhere"}
    assert refusal(identify(paths["query"], paths["gallery"])).reason == "NOT_FOUND"


def test_a_query_that_cannot_be_read_is_refused(home: Path, film: Path) -> None:
    broken = home / "broken.png"
    broken.write_bytes(film.read_bytes()[:200])
    error = refusal(identify(broken, gallery_in(home / "gallery")))
    assert isinstance(error, ImagingError)
    assert error.reason == "UNDECODABLE_PIXELS"


def test_a_query_without_a_skull_is_refused(home: Path) -> None:
    flat = home / "flat.png"
    cv2.imwrite(str(flat), np.tile(np.array([[0, 255]], np.uint8), (64, 32)))
    assert refusal(identify(flat, gallery_in(home / "gallery"))).reason == "NO_SURFACE"


def test_without_a_bundle_it_says_where_one_comes_from(home: Path, film: Path) -> None:
    shutil.rmtree(home / "home" / "bundles")
    error = refusal(identify(film, gallery_in(home / "gallery")))
    assert error.reason == "NO_BUNDLE"
    assert "training.skulls" in str(error)


def test_an_encoder_of_another_kind_is_refused(home: Path, film: Path) -> None:
    error = refusal(identify(film, gallery_in(home / "gallery"), "--encoder", "ct-face"))
    assert error.reason == "ENCODER_KIND"


def test_a_damaged_bundle_is_refused(home: Path, film: Path) -> None:
    (home / "home" / "bundles" / "skull-face" / "face.safetensors").write_bytes(b"")
    error = refusal(identify(film, gallery_in(home / "gallery")))
    assert isinstance(error, EncoderError)
    assert error.reason == "BUNDLE_DAMAGED"


def test_a_page_for_a_folder_that_is_not_there_is_refused_before_any_work(home: Path, film: Path) -> None:
    gallery = gallery_in(home / "gallery")
    assert isinstance(refusal(identify(film, gallery, "--html", str(home / "no" / "l.html"))), CommandError)
    assert not (gallery / ".medreid-skulls").exists()


def test_a_calibrated_encoder_says_what_a_lead_is_worth(home: Path, film: Path) -> None:
    rng = np.random.default_rng(1)
    mated, others = rng.normal(0.5, 0.2, 300).clip(-1, 1), rng.normal(0.0, 0.2, 3000).clip(-1, 1)
    found = fit_calibration(
        mated, others, encoder="skull-face", version="0.1", scope="phantom", fitted_on="draws", patients=300
    )
    folder = home / "home" / "bundles" / "skull-face"
    put_file(folder, "calibration.json", to_json(found).encode())
    name_calibration(folder, "calibration.json")
    done = identify(film, gallery_in(home / "gallery"), "--json", str(home / "l.json"), "--html", str(home / "l.html"))
    leads = json.loads((home / "l.json").read_text())["leads"]
    worth = [one["log10_lr"] for one in leads]
    assert worth == sorted(worth, reverse=True)
    assert all(abs(one) <= found.largest_log10_lr for one in worth)
    assert "not calibrated" not in done.stdout
    assert (home / "l.html").read_text().count("log10 LR") == len(leads)


@pytest.mark.slow
def test_a_skull_in_ct_is_searched_among_faces_in_ct(home: Path) -> None:
    """Series in folders of their own; the scan that the query is of is none of them."""
    manifest = home / "home" / "bundles" / "skull-face" / "bundle.toml"
    both = manifest.read_text().replace('["film"]', '["film", "bone-depth"]').replace('["photo"]', '["skin-depth"]')
    manifest.write_text(both)
    for number in (1, 2):
        who = person(7758, number)
        for day in (0, 1) if number == 1 else (0,):
            write_head_ct(home / "gallery" / f"{number}-{day}", who, visit(who, day, STILL))
    done = identify(home / "gallery" / "1-0", home / "gallery", "--json", str(home / "l.json"),
                    "--html", str(home / "l.html"))  # fmt: skip
    assert done.exit_code == 0
    found = json.loads((home / "l.json").read_text())
    assert found["kind"] == "bone-depth"
    assert found["refused"] == [{"name": "1-0", "reason": "SAME_STUDY"}]
    assert sorted(one["name"] for one in found["leads"]) == ["1-1", "2-0"]
    assert (home / "l.html").read_text().count("data:image/png;base64,") == 4
