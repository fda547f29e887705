"""Figures of searches with chance beside each, as a table for people and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.evaluation.figures import to_json
from training.evaluation.report.cells import cell
from training.skulls.retrieval import Retrieval


def table(title: str, rows: Mapping[str, Retrieval]) -> object:
    """A Rich table with one row for each group of searches; every figure stands above what chance gives."""
    from rich.table import Table

    names = list(dict.fromkeys(name for one in rows.values() for name in one.figures))
    drawn = Table(title=title, title_justify="left")
    for column in ("", "searches", "faces", *names):
        drawn.add_column(column)
    for label, one in rows.items():
        cells = [_told(one, name) if name in one.figures else "" for name in names]
        drawn.add_row(label, f"{one.searches} of {one.persons} persons", f"{one.gallery:.0f}", *cells)
    drawn.caption = "value [95 % interval over persons], and what a random order gives"
    return drawn


def as_json(one: Retrieval) -> dict[str, Any]:
    """Everything that was measured."""
    return {
        "searches": one.searches,
        "persons": one.persons,
        "gallery": one.gallery,
        "figures": to_json(one.figures),
        "chance": dict(one.chance),
    }


def _told(one: Retrieval, name: str) -> str:
    return f"{cell(one.figures[name])}\nchance {one.chance[name]:.3f}"
