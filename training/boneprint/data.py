"""Batches of pairs for training, every held-out pair once for validation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
import torch
from lightning import LightningDataModule
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from config.errors import TrainingError
from inference.networks.boneprint_sides import SIDES
from training.boneprint.pairs import PairStore
from training.learning.seeds import seed_of, stream

Numbers = NDArray[np.int64]
Item = dict[str, torch.Tensor]
# Fewer persons to choose from would say nothing.
_LEAST = 2


@dataclass(frozen=True, slots=True, eq=False)
class Persons:
    """Pairs, and the numbers of those who are trained on and of those who decide when to stop."""

    store: PairStore
    trained: Numbers
    held_out: Numbers

    @property
    def digest(self) -> str:
        """Changes when the persons, their pictures or their parts do."""
        parts = (self.store.digest, self.trained.tolist(), self.held_out.tolist())
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def split_persons(store: PairStore, validation: float, seed: int) -> Persons:
    """The share ``validation`` of the persons is held out; drawn by their names.

    Raises
    ------
    TrainingError
        ``SPLIT_EMPTY`` when either part would have fewer than two.
    """
    usable = store.usable
    names = sorted((store.people[place].person, int(place)) for place in usable)
    order = stream(seed, "validation persons").permutation(len(names))
    chosen = [names[place][1] for place in order[: round(validation * len(names))]]
    out = np.isin(usable, chosen)
    trained, held_out = usable[~out], usable[out]
    if min(len(held_out), len(trained)) < _LEAST:
        raise TrainingError(
            f"{len(trained)} persons to train on and {len(held_out)} to validate with: both need {_LEAST}; add "
            "persons, or change source.validation",
            reason="SPLIT_EMPTY",
        )
    return Persons(store, trained, held_out)


class Order(Sampler[list[tuple[int, int]]]):
    """Batches of (place among the persons, seed), no person twice in one; a batch follows from its number alone.

    ``first`` is where a training goes on; :meth:`__len__` counts the batches before it too, as Lightning does.
    """

    def __init__(self, persons: int, batch: int, steps: int, seed: int, first: int) -> None:
        if persons < batch:
            raise TrainingError(
                f"a batch of {batch} persons out of {persons}: lower length.batch, or add persons", reason="SPLIT_EMPTY"
            )
        self._persons, self._batch, self._steps, self._seed, self._first = persons, batch, steps, seed, first

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for number in range(self._first, self._steps):
            yield self.at(number)

    def at(self, number: int) -> list[tuple[int, int]]:
        """The batch of that number."""
        each = self._persons // self._batch
        order = stream(self._seed, "epoch", number // each).permutation(self._persons)
        start = (number % each) * self._batch
        places = order[start : start + self._batch].tolist()
        return [(place, seed_of(self._seed, "item", number, place)) for place in places]

    def __len__(self) -> int:
        return self._steps


class Pairs(Dataset[Item]):
    """Pairs as they are stored: uint8 (3, S, S) of both sides, and the place among ``persons``."""

    def __init__(self, store: PairStore, persons: Sequence[int] | Numbers) -> None:
        self._store, self._persons = store, list(map(int, persons))

    def __len__(self) -> int:
        return len(self._persons)

    def __getitem__(self, drawn: int | tuple[int, int]) -> Item:
        place, seed = drawn if isinstance(drawn, tuple) else (drawn, 0)
        person = self._persons[place]
        found: Item = {side: torch.from_numpy(self._store.pictures(person, side).copy()) for side in SIDES}
        return {**found, "place": torch.tensor(place), "seed": torch.tensor(seed)}


class Learner(Protocol):
    """What the loaders ask of a model: how many batches it has seen."""

    batches_seen: int


class PairBatches(LightningDataModule):
    """Loaders for Lightning. ``train_dataloader`` starts at the first batch that the model has not seen."""

    def __init__(self, persons: Persons, *, batch: int, steps: int, seed: int, workers: int) -> None:
        super().__init__()
        self._train, self._held_out = (Pairs(persons.store, part) for part in (persons.trained, persons.held_out))
        self._batch, self._steps, self._seed, self._workers = batch, steps, seed, workers
        # Whether there are persons enough for a batch is said before anything is trained.
        self._order(0)

    def _order(self, first: int) -> Order:
        return Order(len(self._train), self._batch, self._steps, self._seed, first)

    def train_dataloader(self) -> DataLoader[Item]:
        trainer = self.trainer
        assert trainer is not None
        first = cast(Learner, trainer.lightning_module).batches_seen
        return DataLoader(self._train, batch_sampler=self._order(first), **self._how())

    def val_dataloader(self) -> DataLoader[Item]:
        return DataLoader(self._held_out, batch_size=self._batch, **self._how())

    def _how(self) -> dict[str, Any]:
        return {
            "num_workers": self._workers,
            "pin_memory": torch.cuda.is_available(),
            "persistent_workers": self._workers > 0,
        }
