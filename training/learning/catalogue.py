"""Whose images there are: the rows of all sources of a recipe, each patient in one split."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from config.errors import TrainingError
from training.learning.cohorts import cohort_in
from training.learning.recipe import Recipe, Source
from training.manifests.files import Manifest, read_manifest
from training.manifests.schema import Row
from training.manifests.splits import assign_splits, splits_are_by_patient

# Told of (stage, done, of how many).
Tell = Callable[[str, int, int], None]

TRAIN, VALIDATION, TEST = "train", "validation", "test"
# Publishers' words for the three.
_WORDS = {
    "train": TRAIN,
    "training": TRAIN,
    "validation": VALIDATION,
    "valid": VALIDATION,
    "val": VALIDATION,
    "test": TEST,
}


@dataclass(frozen=True, slots=True)
class Image:
    """One row of a source. Its ``issuer`` is never empty: ids of two sources without issuers are two people's."""

    source: int
    manifest: Manifest
    row: Row

    @property
    def patient(self) -> tuple[str, str]:
        return self.row.issuer, self.row.patient_id


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All images by split. ``digest`` changes when an image is added, leaves, or changes its patient or split."""

    images: Sequence[Image]
    digest: str

    def of(self, split: str) -> list[Image]:
        return [image for image in self.images if image.row.split == split]


def catalogue_of(recipe: Recipe, out: Path, processes: int, tell: Tell) -> Catalogue:
    """Reads every source, makes cohorts that are not there yet, and assigns patients to splits.

    Raises
    ------
    TrainingError
        ``SPLIT_UNKNOWN`` for a split that is none of train, validation and test; ``SPLIT_EMPTY`` when nobody is in
        train or validation.
    CommandError
        for a manifest that cannot be used, and ``SPLIT_LEAK`` when a patient is in two splits.
    """
    images: list[Image] = []
    for number, source in enumerate(recipe.sources):
        manifest = _manifest(source, out, processes, tell)
        rows = (_known(row, source) for row in manifest.rows() if _wanted(row, source))
        images += (
            Image(number, manifest, replace(row, split=_split(row.split, source)))
            for row in assign_splits(rows, recipe.splits.model_dump(), recipe.seed)
        )
    counted = splits_are_by_patient(image.row for image in images)
    for split in (TRAIN, VALIDATION):
        if not counted.get(split):
            raise TrainingError(
                f"no patient is in the split {split}: raise its share in [splits], or fill the manifest's column",
                reason="SPLIT_EMPTY",
            )
    return Catalogue(images, _digest(images))


def _manifest(source: Source, out: Path, processes: int, tell: Tell) -> Manifest:
    if source.cohort is None:
        return read_manifest(Path(source.manifest), outside=source.outside)
    told = partial(tell, f"cohort {source.name}")
    return cohort_in(out / "cohort" / source.name, source.cohort, processes, told)


def _known(row: Row, source: Source) -> Row:
    return row if row.issuer else replace(row, issuer=f"source {source.name}")


def _wanted(row: Row, source: Source) -> bool:
    return not source.modalities or row.modality in source.modalities


def _split(word: str, source: Source) -> str:
    if word.lower() not in _WORDS:
        raise TrainingError(
            f"source {source.name}: the manifest has a split {word!r}; splits are {', '.join(_WORDS)}",
            reason="SPLIT_UNKNOWN",
        )
    return _WORDS[word.lower()]


def _digest(images: Sequence[Image]) -> str:
    whole = hashlib.sha256()
    for image in images:
        row = image.row
        parts = (image.source, row.path, row.series, row.issuer, row.patient_id, row.study, row.split)
        whole.update("\0".join(map(str, parts)).encode(errors="surrogatepass") + b"\n")
    return whole.hexdigest()
