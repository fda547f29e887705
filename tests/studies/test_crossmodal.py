"""Search across modalities: maps that find a planted relation, and find nothing where there is none."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from config.errors import CommandError, EvaluationError
from tests.learning.tiny import quiet
from training.evaluation.appraise import PIXELS
from training.manifests.files import write_manifest
from training.manifests.schema import Role, Row
from training.studies.crossmodal import DIRECT, Side, frontal, main, measure
from training.studies.joins import CCA, JOINS, RIDGE, fitted
from training.studies.paired import Judgement, unit
from training.studies.persons import FIT, JUDGE, parts_of

PERSONS = 160


def sides(rng: np.random.Generator, *, related: bool, noise: float = 0.05, persons: int = PERSONS) -> tuple[Side, Side]:
    """Films and CT of persons: of one anatomy, seen through two linear maps, or of two that have nothing in common."""
    anatomy = rng.normal(size=(persons, 8))
    other = anatomy if related else rng.normal(size=(persons, 8))
    views = rng.normal(size=(8, 24)), rng.normal(size=(8, 16))
    return side(rng, "DX", anatomy @ views[0], noise), side(rng, "CT", other @ views[1], noise)


def side(rng: np.random.Generator, modality: str, faces: np.ndarray, noise: float, visits: int = 2) -> Side:
    rows = [
        Row(f"{modality}{person}-{visit}", f"p{person}", f"{modality} {visit}", modality=modality, days=100 * visit)
        for person in range(len(faces))
        for visit in range(visits)
    ]
    vectors = np.repeat(faces, visits, axis=0)
    vectors = vectors + rng.normal(size=vectors.shape) * noise * np.abs(vectors).mean()
    pixels = unit(rng.normal(size=(len(rows), 3072)))
    return Side(rows, unit(vectors), pixels, parts_of(rows, 0))


def searched(probes: Side, gallery: Side, *, direct: bool = False) -> Judgement:
    return measure(probes, gallery, direct=direct, rounds=200, seed=0, tell=quiet)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_planted_linear_relation_is_found_in_both_directions(reverse: bool) -> None:
    found = searched(*sides(np.random.default_rng(1), related=True)[:: -1 if reverse else 1])
    for name in JOINS:
        one = found.methods[name]
        assert one.measures.closed_set.rank["1"].value is not None
        assert one.measures.closed_set.rank["1"].value > 0.8, name
        gain = one.difference["rank-1"]
        assert gain.low is not None and gain.low > 0.5, name


def test_without_a_relation_every_map_is_at_chance() -> None:
    found = searched(*sides(np.random.default_rng(2), related=False))
    assert found.chance is not None
    for name in (*JOINS, PIXELS):
        ten = found.methods[name].measures.closed_set.rank["10"]
        assert ten.low is not None and ten.high is not None
        assert ten.low - 0.05 <= 10 * found.chance <= ten.high + 0.05, name


def test_one_encoder_is_compared_as_it_is_beside_the_maps() -> None:
    films, scans = sides(np.random.default_rng(3), related=True)
    same = Side(scans.rows, films.vectors, scans.pixels, scans.part)
    found = searched(films, same, direct=True)
    assert found.methods[DIRECT].measures.closed_set.rank["1"].value == 1.0


def test_whoever_is_fitted_on_is_not_judged() -> None:
    films, scans = sides(np.random.default_rng(4), related=True)
    part = scans.part.copy()
    part[:] = np.where(part == FIT, JUDGE, FIT)
    with pytest.raises(CommandError) as refused:
        searched(films, Side(scans.rows, scans.vectors, scans.pixels, part))
    assert refused.value.reason == "SHARED_PERSONS"


def test_a_manifest_whose_split_shares_a_person_is_refused() -> None:
    rows = [Row("a", "p1", "s1", split="train"), Row("b", "p1", "s2", split="test")]
    with pytest.raises(CommandError) as refused:
        parts_of(rows, 0)
    assert refused.value.reason == "SHARED_PERSONS"


def test_images_of_one_study_or_day_are_no_mates() -> None:
    films, scans = sides(np.random.default_rng(5), related=True)
    first = [number for number, row in enumerate(films.rows) if row.days == 0]

    def at_first(one: Side) -> Side:
        rows = [one.rows[number] for number in first]
        return Side(rows, one.vectors[first], one.pixels[first], one.part[first])

    with pytest.raises(CommandError) as nobody:
        searched(at_first(films), at_first(scans))
    assert nobody.value.reason == "TOO_FEW_PERSONS"
    # Fitted on both visits, judged on the first alone.
    kept = np.flatnonzero([row.days == 0 or part == FIT for row, part in zip(films.rows, films.part, strict=True)])
    few = [Side([one.rows[n] for n in kept], one.vectors[kept], one.pixels[kept], one.part[kept])
           for one in (films, scans)]  # fmt: skip
    with pytest.raises(EvaluationError) as refused:
        searched(*few)
    assert refused.value.reason == "NO_MATES"


def test_an_image_without_embedding_is_a_miss_and_no_pair_to_fit_on() -> None:
    films, scans = sides(np.random.default_rng(6), related=True)
    vectors = films.vectors.copy()
    vectors[:] = np.where((np.arange(len(vectors)) % 4 == 0)[:, None], 0, vectors)
    broken = searched(Side(films.rows, vectors, films.pixels, films.part), scans).methods[RIDGE]
    whole = searched(films, scans).methods[RIDGE]
    assert broken.failed == int((~vectors[films.part == JUDGE].any(axis=1)).sum())
    lost = broken.failed / int((films.part == JUDGE).sum())
    rank1 = [one.measures.closed_set.rank["1"].value for one in (broken, whole)]
    assert rank1[0] == pytest.approx((1 - lost) * (rank1[1] or 0), abs=0.1)


def test_distractors_are_enrolled_and_never_searched_for() -> None:
    films, scans = sides(np.random.default_rng(7), related=True)
    strangers = [Row(f"x{n}", f"x{n}", "s", modality="CT", days=5, role=Role.DISTRACTOR) for n in range(50)]
    vectors = unit(np.random.default_rng(8).normal(size=(50, 16)))
    more = Side([*scans.rows, *strangers], np.concatenate([scans.vectors, vectors]),
                np.concatenate([scans.pixels, scans.pixels[:50]]),
                np.concatenate([scans.part, [JUDGE] * 50]))  # fmt: skip
    assert searched(films, more).mated == searched(films, scans).mated
    assert searched(films, more).methods[RIDGE].measures.closed_set.gallery == (
        searched(films, scans).methods[RIDGE].measures.closed_set.gallery + 50
    )


@pytest.mark.parametrize("kind", JOINS)
def test_a_map_is_learnt_from_two_persons_or_more(kind: str) -> None:
    with pytest.raises(CommandError) as refused:
        fitted(kind, np.ones((3, 4), np.float32), np.ones((3, 4), np.float32), np.zeros(3, np.int64))
    assert refused.value.reason == "TOO_FEW_PERSONS"


def test_canonical_variates_are_in_the_order_of_their_worth() -> None:
    """What both sides share decides a similarity; what only one of them has does not."""
    rng = np.random.default_rng(9)
    shared, persons = rng.normal(size=(300, 2)), np.arange(300)
    ours = np.hstack([shared, 3 * rng.normal(size=(300, 6))]).astype(np.float32)
    theirs = np.hstack([3 * rng.normal(size=(300, 6)), shared]).astype(np.float32)
    join = fitted(CCA, ours, theirs, persons)
    same = (join.probes(ours) * join.gallery(theirs)).sum(axis=1)
    others = (join.probes(ours) * np.roll(join.gallery(theirs), 1, axis=0)).sum(axis=1)
    assert same.mean() > 0.8
    assert abs(others.mean()) < 0.1


def test_the_pixel_floor_turns_a_volumes_projection_head_up() -> None:
    picture = np.zeros((32, 32), np.float32)
    picture[:4] = 1
    flat = np.concatenate([picture.ravel(), np.zeros(2048, np.float32)])
    volume = np.concatenate([picture[::-1].ravel(), np.ones(2048, np.float32)])
    shown = frontal(np.stack([flat, volume]))
    assert shown[0] @ shown[1] == pytest.approx(1.0)


def write_films(folder: Path, modality: str, faces: np.ndarray, rng: np.random.Generator) -> Path:
    folder.mkdir()
    rows = []
    for person, face in enumerate(faces):
        for visit in range(2):
            path = f"{person}-{visit}.png"
            noisy = np.clip(face + rng.normal(0, 4, face.shape), 0, 255).astype(np.uint8)
            assert cv2.imwrite(str(folder / path), noisy)
            rows.append(Row(path, f"p{person}", f"{modality}{visit}", modality=modality, days=30 * visit))
    write_manifest(folder / "manifest.csv", rows)
    return folder / "manifest.csv"


def test_the_command_searches_both_ways_and_embeds_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(10)
    faces = [cv2.resize(rng.integers(0, 255, (6, 6), np.uint8), (48, 48)).astype(np.float32) for _ in range(10)]
    films = write_films(tmp_path / "films", "DX", np.stack(faces), rng)
    copies = write_films(tmp_path / "copies", "CR", np.stack(faces)[:, :, ::-1], rng)
    out = tmp_path / "out"
    arguments = ["--probes", str(films), "--gallery", str(copies), "--encoder", "general", "--out", str(out),
                 "--rounds", "20"]  # fmt: skip
    main(arguments)
    assert "films among copies" in capsys.readouterr().out
    found = json.loads((out / "crossmodal.json").read_text())
    assert all({RIDGE, CCA, DIRECT, PIXELS} == set(one["methods"]) for one in found.values())
    kept = {path: path.stat().st_mtime_ns for path in (out / "embeddings").iterdir()}
    main(arguments)
    assert {path: path.stat().st_mtime_ns for path in (out / "embeddings").iterdir()} == kept
