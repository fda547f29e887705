"""Pictures of pairs: made once, in their order, and from where the making was cut off."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from config.errors import TrainingError
from inference.encoders.inputs import InputSpec
from inference.networks.boneprint_sides import SIDES, Side
from tests.boneprint.tiny import SIZE, pair
from training.boneprint.data import Order, split_persons
from training.boneprint.making import PhantomJob, manifest_jobs, phantom_jobs, small_dials
from training.boneprint.pairs import Made, PairStore, Someone
from training.cohort.nuisance import dials_of
from training.manifests.files import read_manifest, write_manifest
from training.manifests.schema import Row

SPEC = InputSpec(size=SIZE, fit="stretch")


@dataclass(frozen=True)
class Drawn:
    """Pictures of a number; ``made`` counts those that were really made."""

    number: int
    word: str = ""
    made: ClassVar[list[int]] = []

    @property
    def key(self) -> str:
        return f"{self.number} {self.word}"

    def make(self) -> Made:
        self.made.append(self.number)
        if self.number == 3:
            return Made(Someone("p3", refused="FLAT"), np.zeros((0, 0, 0), np.uint8))
        radiograph, rendering = pair(self.number)
        pictures = np.concatenate([radiograph[None], rendering.transpose(2, 0, 1)])
        return Made(Someone(f"p{self.number}", "F", 40.5), pictures)


@pytest.fixture(autouse=True)
def _nothing_made() -> Iterator[None]:
    Drawn.made.clear()
    yield


def quiet(done: int, total: int) -> None:
    """Tells nobody."""


def filled(folder: Path, count: int) -> PairStore:
    store = PairStore(folder, SIZE)
    store.fill([Drawn(number) for number in range(count)], 1, quiet)
    return store


def test_a_person_keeps_both_pictures_as_they_were_made(tmp_path: Path) -> None:
    store = filled(tmp_path, 6)
    radiograph, rendering = pair(4)
    assert (store.pictures(4, "radiograph") == radiograph).all()
    assert (store.pictures(4, "rendering") == rendering.transpose(2, 0, 1)).all()
    assert store.people[4] == Someone("p4", "F", 40.5)
    assert store.usable.tolist() == [0, 1, 2, 4, 5]
    assert not store.pictures(3, "rendering").any()


def test_nothing_is_made_twice_and_more_persons_are_added_behind(tmp_path: Path) -> None:
    few = filled(tmp_path, 4)
    Drawn.made.clear()
    more = filled(tmp_path, 7)
    assert Drawn.made == [4, 5, 6]
    assert filled(tmp_path, 4).digest == few.digest != more.digest
    assert Drawn.made == [4, 5, 6]
    assert (more.pictures(6, "radiograph") == pair(6)[0]).all()


@pytest.mark.parametrize("lost", [1, 40])
def test_cut_off_while_writing_it_goes_on_with_what_is_whole(tmp_path: Path, lost: int) -> None:
    filled(tmp_path, 6)
    journal = tmp_path / "persons.jsonl"
    os.truncate(journal, journal.stat().st_size - lost)
    Drawn.made.clear()
    store = filled(tmp_path, 6)
    assert Drawn.made == [5]
    assert (store.pictures(5, "radiograph") == pair(5)[0]).all()
    assert len(journal.read_text().splitlines()) == 6


def test_pictures_that_are_missing_are_made_again_whatever_the_journal_says(tmp_path: Path) -> None:
    filled(tmp_path, 6)
    records = tmp_path / "pictures.u8"
    os.truncate(records, records.stat().st_size - 5)
    Drawn.made.clear()
    assert (filled(tmp_path, 6).pictures(5, "rendering") == pair(5)[1].transpose(2, 0, 1)).all()
    assert Drawn.made == [5]


def test_a_folder_of_other_persons_is_not_overwritten(tmp_path: Path) -> None:
    filled(tmp_path, 3)
    with pytest.raises(TrainingError) as caught:
        PairStore(tmp_path, SIZE).fill([Drawn(0, "other")], 1, quiet)
    assert caught.value.reason == "DATA_CHANGED"
    assert json.loads((tmp_path / "persons.jsonl").read_text().splitlines()[0])["person"] == "p0"


def test_held_out_persons_are_the_same_whoever_is_asked_and_nobody_is_both(tmp_path: Path) -> None:
    persons = split_persons(filled(tmp_path, 12), 0.3, 5)
    again = split_persons(filled(tmp_path, 12), 0.3, 5)
    assert persons.held_out.tolist() == again.held_out.tolist()
    assert persons.digest == again.digest
    assert len(persons.held_out) == 3
    assert sorted([*persons.trained, *persons.held_out]) == [0, 1, 2, *range(4, 12)]
    with pytest.raises(TrainingError) as caught:
        split_persons(filled(tmp_path, 2), 0.3, 5)
    assert caught.value.reason == "SPLIT_EMPTY"


def test_a_batch_follows_from_its_number_and_names_nobody_twice() -> None:
    whole = list(Order(10, 4, 7, 5, 0))
    assert list(Order(10, 4, 7, 5, 3)) == whole[3:]
    for batch in whole:
        assert len({place for place, _ in batch}) == 4
    epoch = [place for batch in whole[:2] for place, _ in batch]
    assert len(set(epoch)) == 8, "an epoch shows nobody twice"
    seeds = [seed for batch in whole for _, seed in batch]
    assert len(set(seeds)) == len(seeds)


def test_a_phantom_is_seen_on_two_days_from_two_sides() -> None:
    job = PhantomJob(7799, 1, InputSpec(size=64, fit="letterbox"))
    made = job.make()
    assert made.pictures.shape == (4, 64, 64)
    assert made.who.person == "PH-7799-00001"
    assert made.who.sex in "FM"
    assert made.who.age is not None
    assert made.who.age >= 18
    alone = PhantomJob(7799, 1, job.spec, sides=("radiograph",)).make()
    assert (alone.pictures == made.pictures[:1]).all(), "a distractor's radiograph is like anybody's"
    correlation = np.corrcoef(made.pictures[0].ravel(), made.pictures[1:].mean(0).ravel())[0, 1]
    assert correlation < 0.9, "a rendering is no radiograph"


def test_what_the_node_renders_of_a_ct_is_of_the_same_person_framed_otherwise() -> None:
    jobs = phantom_jobs(2, 7799, InputSpec(size=64, fit="letterbox"), sides=("rendering",), renderings="mixed")
    assert [job.rendering for job in jobs] == ["capture", "ct"]
    made = jobs[1].make()
    assert made.who.refused == ""
    assert made.pictures.shape == (3, 64, 64)
    assert 0.1 < (made.pictures.max(axis=0) > 20).mean() < 0.95, "bones on black"


def test_jobs_of_other_persons_dials_or_pictures_have_other_keys() -> None:
    jobs = [
        *phantom_jobs(2, 7799, SPEC),
        *phantom_jobs(1, 7798, SPEC),
        *phantom_jobs(1, 7799, SPEC, "unseen"),
        *phantom_jobs(1, 7799, InputSpec(size=64)),
        *phantom_jobs(1, 7799, SPEC, sides=("radiograph",)),
        *phantom_jobs(1, 7799, SPEC, renderings="ct"),
    ]
    assert len({job.key for job in jobs}) == len(jobs)


def test_small_dials_change_the_size_of_pictures_and_nothing_of_persons() -> None:
    dials = dials_of("default")
    small = small_dials(dials, 256)
    assert small.chest_film.breath == dials.chest_film.breath
    assert small.chest_film.matrix == (320, 320)
    assert small.bone_view.size == (320,)
    assert small.bone_view.arms_down == 0
    assert small.bone_view.camera_yaw_sd == dials.bone_view.camera_yaw_sd


def test_pairs_of_a_manifest_are_of_two_studies(manifest: Path, tmp_path: Path) -> None:
    jobs = manifest_jobs(read_manifest(manifest), SPEC)
    assert len(jobs) == 20
    made = jobs[7].make()
    assert made.pictures.shape == (4, SIZE, SIZE)
    assert (made.who.person, made.who.sex, made.who.age) == ("|p7", "M", 37.0)

    rows = [
        Row("a.png", "p", "one", modality="DX"),
        Row("b.png", "p", "one", modality="CT"),
        Row("c.png", "q", "one", modality="DX"),
        Row("d.png", "q", "two", modality="MR"),
    ]
    write_manifest(tmp_path / "manifest.csv", rows)
    with pytest.raises(TrainingError, match="different studies"):
        manifest_jobs(read_manifest(tmp_path / "manifest.csv"), SPEC)


def test_a_picture_that_cannot_be_used_is_a_refusal(manifest: Path, tmp_path: Path) -> None:
    rows = [Row("a.png", "p", "one", modality="DX"), Row("b.png", "p", "two", modality="CT", view="BONE")]
    write_manifest(tmp_path / "manifest.csv", rows)
    (job,) = manifest_jobs(read_manifest(tmp_path / "manifest.csv"), SPEC)
    assert job.make().who.refused == "MISSING_FILE"
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes((manifest.parent / "0-r.png").read_bytes())
    assert job.make().who.refused == "TOO_FEW_SLICES", "a picture said to be of CT is a slice, and no rendering"


def test_a_store_of_one_side_holds_no_other(tmp_path: Path) -> None:
    sides: tuple[Side, ...] = SIDES[:1]
    store = PairStore(tmp_path, 64, sides)
    store.fill(phantom_jobs(1, 7799, InputSpec(size=64, fit="letterbox"), sides=sides), 1, quiet)
    assert store.pictures(0, "radiograph").shape == (3, 64, 64)
    with pytest.raises(ValueError, match="no renderings"):
        store.pictures(0, "rendering")
