"""The streamed search: every probe against every other patient, block by block, exactly.

Scores are asked for once, in blocks of bounded size; the images of a patient are fused by their maximum; collectors
(``candidates``, ``exceedances``, ``retrieval``, ``distractors``, ``likelihood``) keep what the figures need.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from training.evaluation.options import Options, Progress
from training.evaluation.pairing import left_out, refuse_broken
from training.evaluation.sources import ScoreSource
from training.evaluation.table import Bools, Codes, Floats, Table
from training.manifests.pairs import ANY

# Scores that collectors look at together: they go over them several times, so they should stay in the cache.
_CHUNK_SCORES = 1 << 20
_MOST_PROBES = 512
_MOST_IMAGES = 1 << 16


@dataclass(frozen=True, slots=True, eq=False)
class Gallery:
    """Enrolled patients in the order of the search: those with more images first, so that fusing is a matter of slices.

    ``patients`` (N,) codes; the images of the i-th are ``images[start[i]:start[i + 1]]`` (table rows); ``place`` finds
    a patient code's i, or -1.
    """

    patients: Codes
    images: Codes
    start: Codes
    place: Codes

    @classmethod
    def of(cls, table: Table, rows: Codes) -> Gallery:
        codes, counts = np.unique(table.patient[rows], return_counts=True)
        order = np.lexsort((codes, -counts))
        place = np.full(len(table.patients), -1)
        place[codes[order]] = np.arange(len(codes))
        by_place = np.lexsort((rows, place[table.patient[rows]]))
        return cls(codes[order], rows[by_place], np.append(0, np.cumsum(counts[order])), place)

    def parts(self, images: int) -> Iterator[GalleryPart]:
        """Patients in turn, with about so many images at a time; one patient's images are never parted."""
        first = 0
        while first < len(self.patients):
            last = int(np.searchsorted(self.start, self.start[first] + images, side="right")) - 1
            last = max(last, first + 1)
            counts = np.diff(self.start[first : last + 1])
            slots = tuple(int((counts > slot).sum()) for slot in range(int(counts[0])))
            rows = [self.images[self.start[first : first + n] + slot] for slot, n in enumerate(slots)]
            yield GalleryPart(first, last, np.concatenate(rows), slots)
            first = last


@dataclass(frozen=True, slots=True, eq=False)
class GalleryPart:
    """Patients ``first`` to ``last`` of a gallery; ``images`` are the first image of each, then the second of those who
    have two, and so on: ``slots`` counts them."""

    first: int
    last: int
    images: Codes
    slots: tuple[int, ...]

    def offsets(self) -> tuple[int, ...]:
        return tuple(int(n) for n in np.cumsum((0, *self.slots[:-1])))


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Scores of some probes against some patients, none of them the probe's own.

    probes
        (r,) which probes: they count the probes of the search. They are the ``rows`` of those last started.
    part
        which patients and images.
    images
        float64 (r, g); -inf where the pair is not compared.
    patients
        float64 (r, n): the best of each patient's images; -inf where none is compared.
    """

    probes: Codes
    rows: slice
    part: GalleryPart
    images: Floats
    patients: Floats


class Collector:
    """Keeps something of the blocks that pass: all blocks of some probes come between one start and one finish."""

    def start(self, probes: Codes) -> None:
        """``probes`` count the probes of the search."""

    def add(self, block: Block) -> None:
        raise NotImplementedError

    def finish(self) -> None:
        """The probes of the last start have met their whole gallery."""


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """Probes (they count the probes of the search) that are compared with one gallery."""

    probes: Codes
    gallery: Gallery


def search(
    table: Table,
    source: ScoreSource,
    probes: Codes,
    tiles: Sequence[Tile],
    collectors: Sequence[Collector],
    options: Options,
    progress: Progress,
    *,
    stage: str = "searches",
    most_probes: int = _MOST_PROBES,
) -> None:
    """Shows every score of the tiles to the collectors.

    Parameters
    ----------
    probes
        (P,) table rows of all probes of the search.
    most_probes
        a collector's wish for how many probes come together.

    Raises
    ------
    EvaluationError
        ``NOT_FINITE`` for a NaN or infinite score of a pair that is compared.
    """
    total, done = sum(len(tile.probes) for tile in tiles), 0
    for tile in tiles:
        step = max(1, min(most_probes, _MOST_PROBES, len(tile.probes)))
        for begin in range(0, len(tile.probes), step):
            some = tile.probes[begin : begin + step]
            width = max(1, min(_MOST_IMAGES, options.block_scores // len(some)))
            for collector in collectors:
                collector.start(some)
            for part in tile.gallery.parts(width):
                for block in _blocks(table, source, probes, some, tile.gallery, part, options):
                    for collector in collectors:
                        collector.add(block)
            for collector in collectors:
                collector.finish()
            done += len(some)
            progress(stage, done, total)


def _blocks(
    table: Table,
    source: ScoreSource,
    probes: Codes,
    some: Codes,
    gallery: Gallery,
    part: GalleryPart,
    options: Options,
) -> Iterator[Block]:
    rows = probes[some]
    scores = source.block(rows, part.images)
    # Other patients have other studies: without a further rule, only the own patient's images are left out.
    ignored = None if options.rule == ANY else left_out(table, rows, part.images, options)
    step = max(1, _CHUNK_SCORES // len(part.images))
    for begin in range(0, len(some), step):
        chunk = slice(begin, begin + step)
        images = scores[chunk]
        own = _own(gallery.place[table.patient[rows[chunk]]], part)
        _refuse_broken(images, own, None if ignored is None else ignored[chunk])
        if ignored is not None:
            images[ignored[chunk]] = -np.inf
        images[own] = -np.inf
        yield Block(some[chunk], chunk, part, images, _fuse(images, part))


def _own(places: Codes, part: GalleryPart) -> tuple[Codes, Codes]:
    """Where in a block probes meet their own patient: rows and columns."""
    rows, columns = [], []
    for offset, n in zip(part.offsets(), part.slots, strict=True):
        mine = np.flatnonzero((places >= part.first) & (places < part.first + n))
        rows.append(mine)
        columns.append(places[mine] - part.first + offset)
    return np.concatenate(rows), np.concatenate(columns)


def _refuse_broken(images: Floats, own: tuple[Codes, Codes], ignored: Bools | None) -> None:
    if not np.isfinite(images.sum()):
        all_ignored = np.zeros(images.shape, bool) if ignored is None else ignored.copy()
        all_ignored[own] = True
        refuse_broken(images, all_ignored)


def _fuse(images: Floats, part: GalleryPart) -> Floats:
    first = images[:, : part.slots[0]]
    if len(part.slots) == 1:
        return first
    fused = first.copy()
    for offset, n in zip(part.offsets()[1:], part.slots[1:], strict=True):
        np.maximum(fused[:, :n], images[:, offset : offset + n], out=fused[:, :n])
    return fused
