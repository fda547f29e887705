"""What meets in a batch: faces of several visits, or skulls each with the face of *another* visit.

Batch n is a function of the seed and n alone, so that a training can go on anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from config.errors import TrainingError
from inference.types import FloatArray
from training.learning.recipe import Sampler as Sizes
from training.learning.seeds import seed_of, stream
from training.skulls.album import Album, Shown

Batch = dict[str, Tensor]


class FaceBatches(Dataset[Batch]):
    """Batch n of faces: ``images`` uint8 (B, 1, 3, S, S), ``class`` int64 (B,) of the person, ``seed`` int64 (B,).

    A person's pictures are of as many different visits as there are.
    """

    def __init__(self, album: Album, faces: Sequence[Shown], sizes: Sizes, seed: int) -> None:
        self._album, self._seed, self._images = album, seed, sizes.images
        self._people = [own for own in _by_person(faces).values() if len({one.visit for one in own}) > 1]
        if len(self._people) < 2:
            raise _too_few("faces of two visits")
        self._patients = min(sizes.patients, len(self._people))

    @property
    def classes(self) -> int:
        """How many persons there are to tell apart."""
        return len(self._people)

    def __getitem__(self, number: int) -> Batch:
        rng = stream(self._seed, "faces", number)
        chosen = rng.choice(len(self._people), self._patients, replace=False).tolist()
        drawn = [(place, one) for place in chosen for one in _spread(self._people[place], self._images, rng)]
        images = np.stack([self._album.pixels(one) for _, one in drawn])[:, None]
        return {
            "images": torch.from_numpy(images),
            "class": torch.tensor([place for place, _ in drawn]),
            "seed": _seeds(self._seed, "face", number, len(drawn)),
        }


@dataclass(frozen=True, slots=True, eq=False)
class FrozenFaces:
    """Faces as the frozen branch sees them: (n,) pictures and their embeddings float32 (n, D) of unit length."""

    shown: Sequence[Shown]
    vectors: FloatArray


class SkullBatches(Dataset[Batch]):
    """Batch n of skulls: ``images`` as above, each of another person, and ``faces`` float32 (B, D): the embedding of a
    face of that person at another visit, looked up, because the face branch does not change any more.
    """

    def __init__(self, album: Album, skulls: Sequence[Shown], faces: FrozenFaces, patients: int, seed: int) -> None:
        self._album, self._faces, self._seed = album, faces, seed
        self._pairs = [found for own in _by_person(skulls).values() if (found := list(self._pairs_of(own)))]
        if len(self._pairs) < 2:
            raise _too_few("a skull of one visit and a face of another")
        self._patients = min(patients, len(self._pairs))

    def drawn(self, number: int) -> list[tuple[Shown, int]]:
        """The skulls of a batch, each with the place of its face among the frozen ones."""
        rng = stream(self._seed, "skulls", number)
        people = rng.choice(len(self._pairs), self._patients, replace=False).tolist()
        found = []
        for place in people:
            skull, faces = self._pairs[place][int(rng.integers(len(self._pairs[place])))]
            found.append((skull, faces[int(rng.integers(len(faces)))]))
        return found

    def __getitem__(self, number: int) -> Batch:
        drawn = self.drawn(number)
        images = np.stack([self._album.pixels(skull) for skull, _ in drawn])[:, None]
        return {
            "images": torch.from_numpy(images),
            "faces": torch.from_numpy(self._faces.vectors[[face for _, face in drawn]]),
            "seed": _seeds(self._seed, "skull", number, len(drawn)),
        }

    def _pairs_of(self, skulls: Sequence[Shown]) -> Iterator[tuple[Shown, list[int]]]:
        for skull in skulls:
            faces = [
                place
                for place, face in enumerate(self._faces.shown)
                if face.person == skull.person and face.visit != skull.visit
            ]
            if faces:
                yield skull, faces


class From(Sampler[int]):
    """Numbers of batches from ``first`` on. Its length is that of all, because Lightning counts on from a checkpoint's
    own."""

    def __init__(self, first: int, total: int) -> None:
        self._first, self._total = first, total

    def __iter__(self) -> Iterator[int]:
        return iter(range(self._first, self._total))

    def __len__(self) -> int:
        return self._total


def _by_person(shown: Sequence[Shown]) -> Mapping[int, list[Shown]]:
    found: dict[int, list[Shown]] = {}
    for one in shown:
        found.setdefault(one.person, []).append(one)
    return found


def _spread(pictures: Sequence[Shown], count: int, rng: np.random.Generator) -> list[Shown]:
    """So many pictures of a person: one visit after the other, each picture of a visit by chance."""
    visits = rng.permutation(sorted({one.visit for one in pictures})).tolist()
    found = []
    for number in range(count):
        own = [one for one in pictures if one.visit == visits[number % len(visits)]]
        found.append(own[int(rng.integers(len(own)))])
    return found


def _seeds(seed: int, what: str, number: int, count: int) -> Tensor:
    return torch.tensor([seed_of(seed, what, number, place) for place in range(count)])


def _too_few(what: str) -> TrainingError:
    return TrainingError(
        f"fewer than two persons of the training split have {what}: raise phantoms.patients or phantoms.visits",
        reason="NO_PAIRS",
    )
