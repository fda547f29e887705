"""Batches of stored images for training, and every held-out image once for validation, on any number of processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

import numpy as np
import torch
from lightning import LightningDataModule
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from training.learning.catalogue import Image
from training.learning.recipe import Recipe
from training.learning.sampler import Batches, Draw, Pool, pools_of
from training.learning.seeds import stream
from training.learning.store import ImageStore, Record
from training.manifests.pairs import keys_of
from training.manifests.schema import Row

Numbers = NDArray[np.int64]
Item = dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """N usable images of one split: where they lie, and as codes whose and what they are.

    ``rows`` have the modality that the image was found to be of; ``modalities`` are all that there are, and a place
    there is the modality's number. ``classes`` (N,) are what is to be told apart.
    """

    store: ImageStore
    records: Sequence[Record]
    rows: Sequence[Row]
    sources: Sequence[int]
    classes: Numbers
    class_count: int
    modalities: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.records)

    def alike(self, recipe: Recipe) -> list[str]:
        """Of each image, what it shares with those it may be compared with in training: source, and kind of image."""
        if recipe.task != "identity":
            return ["all"] * len(self)
        return [
            " ".join((recipe.sources[source].name, *_kind(row, recipe)))
            for source, row in zip(self.sources, self.rows, strict=True)
        ]

    def pools(self, recipe: Recipe) -> list[Pool]:
        """See :func:`~training.learning.sampler.pools_of`."""
        names = self.alike(recipe)
        weights = [recipe.sources[source].weight for source in self.sources]
        return pools_of(names, weights, self.classes, keys_of(self.rows).study)


def samples_of(
    recipe: Recipe,
    store: ImageStore,
    images: Sequence[Image],
    records: Sequence[Record],
    *,
    kinds: Sequence[str] = (),
    modalities: Sequence[str] = (),
) -> Samples:
    """What can be used of ``images``. Classes are patients, one for each kind of image that is compared, or ``kinds``.

    With ``modalities`` images of all others are left out; without, they are those that are found.
    """
    chosen = [(one, record) for one, record in zip(images, records, strict=True) if not record.refused]
    known = tuple(modalities) or tuple(sorted({record.modality for _, record in chosen}))
    used = [(one, record) for one, record in chosen if record.modality in known]
    rows = [replace(one.row, modality=record.modality) for one, record in used]
    names: list[Any] = [recipe.sources[one.source].label for one, _ in used]
    if recipe.task == "identity":
        names = [(one.patient, _kind(row, recipe)) for (one, _), row in zip(used, rows, strict=True)]
    place = {name: number for number, name in enumerate(kinds or sorted(set(names)))}
    return Samples(
        store=store,
        records=[record for _, record in used],
        rows=rows,
        sources=[one.source for one, _ in used],
        classes=np.array([place[name] for name in names], np.int64),
        class_count=len(place),
        modalities=known,
    )


def _kind(row: Row, recipe: Recipe) -> tuple[str, ...]:
    """What must be the same of two images for them to be compared."""
    from inference.encoders.families import canonical_view

    values = {"modality": row.modality, "view": canonical_view(row.view), "laterality": row.laterality}
    return tuple(values[name] for name in recipe.compare)


class TrainingImages(Dataset[Item]):
    """Stored images as drawn: uint8 (T, 3, size, size), T slices of a volume by chance, in their order.

    T is 1 for images, but ``slices`` for all where volumes and images are ``mixed`` in a batch.
    """

    def __init__(self, samples: Samples, slices: int, mixed: bool) -> None:
        self._samples, self._slices = samples, slices
        self._mixed = mixed and any(record.planes > 1 for record in samples.records)

    def __getitem__(self, draw: Draw) -> Item:
        record = self._samples.records[draw.image]
        planes = self._samples.store.planes(record)
        if record.planes > 1 or self._mixed:
            chosen = stream(draw.seed, "slices").choice(record.planes, self._slices, record.planes < self._slices)
            planes = planes[np.sort(chosen)]
        return _item(planes, record, self._samples.modalities) | {
            "class": torch.tensor(int(self._samples.classes[draw.image])),
            "seed": torch.tensor(draw.seed),
            "paired": torch.tensor(draw.paired),
        }


class HeldOutImages(Dataset[Item]):
    """Stored images as they serve, with their place among the samples."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, place: int) -> Item:
        record = self._samples.records[place]
        planes = self._samples.store.planes(record)
        return _item(planes, record, self._samples.modalities) | {"place": torch.tensor(place)}


def _item(planes: NDArray[np.uint8], record: Record, modalities: tuple[str, ...]) -> Item:
    whole = np.broadcast_to(planes, (len(planes), 3, *planes.shape[2:]))
    return {"images": torch.from_numpy(whole.copy()), "modality": torch.tensor(modalities.index(record.modality))}


class _Shares(Sampler[list[Draw]]):
    def __init__(self, batches: Batches, first: int, rank: int, world: int) -> None:
        self._batches, self._first, self._rank, self._world = batches, first, rank, world

    def __iter__(self) -> Iterator[list[Draw]]:
        return self._batches.shares(self._first, self._rank, self._world)

    def __len__(self) -> int:
        # All, those before the first as well: Lightning counts on from the batches of the checkpoint.
        return len(self._batches)


class _Once(Sampler[list[int]]):
    """Every image in one batch of one process; images of one number of slices together, nothing twice to fill up."""

    def __init__(self, samples: Samples, size: int, rank: int, world: int) -> None:
        depths = np.array([record.planes for record in samples.records])
        order = np.argsort(depths, kind="stable")[rank::world]
        self._batches = [
            part[start : start + size].tolist()
            for depth in np.unique(depths[order])
            for part in [order[depths[order] == depth]]
            for start in range(0, len(part), size)
        ]

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._batches)

    def __len__(self) -> int:
        return len(self._batches)


class Learner(Protocol):
    """What the loaders ask of a model: how many batches it has seen, of all processes together."""

    batches_seen: int


class Images(LightningDataModule):
    """Loaders for Lightning. ``train_dataloader`` starts at the first batch that the model has not seen."""

    def __init__(self, recipe: Recipe, train: Samples, held_out: Samples, batches: Batches, workers: int) -> None:
        super().__init__()
        self._train = TrainingImages(train, recipe.input_spec().slices, recipe.mixed)
        self._held_out, self._batches, self._workers = held_out, batches, workers

    def train_dataloader(self) -> DataLoader[Item]:
        trainer = self.trainer
        assert trainer is not None
        first = cast(Learner, trainer.lightning_module).batches_seen
        shares = _Shares(self._batches, first, trainer.global_rank, trainer.world_size)
        return self._loader(self._train, shares)

    def val_dataloader(self) -> DataLoader[Item]:
        trainer = self.trainer
        assert trainer is not None
        once = _Once(self._held_out, self._batches.sampler.batch, trainer.global_rank, trainer.world_size)
        return self._loader(HeldOutImages(self._held_out), once)

    def _loader(self, images: Dataset[Item], batches: Sampler[Any]) -> DataLoader[Item]:
        return DataLoader(
            images,
            batch_sampler=batches,
            num_workers=self._workers,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self._workers > 0,
        )
