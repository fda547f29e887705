"""Which images meet in a batch."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.errors import TrainingError
from training.learning.recipe import Sampler
from training.learning.sampler import Batches, batches_per_epoch, pools_of


def _batches(images: list[int], *, patients: int = 3, each: int = 2, singles: int = 0, count: int = 40) -> Batches:
    """Patients with so many images, every other one in pool "a" and "b", each image of its own study."""
    classes = np.repeat(np.arange(len(images)), images)
    names = ["ab"[patient % 2] for patient in classes]
    pools = pools_of(names, [1.0] * len(classes), classes, np.arange(len(classes)))
    return Batches(pools, Sampler(patients=patients, images=each, singles=singles), 7, count)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=8, max_size=30), st.integers(2, 5), st.integers(2, 4), st.integers(0, 3))
def test_a_batch_is_of_one_pool_with_as_many_images_of_each_patient(
    images: list[int], patients: int, each: int, singles: int
) -> None:
    images = [*images, 2, 2, 2, 2]
    batches = _batches(images, patients=patients, each=each, singles=singles)
    owner = np.repeat(np.arange(len(images)), images)
    for number in range(len(batches)):
        draws = batches.batch(number)
        assert draws == batches.batch(number)
        assert len({owner[draw.image] % 2 for draw in draws}) == 1
        counted = Counter(int(owner[draw.image]) for draw in draws if draw.paired)
        assert set(counted.values()) == {each}
        assert 2 <= len(counted) <= patients
        alone = [draw for draw in draws if not draw.paired]
        assert all(images[owner[draw.image]] == 1 for draw in alone)
        assert len(alone) <= singles
        assert len({draw.seed for draw in draws}) == len(draws)


def test_processes_share_every_batch_out() -> None:
    batches = _batches([3] * 16, patients=4)
    shares = [list(batches.shares(5, rank, 2)) for rank in range(2)]
    assert len(shares[0]) == len(shares[1]) == 35
    for number, (left, right) in enumerate(zip(*shares, strict=True), start=5):
        assert sorted(draw.seed for draw in (*left, *right)) == sorted(draw.seed for draw in batches.batch(number))
        assert len(left) == len(right)


def test_every_patient_comes_before_any_comes_again() -> None:
    batches = _batches([2] * 24, patients=4, count=60)
    for pool in (0, 1):
        own = [draws for number in range(60) if (draws := batches.batch(number))[0].image // 2 % 2 == pool]
        for start in range(0, len(own) - 3, 3):
            seen = Counter(draw.image // 2 for draws in own[start : start + 3] for draw in draws)
            assert len(seen) == 12
    assert batches_per_epoch(batches.pools, batches.sampler) == 6


def test_images_of_one_study_are_the_last_choice() -> None:
    # Patient 0: three images of one study, one of another; of two drawn, one is always of each.
    classes, studies = np.array([0] * 4 + [1] * 4), np.array([0, 0, 0, 1, 2, 2, 2, 3])
    pools = pools_of(["a"] * 8, [1.0] * 8, classes, studies)
    batches = Batches(pools, Sampler(patients=2, images=2), 3, 30)
    for number in range(30):
        drawn = [draw.image for draw in batches.batch(number)]
        assert sorted(studies[drawn]) == [0, 1, 2, 3]


def test_pools_with_more_weight_have_more_batches() -> None:
    classes = np.repeat(np.arange(20), 2)
    names = ["a" if owner < 10 else "b" for owner in classes]
    weights = [3.0 if name == "a" else 1.0 for name in names]
    batches = Batches(pools_of(names, weights, classes, np.arange(40)), Sampler(patients=2, images=2), 1, 400)
    share = np.mean([batches.batch(number)[0].image < 20 for number in range(400)])
    assert 0.68 < share < 0.82


def test_a_modality_with_a_single_patient_is_an_error_with_its_name() -> None:
    with pytest.raises(TrainingError, match="films MR") as caught:
        pools_of(["films DX"] * 4 + ["films MR"] * 2, [1.0] * 6, np.array([0, 0, 1, 1, 0, 0]), np.arange(6))
    assert caught.value.reason == "ONE_PATIENT"


def test_patients_of_one_image_alone_make_no_pairs() -> None:
    with pytest.raises(TrainingError) as caught:
        pools_of(["a"] * 4, [1.0] * 4, np.arange(4), np.arange(4))
    assert caught.value.reason == "NO_PAIRS"
