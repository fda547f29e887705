"""Group sampling: subgroups of one patient, different patients in a batch, nothing twice in an epoch."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.faces.groups import GroupBatches, batches_in_epoch, epoch_plan, subgroups
from training.learning.recipe import Sampler
from training.learning.sampler import Pool, pools_of

COUNTS = st.lists(st.integers(2, 40), min_size=2, max_size=12)


def _pools(images: list[int]) -> tuple[list[Pool], np.ndarray]:
    """One pool of patients with so many images, each in two studies, and whose image each is."""
    owners = np.repeat(np.arange(len(images)), images)
    studies = np.concatenate([np.arange(count) % 2 + 2 * patient for patient, count in enumerate(images)])
    return pools_of(["all"] * len(owners), [1.0] * len(owners), owners, studies), owners


def _batches(
    images: list[int], sampler: Sampler, seed: int = 3, epochs: int = 2
) -> tuple[GroupBatches, np.ndarray, int]:
    pools, owners = _pools(images)
    epoch = batches_in_epoch(pools[0], sampler)
    return GroupBatches(pools, sampler, seed, epochs * epoch), owners, epoch


@settings(deadline=None, max_examples=30)
@given(COUNTS, st.integers(2, 8), st.integers(2, 6), st.integers(0, 2**31))
def test_a_batch_is_one_subgroup_of_each_patient(images: list[int], size: int, patients: int, seed: int) -> None:
    batches, owners, _ = _batches(images, Sampler(patients=patients, images=size), seed)
    for number in range(len(batches)):
        draws = batches.batch(number)
        whose = [int(owners[draw.image]) for draw in draws]
        assert len(draws) == size * min(patients, len(images))
        assert set(Counter(whose).values()) == {size}
        assert len({draw.seed for draw in draws}) == len(draws)
        assert all(draw.paired for draw in draws)


@settings(deadline=None, max_examples=30)
@given(COUNTS, st.integers(2, 8), st.integers(2, 6), st.integers(0, 2**31))
def test_no_image_comes_twice_in_an_epoch(images: list[int], size: int, patients: int, seed: int) -> None:
    batches, owners, epoch = _batches(images, Sampler(patients=patients, images=size), seed)
    for first in (0, epoch):
        seen = Counter(draw.image for number in range(first, first + epoch) for draw in batches.batch(number))
        for image, times in seen.items():
            # Only who has fewer images than a subgroup is shown some of them again.
            assert times == 1 or images[owners[image]] < size


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 9), min_size=2, max_size=12), st.integers(2, 6), st.integers(0, 2**31))
def test_an_epoch_has_as_many_batches_as_subgroups_can_fill(counts: list[int], patients: int, seed: int) -> None:
    plan = epoch_plan(counts, patients, np.random.default_rng(seed))
    wanted = min(patients, len(counts))
    # k batches take at most k subgroups of a patient, each in another batch.
    most = max(k for k in range(sum(counts) + 1) if sum(min(count, k) for count in counts) >= k * wanted)
    assert len(plan) == most
    assert all(len({patient for patient, _ in batch}) == wanted for batch in plan)
    used = [turn for batch in plan for turn in batch]
    assert len(set(used)) == len(used)
    assert all(0 <= subgroup < counts[patient] for patient, subgroup in used)


def test_patients_meet_batches_in_proportion_to_their_images() -> None:
    batches, owners, epoch = _batches([60, 60, 30, 30, 30, 30], Sampler(patients=2, images=15), epochs=1)
    met = Counter(int(owners[draw.image]) for number in range(epoch) for draw in batches.batch(number))
    assert epoch == 8
    assert met == {0: 60, 1: 60, 2: 30, 3: 30, 4: 30, 5: 30}


def test_scans_are_shuffled_together() -> None:
    batches, _, epoch = _batches([40] * 4, Sampler(patients=2, images=10), epochs=1)
    mixed = [len({draw.image % 2 for draw in batches.batch(n)[:10]}) == 2 for n in range(epoch)]
    assert all(mixed), "images of one scan alone made a subgroup"


def test_epochs_are_cut_anew_and_a_batch_is_a_function_of_its_number() -> None:
    sampler = Sampler(patients=3, images=5)
    batches, _, epoch = _batches([20] * 6, sampler, epochs=3)
    again, _, _ = _batches([20] * 6, sampler, epochs=3)
    numbers = range(3 * epoch)
    assert [batches.batch(n) for n in numbers] == [again.batch(n) for n in reversed(numbers)][::-1]
    groups = [
        {frozenset(draw.image for draw in batches.batch(n)[k : k + 5]) for n in part for k in (0, 5, 10)}
        for part in (range(epoch), range(epoch, 2 * epoch))
    ]
    assert groups[0] != groups[1]
    assert [draw.seed for draw in batches.batch(0)] != [draw.seed for draw in batches.batch(epoch)]


@pytest.mark.parametrize(("images", "size", "count"), [(90, 15, 6), (100, 15, 6), (14, 15, 1), (180, 90, 2)])
def test_what_does_not_fill_a_subgroup_sits_the_epoch_out(images: int, size: int, count: int) -> None:
    assert subgroups(images, size) == count


def test_processes_share_a_batch_out() -> None:
    batches, _, epoch = _batches([12] * 6, Sampler(patients=4, images=4), epochs=1)
    for number, parts in enumerate(zip(*(batches.shares(0, rank, 2) for rank in (0, 1)), strict=True)):
        assert sorted(draw.seed for part in parts for draw in part) == sorted(d.seed for d in batches.batch(number))
    assert number == epoch - 1
