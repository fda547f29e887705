"""What anybody could reach without recognising anybody: pixel correlation, and what the header says.

An encoder that does not clear these floors has learned the picture or the machine, not the person.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from training.evaluation.enrolling import Enrolled
from training.manifests.schema import Row

# Values of one column beyond the most frequent ones say as little as they are rare; they share a place.
_MOST_VALUES = 512


def pixel_vectors(enrolled: Enrolled) -> NDArray[np.float32]:
    """(N, P): inner products are correlations of 32x32 pictures."""
    return enrolled.pixels


def metadata_vectors(enrolled: Enrolled, *, personal: bool = True) -> NDArray[np.float32]:
    """(N, W): inner products sum the surprise (-log2 of its share) of every value that two images have in common.

    Values are sex and age (in bands of five years; left out unless ``personal``), site, device, and what the DICOM
    header says of the machine and its settings.
    """
    said = [_said(row, words, personal) for row, words in zip(enrolled.rows, enrolled.words, strict=True)]
    counts = Counter(item for items in said for item in items)
    by_column: dict[str, list[tuple[str, str]]] = {}
    for item, _ in counts.most_common():
        kept = by_column.setdefault(item[0], [])
        if len(kept) < _MOST_VALUES:
            kept.append(item)
    place = {item: number for number, item in enumerate(item for kept in by_column.values() for item in kept)}
    vectors = np.zeros((len(said), max(1, len(place))), np.float32)
    for vector, items in zip(vectors, said, strict=True):
        for item in items:
            if item in place:
                vector[place[item]] = np.sqrt(-np.log2(counts[item] / len(said)))
    return vectors


def _said(row: Row, words: Sequence[tuple[str, str]], personal: bool) -> list[tuple[str, str]]:
    own = {"sex": row.sex, "age band": "" if row.age is None else str(int(row.age // 5))}
    machine = {"site": row.site, "device": row.device, "modality": row.modality}
    known = [(name, value) for name, value in (machine | (own if personal else {})).items() if value]
    return [*known, *words]
