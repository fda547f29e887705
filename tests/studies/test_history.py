"""Diagnosis with a past: what knows whose the past is gains, what does not gains nothing."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from config.errors import CommandError
from tests.learning.tiny import quiet
from training.manifests.files import write_manifest
from training.manifests.schema import Row
from training.studies.diagnosis import DiagnosisStatistic
from training.studies.history import Outcome, Study, main, measure, usable_labels
from training.studies.paired import unit
from training.studies.past import ORACLE, RANDOM, RETRIEVED, WAYS, Archive, fused, retrieved
from training.studies.persons import FIT, JUDGE, parts_of

PERSONS, VISITS = 120, 4
ILL = "illness"


def archive(*, known: bool, persons: int = PERSONS, seed: int = 1) -> Archive:
    """Illness moves a feature by far less than people differ in it; ``known``: the search embedding is the person's."""
    rng = np.random.default_rng(seed)
    faces, usual = rng.normal(size=(persons, 16)), rng.normal(0, 5, size=(persons, 4))
    rows, search, features = [], [], []
    for person in range(persons):
        start = int(rng.integers(0, 200))
        for visit in range(VISITS):
            ill = int(rng.random() < 0.4)
            days = start + 90 * visit
            rows.append(Row(f"{person}-{visit}", f"p{person}", f"s{visit}", days=days, labels={ILL: str(ill)}))
            search.append((faces[person] if known else 0) + rng.normal(0, 0.3, 16))
            features.append(usual[person] + np.array([2.0 * ill, 0, 0, 0]) + rng.normal(0, 0.2, 4))
    return Archive.of(rows, unit(np.array(search)), np.asarray(features, np.float32), parts_of(rows, 0))


def outcome(study: Study, way: str, k: int) -> Outcome:
    return next(one for one in study.outcomes if (one.way, one.k) == (way, k))


@pytest.fixture(scope="module")
def study() -> Study:
    return measure(archive(known=True), ILL, 2, 0, 200, quiet)


@pytest.mark.parametrize("way", [ORACLE, RETRIEVED])
def test_a_past_that_is_the_patients_own_helps_where_the_label_depends_on_it(study: Study, way: str) -> None:
    gain = outcome(study, way, 1).gain["AUC"]
    assert gain.low is not None and gain.low > 0.1
    assert outcome(study, way, 1).figures["AUC"].value > 0.75  # type: ignore[operator]


def test_a_past_drawn_at_random_does_not_help(study: Study) -> None:
    gain = outcome(study, RANDOM, 2).gain["AUC"]
    assert gain.value is not None and gain.low is not None
    assert gain.value < 0.05
    assert gain.low <= 0.0


def test_retrieval_that_knows_nobody_is_no_better_than_chance() -> None:
    blind = measure(archive(known=False), ILL, 1, 0, 100, quiet)
    gain = outcome(blind, RETRIEVED, 1).gain["AUC"]
    assert gain.low is not None and gain.low <= 0.02
    assert outcome(blind, RETRIEVED, 1).own == pytest.approx(outcome(blind, RANDOM, 1).own or 0, abs=0.05)


def test_whose_the_images_found_are_is_told(study: Study) -> None:
    assert outcome(study, ORACLE, 2).own == 1.0
    assert (outcome(study, RETRIEVED, 1).own or 0) > 0.8
    assert (outcome(study, RANDOM, 1).own or 0) < 0.1
    assert study.outcomes[0].own is None


@pytest.mark.parametrize("way", WAYS)
def test_what_is_found_is_earlier_and_nothing_judged_is_fitted_on(way: str) -> None:
    held = archive(known=True)
    asked = np.arange(len(held.rows))
    found = retrieved(held, asked, 5, way, 0)
    rows, places = np.nonzero(found.images >= 0)
    images = found.images[rows, places]
    assert len(images)
    assert (held.days[images] < held.days[rows]).all()
    assert not ((held.part[rows] == FIT) & (held.part[images] == JUDGE)).any()
    studies = [(row.patient_id, row.study) for row in held.rows]
    assert all(studies[a] != studies[b] for a, b in zip(rows, images, strict=True))


def test_more_images_only_add_to_fewer() -> None:
    held = archive(known=True, persons=30)
    asked = np.arange(len(held.rows))
    for way in WAYS:
        few, many = (retrieved(held, asked, k, way, 0).images for k in (2, 4))
        assert (few == many[:, :2]).all(), way


def test_views_that_are_not_alike_are_nobodys_past() -> None:
    rows = [Row("a", "p", "s0", days=0, view="LL"), Row("b", "p", "s1", days=9, view="PA"),
            Row("c", "p", "s2", days=20, view="AP")]  # fmt: skip
    held = Archive.of(rows, unit(np.ones((3, 4))), np.ones((3, 2), np.float32), parts_of(rows, 0))
    assert held.earlier(1).tolist() == []
    assert held.earlier(2).tolist() == [1]
    assert held.has_past().tolist() == [False, False, True]


def test_without_anything_found_the_past_is_the_present() -> None:
    held = archive(known=True, persons=30)
    first = np.flatnonzero([row.study == "s0" for row in held.rows])[:3]
    features = fused(held, first, retrieved(held, first, 2, ORACLE, 0))
    assert features[:, :4] == pytest.approx(features[:, 4:])


def test_persons_in_both_parts_are_refused_by_name() -> None:
    held = archive(known=True, persons=30)
    held.part[:] = np.where(np.arange(len(held.part)) % 2 == 0, FIT, JUDGE)
    with pytest.raises(CommandError) as refused:
        measure(held, ILL, 1, 0, 0, quiet)
    assert refused.value.reason == "SHARED_PERSONS"


def test_a_label_of_one_value_is_refused_and_not_offered() -> None:
    rows = [Row(f"{n}-{v}", f"p{n}", f"s{v}", days=v, labels={"well": "0"}) for n in range(20) for v in range(2)]
    held = Archive.of(rows, unit(np.ones((40, 3))), np.ones((40, 2), np.float32), parts_of(rows, 0))
    assert usable_labels(held, ["well", "unheard of"], 1) == []
    with pytest.raises(CommandError) as refused:
        measure(held, "well", 1, 0, 0, quiet)
    assert refused.value.reason == "LABEL"


def test_auc_is_that_of_scikit_learn_with_weights() -> None:
    from sklearn.metrics import balanced_accuracy_score, roc_auc_score

    rng = np.random.default_rng(4)
    labels, scores = rng.integers(0, 2, 60), np.round(rng.normal(size=60), 1)
    weights = rng.integers(0, 4, (3, 60)).astype(float)
    drawn = DiagnosisStatistic(labels, scores).drawn(weights)
    for row, auc, balanced in zip(weights, drawn["AUC"], drawn["balanced accuracy"], strict=True):
        assert auc == pytest.approx(roc_auc_score(labels, scores, sample_weight=row))
        assert balanced == pytest.approx(balanced_accuracy_score(labels, scores > 0, sample_weight=row))


def write_films(folder: Path) -> Path:
    """Two visits of 16 persons, and a label that a bright bar shows."""
    rng = np.random.default_rng(5)
    folder.mkdir()
    rows = []
    for person in range(16):
        face = cv2.resize(rng.integers(0, 255, (6, 6), np.uint8), (48, 48)).astype(np.float32)
        for visit in range(2):
            ill = int(rng.random() < 0.5)
            picture = face + rng.normal(0, 5, face.shape)
            picture[20:28] += 90 * ill
            path = f"{person}-{visit}.png"
            assert cv2.imwrite(str(folder / path), np.clip(picture, 0, 255).astype(np.uint8))
            rows.append(Row(path, f"p{person}", f"s{visit}", modality="DX", days=50 * visit, labels={"bar": str(ill)}))
    write_manifest(folder / "manifest.csv", rows, ["bar"])
    return folder / "manifest.csv"


def test_the_command_leaves_a_table_for_each_label(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    films = write_films(tmp_path / "films")
    main(["--manifest", str(films), "--encoder", "general", "--out", str(tmp_path / "out"), "--least", "2",
          "--most", "1", "--rounds", "20"])  # fmt: skip
    assert "bar" in capsys.readouterr().out
    (found,) = json.loads((tmp_path / "out" / "history.json").read_text())
    assert [(one["k"], one["way"]) for one in found["outcomes"]] == [(0, "none"), *((1, way) for way in WAYS)]
