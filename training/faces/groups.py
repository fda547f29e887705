"""Group sampling: each patient's depth images, of all scans together, in random subgroups; one subgroup a batch.

In every epoch the images of each patient are shuffled and cut into subgroups of E (``sampler.images``). A batch holds
one subgroup each of L patients (``sampler.patients``), and no subgroup comes twice in an epoch: within an epoch it is
P x K sampling without replacement. A patient with more images has more subgroups and meets more batches, in proportion.

Batches take the patients that have most subgroups left, by lot where several have as many. No other order makes more
batches: as many as k can be made exactly if the patients' subgroups, k at most of each, fill k batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from training.learning.recipe import Sampler
from training.learning.sampler import Batches, Draw, Pool
from training.learning.seeds import seed_of, stream

# A patient's number in the pool, and which of the patient's subgroups.
Turn = tuple[int, int]


def subgroups(images: int, size: int) -> int:
    """How many subgroups so many images make; one, with repetitions, where they do not fill any."""
    return max(1, images // size)


def epoch_plan(counts: Sequence[int], patients: int, rng: np.random.Generator) -> list[list[Turn]]:
    """The batches of an epoch for patients with ``counts`` subgroups: ``patients`` in each, or all if they are fewer.

    What is left when too few patients have subgroups sits the epoch out.
    """
    left = np.array(counts, np.int64)
    wanted = min(patients, len(left))
    batches: list[list[Turn]] = []
    while wanted and int((left > 0).sum()) >= wanted:
        chosen = np.lexsort((rng.random(len(left)), -left))[:wanted]
        left[chosen] -= 1
        batches.append([(int(patient), int(left[patient])) for patient in chosen])
    return [batches[place] for place in rng.permutation(len(batches))]


def batches_in_epoch(pool: Pool, sampler: Sampler) -> int:
    """How many batches :func:`epoch_plan` makes of a pool, in every epoch."""
    counts = np.array([subgroups(len(images), sampler.images) for images, _ in pool.groups])
    wanted = min(sampler.patients, len(counts))
    batches = 0
    while np.minimum(counts, batches + 1).sum() >= (batches + 1) * wanted:
        batches += 1
    return batches


@dataclass(frozen=True, slots=True, eq=False)
class GroupBatches(Batches):
    """All ``count`` batches of a training by group sampling: a function of the seed and a batch's number alone."""

    def batch(self, number: int) -> list[Draw]:
        """The images of a batch, subgroup by subgroup."""
        pool, turn = int(self._order[number]), int(self._turn[number])
        own = self.pools[pool]
        counts = tuple(subgroups(len(images), self.sampler.images) for images, _ in own.groups)
        epoch, place = divmod(turn, _batches(counts, self.sampler.patients))
        drawn = [
            image
            for patient, subgroup in _plan(counts, self.sampler.patients, self.seed, pool, epoch)[place]
            for image in self._images(pool, epoch, patient, subgroup)
        ]
        return [Draw(image, seed_of(self.seed, number, place), True) for place, image in enumerate(drawn)]

    def _images(self, pool: int, epoch: int, patient: int, subgroup: int) -> list[int]:
        images = self.pools[pool].groups[patient][0]
        shuffled = stream(self.seed, "subgroups", pool, epoch, patient).permutation(images)
        size = self.sampler.images
        part = shuffled[subgroup * size : (subgroup + 1) * size]
        return [int(image) for image in np.resize(part, size)]


@lru_cache(maxsize=8)
def _plan(counts: tuple[int, ...], patients: int, seed: int, pool: int, epoch: int) -> list[list[Turn]]:
    return epoch_plan(counts, patients, stream(seed, "epoch", pool, epoch))


@lru_cache(maxsize=8)
def _batches(counts: tuple[int, ...], patients: int) -> int:
    return len(epoch_plan(counts, patients, np.random.default_rng(0)))
