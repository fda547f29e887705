"""The distractor curve: the same probes in random galleries that grow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from training.evaluation.search import Block, Collector, GalleryPart
from training.evaluation.table import Codes, Floats


def gallery_sizes(patients: int, asked: Sequence[int] | None) -> tuple[int, ...]:
    """Sizes that make sense in a gallery of so many patients, ascending, the full one last."""
    if asked is None:
        asked = [round(patients / 10 ** (step / 2)) for step in range(1, 20)]
        asked = [size for size in asked if size >= 10]
    return (*sorted({size for size in asked if size < patients}), patients)


class GrowingGalleries(Collector):
    """Collects ranks and best others for the first patients of several random orders.

    sizes
        ascending numbers of patients, without the full gallery.

    ``best`` and ``above`` are (draws, sizes, P): the best score of another patient (-inf when none), and how many
    others score at least as much as ``mated`` (P,), within the first so many patients of an order. The probe's own
    patient is always enrolled beside these, and takes a place among them where the order names it.
    """

    def __init__(self, mated: Floats, patients: int, sizes: Sequence[int], draws: int, seed: int) -> None:
        shape = (draws, len(sizes), len(mated))
        self.best = np.full(shape, -np.inf)
        self.above = np.zeros(shape, np.int64)
        self._mated = np.where(np.isnan(mated), np.inf, mated)
        rng = np.random.default_rng(seed)
        # Which size a patient joins at; those of the full gallery alone come last and are not looked at here.
        joins = [np.searchsorted(sizes, rng.permutation(patients), side="right") for _ in range(draws)]
        self._joins, self._sizes = joins, len(sizes)
        self._columns: dict[tuple[int, int, int], tuple[Codes, Codes]] = {}

    def add(self, block: Block) -> None:
        own = self._mated[block.probes][:, None]
        for draw in range(len(self._joins)):
            order, bounds = self._by_size(draw, block.part)
            scores = block.patients.take(order, axis=1)
            reached = scores >= own
            for size in range(self._sizes):
                columns = slice(int(bounds[size]), int(bounds[size + 1]))
                if columns.start == columns.stop:
                    continue
                best = scores[:, columns].max(axis=1)
                self.best[draw, size, block.probes] = np.maximum(self.best[draw, size, block.probes], best)
                self.above[draw, size, block.probes] += np.count_nonzero(reached[:, columns], axis=1)

    def _by_size(self, draw: int, part: GalleryPart) -> tuple[Codes, Codes]:
        """The part's columns in the order in which they join, and where each size begins among them."""
        key = (draw, part.first, part.last)
        if key not in self._columns:
            here = self._joins[draw][part.first : part.last]
            order = np.argsort(here, kind="stable")[: np.count_nonzero(here < self._sizes)]
            self._columns[key] = order, np.searchsorted(here[order], np.arange(self._sizes + 1))
        return self._columns[key]

    def galleries(self) -> None:
        """Turns what joined at each size into what is enrolled at it; called once, after the search."""
        np.maximum.accumulate(self.best, axis=1, out=self.best)
        np.cumsum(self.above, axis=1, out=self.above)
