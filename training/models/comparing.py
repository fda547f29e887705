"""Several encoders on the same images, searched alike, with pixel correlation as the floor beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np

from config.errors import CommandError
from inference.encoders.protocol import Encoder
from training.evaluation.enrolling import Enrolled, Scratch, enrol
from training.evaluation.evaluate import evaluate
from training.evaluation.figures import Measures
from training.evaluation.floors import pixel_vectors
from training.evaluation.options import Options, Progress
from training.evaluation.sources import EmbeddingScores
from training.evaluation.table import Table
from training.manifests.files import Manifest
from training.manifests.schema import Row

PIXELS = "pixel correlation"


@dataclass(frozen=True, slots=True)
class Comparison:
    """``methods`` by "name version", then the floor; ``failed`` how many images gave each encoder nothing.

    All are measured on the images that every encoder takes, so that none gains by refusing the hard ones.
    """

    methods: Mapping[str, Measures]
    failed: Mapping[str, int]
    images: int
    patients: int
    chance: float | None


def compare(
    manifest: Manifest, rows: Sequence[Row], encoders: Sequence[Encoder], options: Options, tell: Progress
) -> Comparison:
    """Enrols every image with every encoder, and measures all of them on the same searches.

    Raises
    ------
    EvaluationError
        ``NOTHING_ENROLLED`` when an encoder takes none of the images.
    CommandError
        ``NOTHING_IN_COMMON`` when no image is taken by all.
    """
    with ExitStack() as stack:
        enrolled = {}
        for encoder in encoders:
            scratch, done = stack.enter_context(Scratch()), _Count(f"images, {encoder.name}", len(rows), tell)
            found = enrol(manifest, rows, encoder, scratch, crop=False, tell=done)
            enrolled[f"{encoder.name} {encoder.version}"] = found
        return _measured(rows, enrolled, options, tell)


def _measured(rows: Sequence[Row], enrolled: Mapping[str, Enrolled], options: Options, tell: Progress) -> Comparison:
    usable = np.flatnonzero(~np.any([one.failed for one in enrolled.values()], axis=0))
    if not len(usable):
        raise CommandError("no image is taken by all of these encoders", reason="NOTHING_IN_COMMON")
    table = Table.from_rows([rows[place] for place in usable.tolist()])
    sources = {name: EmbeddingScores(one.vectors[usable]) for name, one in enrolled.items()}
    sources[PIXELS] = EmbeddingScores(pixel_vectors(next(iter(enrolled.values())))[usable])
    plain = replace(options, gallery_sizes=(len(table.patients),), draws=1)
    methods = {name: evaluate(table, source, plain, progress=tell).measures for name, source in sources.items()}
    gallery = next(iter(methods.values())).closed_set.mean_gallery
    return Comparison(
        methods=methods,
        failed={name: int(one.failed.sum()) for name, one in enrolled.items()},
        images=len(table),
        patients=len(table.patients),
        chance=1 / gallery if gallery >= 1 else None,
    )


class _Count:
    def __init__(self, stage: str, total: int, tell: Progress) -> None:
        self._stage, self._total, self._tell, self._done = stage, total, tell, 0

    def __call__(self, steps: int) -> None:
        self._done += steps
        self._tell(self._stage, self._done, self._total)
