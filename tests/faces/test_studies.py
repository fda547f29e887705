"""The studies of faces: accuracy at another half's threshold, the same-scan shortcut, the ways to fill a batch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.errors import CommandError
from inference.types import Encoding, LoadedSeries, SeriesHeader
from tests.faces.scans import write_nifti
from tests.faces.test_recognition import RECIPE
from tests.imaging.heads import head
from training.cohort.implicit import rotation
from training.evaluation.appraise import METADATA, PIXELS
from training.evaluation.enrolling import flat
from training.evaluation.options import Options
from training.faces.source_domain import SOURCE_SEED
from training.learning.recipe import Recipe, read_recipe, recipe_of, shipped_recipes
from training.learning.run import Hardware
from training.manifests.files import read_manifest, write_manifest
from training.manifests.pairs import keys_of
from training.manifests.schema import Row
from training.studies.embeddings import Candidate
from training.studies.faces import (
    DEPTH_PIXELS,
    FACES_SEED,
    OTHER_VISIT,
    POSE,
    SAME_SCAN,
    DepthPixels,
    Turned,
    from_another_pose,
    in_json,
    scores_of,
    shortcut,
    show,
    study_of,
    turned,
)
from training.studies.groups import GROUPS_SEED, PAIRS, GroupData, compare, pair_of, study_recipe, train_all
from training.studies.nuisances import NUISANCE_SEED
from training.studies.pair_accuracy import verification_accuracy
from training.studies.paired import FPIR, unit

OPTIONS = Options(fpirs=(FPIR,), strata=(), draws=1, rounds=200)


def _tell(stage: str, done: int, total: int) -> None:
    """Tells nobody."""


def _rows(persons: int, visits: int = 2) -> list[Row]:
    return [Row(f"{p}-{v}", f"p{p}", f"day {v}", modality="CT") for p in range(persons) for v in range(visits)]


def _vectors(persons: int, noise: float, seed: int = 0, visits: int = 2) -> np.ndarray:
    """Unit vectors of persons, each visit's with its own noise."""
    rng = np.random.default_rng(seed)
    own = rng.standard_normal((persons, 16)).repeat(visits, axis=0)
    return unit(own + noise * rng.standard_normal(own.shape))


def test_pairs_that_scores_part_are_all_told_right() -> None:
    figure = verification_accuracy(_rows(20), scores_of(_vectors(20, 0.01)), rounds=50)
    assert figure.value == 1.0 and figure.low == figure.high == 1.0 and figure.patients == 20


def test_scores_that_know_nobody_are_worth_a_coin() -> None:
    figure = verification_accuracy(_rows(60), scores_of(_vectors(60, 1e6)), rounds=200)
    assert figure.value is not None and figure.low is not None and figure.high is not None
    assert figure.low < 0.5 < figure.high + 0.05 and abs(figure.value - 0.5) < 0.12


@settings(deadline=None, max_examples=20)
@given(st.integers(4, 14), st.floats(0.0, 4.0), st.integers(0, 99))
def test_accuracy_lies_within_its_interval_and_does_not_care_about_scale(persons: int, noise: float, seed: int) -> None:
    rows, scores = _rows(persons), scores_of(_vectors(persons, noise, seed))
    figure = verification_accuracy(rows, scores, rounds=60)
    again = verification_accuracy(rows, 3.0 * scores + 1.0, rounds=60)
    assert figure.value is not None and 0 <= figure.value <= 1
    assert figure.value == pytest.approx(again.value)
    assert figure.low is not None and figure.high is not None and figure.low <= figure.high


def test_a_half_is_judged_at_the_threshold_of_the_other() -> None:
    persons, rows = 12, _rows(12)
    scores = scores_of(_vectors(persons, 0.01)).astype(np.float32)
    assert verification_accuracy(rows, scores, rounds=0).value == 1.0
    # One half's scores all lie higher: its own threshold would tell its pairs apart, that of the other none of them.
    codes = keys_of(rows).patient
    half = np.random.default_rng(0).permutation(persons) % 2 == 0
    side = half[np.searchsorted(np.unique(codes), codes)]
    scores[np.ix_(side, side)] += 50.0
    assert verification_accuracy(rows, scores, rounds=0).value == pytest.approx(0.5)


def test_images_of_one_visit_are_no_pair() -> None:
    rows = [Row(f"{p}-{n}", f"p{p}", "the day", modality="CT") for p in range(8) for n in range(2)]
    assert verification_accuracy(rows, scores_of(_vectors(8, 0.0)), rounds=0).value is None


def test_what_was_not_enrolled_is_like_nobody() -> None:
    vectors = _vectors(3, 0.0)
    vectors[2] = 0.0
    scores = scores_of(vectors)
    assert (scores[2] == -2.0).all() and (scores[:, 2] == -2.0).all() and scores[0, 1] > 0.99


def test_a_floor_that_knows_scans_and_no_persons_shows_the_shortcut() -> None:
    rng = np.random.default_rng(2)
    frontal = unit(rng.standard_normal((120, 16)))
    posed = unit(frontal + 0.05 * rng.standard_normal(frontal.shape))
    same = {"persons": _vectors(60, 0.0)}
    found = shortcut(_rows(60), {"scans": frontal} | same, {"scans": posed} | same, OPTIONS, _tell)
    scans, persons = (
        {row: one.headline()["rank-1"].value or 0.0 for row, one in found[name].methods.items()}
        for name in ("scans", "persons")
    )
    assert scans[SAME_SCAN] == 1.0 and scans[OTHER_VISIT] < 0.12
    assert persons == {SAME_SCAN: 1.0, OTHER_VISIT: 1.0}
    assert found["scans"].chance == pytest.approx(1 / 60)
    assert found["scans"].methods[SAME_SCAN].difference["rank-1"].low > 0.8  # type: ignore[operator]


def test_a_patient_who_lies_turned_is_the_same_voxels(volume: LoadedSeries) -> None:
    other = turned(volume, POSE)
    assert other.pixels is volume.pixels
    assert volume.affine is not None and other.affine is not None
    step = np.linalg.norm(other.affine[:3, :3], axis=0)
    assert np.allclose(step, volume.spacing) and not np.allclose(other.affine, volume.affine)


def test_the_floor_of_depth_knows_a_head_again_and_its_pose_apart(volume: LoadedSeries) -> None:
    floor = DepthPixels()
    first = floor.encode([volume])[0]
    posed = from_another_pose(floor).encode([volume])[0]
    lying = Turned(floor, POSE).encode([volume])[0]
    assert first is not None and posed is not None and lying is not None
    assert float(first.vector @ lying.vector) > 0.99, "the face was not turned back to its own frame"
    assert float(first.vector @ posed.vector) < 0.99


@pytest.fixture(scope="module")
def volume() -> LoadedSeries:
    return head()


class Projections:
    """An encoder that no camera can be chosen for: it has to be shown a patient who lies turned."""

    name, version, dimension = "projections", "1", 3072

    def accepts(self, series: SeriesHeader) -> bool:
        return True

    def encode(self, images: Sequence[LoadedSeries]) -> Sequence[Encoding | None]:
        return [Encoding(self.name, self.version, one.study_uid, one.series_uid, flat(one)[0], 1.0) for one in images]


def test_a_study_of_volumes_has_every_figure_and_can_be_shown(tmp_path: Path) -> None:
    rows = []
    for person, width in enumerate((64.0, 76.0)):
        for day in (0, 5):
            name = f"{person}-{day}.nii.gz"
            write_nifti(tmp_path / name, head(rotation(0.0, 0.0, 3.0 * day), width))
            rows.append(Row(name, f"p{person}", f"s{person}{day}", modality="CT", days=day))
    write_manifest(tmp_path / "manifest.csv", rows)
    encoders = {"projections": Candidate("test", Projections)}
    found = study_of(read_manifest(tmp_path / "manifest.csv"), encoders, tmp_path / "kept", rounds=20, tell=_tell)
    assert set(found.across.methods) == {"projections", DEPTH_PIXELS, PIXELS, METADATA}
    assert found.across.mated == 4 and found.across.methods[DEPTH_PIXELS].headline()["rank-1"].value == 1.0
    assert set(found.shortcut) == {"projections", DEPTH_PIXELS, PIXELS}
    assert len(show("default", found)) == 2
    assert in_json(found)["same-scan shortcut"][PIXELS]["methods"][SAME_SCAN]["figures"]["rank-1"]["value"] == 1.0


def test_every_way_to_fill_a_batch_has_270_images() -> None:
    assert {images * patients for images, patients in PAIRS} == {270} and len(set(PAIRS)) == 7
    base = study_recipe(read_recipe(Path("face-network")), persons=200, steps=40)
    assert base.sampler.batch == 270 and base.input_spec().size == 112 and base.store.size == 128
    seeds = {source.cohort.seed for source in base.sources if source.cohort}
    assert seeds == {GROUPS_SEED}


def test_nobody_is_trained_on_and_judged_by() -> None:
    recipes = [read_recipe(Path(name)) for name in shipped_recipes()]
    trained = {source.cohort.seed for recipe in recipes for source in recipe.sources if source.cohort}
    assert not trained & {SOURCE_SEED, FACES_SEED, GROUPS_SEED}
    assert len({SOURCE_SEED, FACES_SEED, GROUPS_SEED, NUISANCE_SEED}) == 4


@pytest.mark.parametrize("text", ["15", "x", "15x", "1x90", "15x18x2", "axb"])
def test_what_is_no_way_to_fill_a_batch_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        pair_of(text)
    assert pair_of("15x18") == (15, 18)


@pytest.fixture
def pictures(tmp_path: Path) -> GroupData:
    """Depth images, nearly, of six persons to train on, two to stop by and three to judge on."""
    rng, rows = np.random.default_rng(1), []
    for person in range(11):
        face = cv2.resize(rng.integers(0, 255, (6, 6), np.uint8), (40, 40), interpolation=cv2.INTER_CUBIC)
        split = "train" if person < 6 else "validation" if person < 8 else "test"
        for n in range(6 if split == "train" else 2):
            noisy = np.clip(face + rng.normal(0, 8, face.shape), 0, 255).astype(np.uint8)
            size = 40 if split == "train" else 32
            cv2.imwrite(str(tmp_path / f"{person}-{n}.png"), cv2.merge([noisy[:size, :size]] * 3))
            labels = {"modality": "CT"}
            rows.append(
                Row(f"{person}-{n}.png", f"p{person}", f"day {n % 2}", modality="XC", split=split, labels=labels)
            )
    write_manifest(tmp_path / "faces.csv", rows, ["modality"])
    return GroupData(read_manifest(tmp_path / "faces.csv"), 6)


@pytest.fixture
def base() -> Recipe:
    return recipe_of(RECIPE, "small.toml")


def test_the_ablation_trains_and_judges_each_way_on_the_same_searches(
    tmp_path: Path, pictures: GroupData, base: Recipe
) -> None:
    pairs, out = [(2, 4), (4, 2)], tmp_path / "study"
    said: list[str] = []
    trained = train_all(base, pictures, pairs, out, Hardware("cpu"), _tell, said.append)
    again = train_all(base, pictures, pairs, out, Hardware("cpu"), _tell, said.append)
    assert trained == again and sum("training in" in line for line in said) == 2
    found = compare(trained, pictures.manifest, out, 20, _tell)
    assert list(found.methods) == ["2x4", "4x2", PIXELS]
    assert found.patients == 3 and found.mated == 6
    assert found.methods["4x2"].difference and not found.methods["2x4"].difference


def test_a_batch_of_more_patients_than_there_are_is_refused(tmp_path: Path, pictures: GroupData, base: Recipe) -> None:
    with pytest.raises(CommandError) as refused:
        train_all(base, pictures, PAIRS, tmp_path, Hardware("cpu"), _tell, lambda line: None)
    assert refused.value.reason == "TOO_FEW_PERSONS"
