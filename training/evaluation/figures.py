"""What an evaluation reports: figures with intervals, gathered in named groups, all of them plain JSON when asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Figure:
    """A value with its interval over patients, from ``n`` trials of ``patients`` people.

    ``value`` is None where the data cannot say (``note`` tells why); ``low`` and ``high`` are None where there were too
    few patients to draw from. Where no error (or nothing but errors) was seen, the interval reaches to 3 / patients,
    because a bootstrap cannot draw what never happened.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    patients: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class ClosedSet:
    """Mated searches: every probe's patient is enrolled (beside at most ``gallery`` patients, on average
    ``mean_gallery``).

    Candidates are patients, each with the best score of their images, for ``rank`` (rank-k), ``percentile_rank``
    (PRR(p): mate within the best p % of the gallery), ``mrr`` and ``cmc`` ((k, share) points). They are single images,
    and every mate counts, for ``map`` (mean average precision), ``map_at_r``, ``minp`` (mean inverse negative penalty)
    and ``image_mrr``. Candidates that score like a mate stand before it.
    """

    gallery: int
    mean_gallery: float
    rank: Mapping[str, Figure]
    percentile_rank: Mapping[str, Figure]
    mrr: Figure
    map: Figure
    map_at_r: Figure
    minp: Figure
    image_mrr: Figure
    cmc: Points


@dataclass(frozen=True, slots=True)
class Verification:
    """Comparisons of a probe with a patient (best score of the patient's images).

    ``eer`` and ``auc`` are those of the ROC drawn with straight lines over ties; ``fnmr`` by FMR. ``roc`` holds
    (FMR, FNMR) points, from the loosest threshold to the strictest.
    """

    mated: int
    nonmated: int
    eer: Figure
    auc: Figure
    fnmr: Mapping[str, Figure]
    roc: Points


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """Identification at a false positive rate that was asked for.

    ``threshold`` is the score that a candidate must *exceed*; ``observed`` the FPIR there (ties make it smaller than
    what was asked for). ``fnir`` by rank ("any" is without a limit); ``selectivity`` is the mean number of candidates
    of a non-mated search above the threshold. Without enough non-mated searches all of it is undefined.
    """

    fpir: float
    threshold: float | None
    observed: Figure
    selectivity: Figure
    fnir: Mapping[str, Figure]


@dataclass(frozen=True, slots=True)
class OpenSet:
    """Searches of people who may not be enrolled; a non-mated search is one whose own patient was taken out.

    ``det`` holds (FPIR, FNIR at any rank) points.
    """

    mated: int
    nonmated: int
    points: tuple[OperatingPoint, ...]
    det: Points


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Comparisons whose posterior (at a prior of one half) fell into a bin: mean posterior, share of mates, mass."""

    posterior: float
    mated_share: float
    mass: float


@dataclass(frozen=True, slots=True)
class Likelihood:
    """What the likelihood ratios are worth. Cllr in bits; LRs as log10.

    ``method`` says where they come from; ``nonmated`` of ``nonmated_total`` comparisons were turned into LRs.
    ``supported`` is the largest log10 LR that so many non-mated comparisons can support: log10(nonmated + 1).
    ``tippett`` holds (log10 LR, share of mated above, share of non-mated above).
    """

    method: str
    mated: int
    nonmated: int
    nonmated_total: int
    cllr: Figure
    min_cllr: Figure
    calibration_loss: Figure
    ece: Figure
    supported: float
    largest_mated: float
    largest_nonmated: float
    tippett: tuple[tuple[float, float, float], ...]
    reliability: tuple[ReliabilityBin, ...]


@dataclass(frozen=True, slots=True)
class Measures:
    """Everything that is measured on one set of searches of ``probes`` images of ``patients`` people."""

    probes: int
    patients: int
    closed_set: ClosedSet
    verification: Verification
    open_set: OpenSet
    likelihood: Likelihood | None = None


@dataclass(frozen=True, slots=True)
class Worst:
    """The group that a figure is worst in."""

    group: str
    figure: Figure


@dataclass(frozen=True, slots=True)
class Stratum:
    """Subgroups of the searches by one property, and where each headline figure is worst.

    ``worst`` leaves out groups of fewer patients than ``strata.WORST_PATIENTS``, and "unknown"; it is empty where one
    group or none is left. Groups of probes are measured at the thresholds of the whole test, so that their FPIR differ.
    """

    dimension: str
    groups: Mapping[str, Measures]
    worst: Mapping[str, Worst]


@dataclass(frozen=True, slots=True)
class GallerySize:
    """A point of the distractor curve, averaged over ``draws`` random galleries of ``patients`` other people.

    The probe's own patient is always enrolled as well. ``fnir`` by FPIR, at rank 1.
    """

    patients: int
    draws: int
    rank: Mapping[str, Figure]
    fnir: Mapping[str, Figure]


@dataclass(frozen=True, slots=True)
class Enrolment:
    """Failure to enrol, and what it does to identification (ISO/IEC 19795-1: generalised rates).

    An image "fails" when nothing could be compared of it. ``generalised`` counts a failed probe, and one whose mates
    have all failed, as a miss.
    """

    images: int
    failed_images: int
    patients: int
    failed_patients: int
    failure_rate: Figure
    generalised: OpenSet
    generalised_rank: Mapping[str, Figure]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much was compared."""

    images: int
    patients: int
    probes: int
    gallery_images: int
    gallery_patients: int
    mated_searches: int
    nonmated_searches: int
    mated_image_pairs: int
    nonmated_comparisons: int


def to_json(value: Any) -> Any:
    """Dataclasses, mappings, sequences and numpy values as JSON has them; keys as text, infinite numbers as None.

    Fields whose metadata say ``json: False`` are left out.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {
            item.name: to_json(getattr(value, item.name)) for item in fields(value) if item.metadata.get("json", True)
        }
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return to_json(value.tolist())
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    if isinstance(value, np.generic):
        return to_json(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
