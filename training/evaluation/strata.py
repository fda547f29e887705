"""Subgroups: which probes, mates or impostors belong to each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from training.evaluation.figures import Figure, Measures, Stratum, Worst
from training.evaluation.options import Options
from training.evaluation.pairing import Mates
from training.evaluation.search import Gallery, Tile
from training.evaluation.table import UNKNOWN, Bools, Codes, Column, Table

# Groups of fewer patients are shown but never named the worst: chance would choose among them.
WORST_PATIENTS = 10
SAME_DEVICE, HARD = "same device", "same sex, age band and device"
_IMPOSTORS = {SAME_DEVICE: ("device",), HARD: ("sex", "age band", "device")}


@dataclass(frozen=True, slots=True, eq=False)
class Grouping:
    """``codes`` (P,) of the probes' groups, and their names."""

    codes: Codes
    names: tuple[str, ...]


def probe_groups(table: Table, probes: Codes, options: Options) -> dict[str, Grouping]:
    """Groups by a property of the probe; those whose property is missing are the group "unknown".

    A property that is unknown of every probe makes no groups.
    """
    columns: dict[str, Column] = {}
    for name in options.strata:
        if name == "label":
            columns |= {f"label {label}": column for label, column in table.labels.items()}
        elif name in table.columns:
            columns[name] = table.columns[name]
    found = {name: (column.codes[probes], column.values) for name, column in columns.items()}
    return {name: Grouping(codes, values) for name, (codes, values) in found.items() if codes.any()}


def interval_groups(mates: Mates, options: Options) -> dict[str, Bools]:
    """Which mated pairs count for each interval: pairs of at least so many days, or of an unknown interval."""
    if "interval" not in options.strata or np.isnan(mates.gap).all():
        return {}
    groups = {f">= {days} d": mates.gap >= days for days in options.interval_days}
    return groups | {UNKNOWN: np.isnan(mates.gap)}


def impostor_tiles(table: Table, probes: Codes, gallery: Codes, options: Options) -> dict[str, list[Tile]]:
    """Probes beside the gallery images that agree with them in all of some properties, and know them all."""
    if "impostors" not in options.strata:
        return {}
    return {name: _tiles(table, probes, gallery, columns) for name, columns in _IMPOSTORS.items()}


def _tiles(table: Table, probes: Codes, gallery: Codes, columns: tuple[str, ...]) -> list[Tile]:
    key = np.stack([table.columns[name].codes for name in columns], axis=1)
    known = (key != 0).all(axis=1)
    _, group = np.unique(key, axis=0, return_inverse=True)
    tiles = []
    for code in np.unique(group[probes][known[probes]]).tolist():
        rows = gallery[group[gallery] == code]
        if len(rows):
            tiles.append(Tile(np.flatnonzero(group[probes] == code), Gallery.of(table, rows)))
    return tiles


def stratum(dimension: str, groups: Mapping[str, Measures]) -> Stratum:
    """The groups, and which of them is worst by rank-1, equal error rate, FPIR and FNIR.

    One group alone is not the worst of any.
    """
    eligible = {
        name: _headline(group) for name, group in groups.items() if name != UNKNOWN and group.patients >= WORST_PATIENTS
    }
    found: dict[str, Worst] = {}
    for figure in next(iter(eligible.values()), {}) if len(eligible) > 1 else ():
        costs = {
            name: sign * one.value
            for name, all_of in eligible.items()
            for one, sign in [all_of[figure]]
            if one.value is not None
        }
        if costs:
            name = max(costs, key=lambda group: costs[group])
            found[figure] = Worst(name, eligible[name][figure][0])
    return Stratum(dimension, groups, found)


def _headline(measures: Measures) -> dict[str, tuple[Figure, int]]:
    """Figures by name, and the sign in which they grow worse."""
    figures = {"eer": (measures.verification.eer, 1)}
    figures |= {f"rank {k}": (figure, -1) for k, figure in measures.closed_set.rank.items()}
    for point in measures.open_set.points:
        figures[f"observed FPIR at {point.fpir:g}"] = (point.observed, 1)
        figures |= {f"FNIR at FPIR {point.fpir:g}, rank {rank}": (f, 1) for rank, f in point.fnir.items()}
    return figures
