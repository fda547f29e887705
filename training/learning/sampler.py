"""Which images meet in a batch: K each of P patients, of one pool (source, modality, ...), by number of the batch.

Batch n is a function of the seed and n alone, so a training can go on anywhere, and several processes agree on their
shares without a word. This is why the samplers of pytorch-metric-learning, which draw from one global stream and know
neither pools nor studies, are not used here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from config.errors import TrainingError
from training.learning.recipe import Sampler
from training.learning.seeds import seed_of, stream

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Draw:
    """One place in a batch: the image, the seed of all that is done to it, and whether mates of it are there too."""

    image: int
    seed: int
    paired: bool


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Images that may be compared. ``groups`` are patients with several images, ``singles`` images of all others.

    Of a group, ``images`` and the ``studies`` that they are of.
    """

    name: str
    weight: float
    groups: tuple[tuple[Numbers, Numbers], ...]
    singles: Numbers


def pools_of(names: Sequence[str], weights: Sequence[float], classes: Numbers, studies: Numbers) -> list[Pool]:
    """Pools of N images from the name of each one's pool, its weight, its class and its study.

    Raises
    ------
    TrainingError
        ``ONE_PATIENT`` when a pool has patients with several images, and no second one to tell them from;
        ``NO_PAIRS`` when no patient of any pool has several images.
    """
    pools = [_pool(name, np.flatnonzero(np.asarray(names) == name), weights, classes, studies) for name in
             sorted(set(names))]  # fmt: skip
    lonely = [pool.name for pool in pools if len(pool.groups) + len(pool.singles) == 1]
    if lonely:
        raise TrainingError(
            f"{lonely[0]} has images of a single patient, whom nobody can be told from; add patients, or leave it out "
            "(modalities of the source)",
            reason="ONE_PATIENT",
        )
    usable = [pool for pool in pools if len(pool.groups) > 1]
    if not usable:
        raise TrainingError(
            "there are no two patients with two images or more that may be compared; add studies of known patients",
            reason="NO_PAIRS",
        )
    return usable


@dataclass(frozen=True, slots=True, eq=False)
class Batches:
    """All ``count`` batches of a training."""

    pools: Sequence[Pool]
    sampler: Sampler
    seed: int
    count: int
    _order: Numbers = field(init=False)
    _turn: Numbers = field(init=False)

    def __post_init__(self) -> None:
        share = np.array([pool.weight * len(pool.groups) for pool in self.pools])
        order = stream(self.seed, "pools").choice(len(self.pools), self.count, p=share / share.sum())
        turn = np.zeros(self.count, np.int64)
        for pool in range(len(self.pools)):
            turn[order == pool] = np.arange(int((order == pool).sum()))
        object.__setattr__(self, "_order", order)
        object.__setattr__(self, "_turn", turn)

    def __len__(self) -> int:
        return self.count

    def batch(self, number: int) -> list[Draw]:
        """The images of a batch."""
        pool, turn = int(self._order[number]), int(self._turn[number])
        chosen = self.pools[pool]
        rng = stream(self.seed, "batch", number)
        paired = [
            int(image)
            for group in self._patients(pool, turn)
            for image in _different_studies(*chosen.groups[group], self.sampler.images, rng)
        ]
        alone = rng.permutation(chosen.singles)[: self.sampler.singles].tolist()
        return [
            Draw(image, seed_of(self.seed, number, place), place < len(paired))
            for place, image in enumerate([*paired, *alone])
        ]

    def shares(self, first: int, rank: int, world: int) -> Iterator[list[Draw]]:
        """Of all batches from the ``first`` on what one of ``world`` processes takes: as many as every other."""
        for number in range(first, self.count):
            draws = self.batch(number)
            yield draws[: len(draws) // world * world][rank::world]

    def _patients(self, pool: int, turn: int) -> list[int]:
        """Every patient comes once before any comes again, but for a rest that fills no batch."""
        count, wanted = len(self.pools[pool].groups), self.sampler.patients
        rounds, place = divmod(turn, max(1, count // wanted))
        order = stream(self.seed, "patients", pool, rounds).permutation(count)
        return [int(one) for one in order[place * wanted : (place + 1) * wanted]]


def batches_per_epoch(pools: Sequence[Pool], sampler: Sampler) -> int:
    """How many batches show every patient with several images about once."""
    return sum(max(1, len(pool.groups) // sampler.patients) for pool in pools)


def _pool(name: str, images: Numbers, weights: Sequence[float], classes: Numbers, studies: Numbers) -> Pool:
    owners, starts = np.unique(classes[images], return_inverse=True)
    groups = [images[starts == number] for number in range(len(owners))]
    several = tuple((group, studies[group]) for group in groups if len(group) > 1)
    single = np.array([group[0] for group in groups if len(group) == 1], np.int64)
    return Pool(name, float(weights[int(images[0])]), several, single)


def _different_studies(images: Numbers, studies: Numbers, wanted: int, rng: np.random.Generator) -> Numbers:
    """``wanted`` images, none of a study that was taken while another was not; repeated where there are too few."""
    order = rng.permutation(len(images))
    seen: dict[int, int] = {}
    turns = []
    for place in order:
        study = int(studies[place])
        turns.append(seen.get(study, 0))
        seen[study] = turns[-1] + 1
    ranked = images[order[np.argsort(turns, kind="stable")]]
    return np.resize(ranked, wanted)
