"""Methods on the same searches, as a table for people and as JSON."""

from __future__ import annotations

from typing import Any

from training.evaluation.figures import Figure, to_json
from training.evaluation.report.cells import cell
from training.studies.paired import FPIR, HEADLINE, Judged, Judgement


def shown(one: Judgement, title: str, base: str, *, closed: bool = False) -> object:
    """A Rich table with one row for each method; ``closed`` has more ranks in place of the open-set figure."""
    from rich.table import Table

    columns = tuple(_closed(next(iter(one.methods.values())))) if closed else (*HEADLINE[:2], f"FNIR at FPIR {FPIR:g}")
    compared = HEADLINE[:2] if closed else HEADLINE
    table = Table(title=f"{title}: {one.images} images of {one.patients} patients, {one.mated} mated searches")
    for column in ("method", *columns, *(f"{name} less {base}'s" for name in compared), "not enrolled"):
        table.add_column(column)
    for name, method in one.methods.items():
        figures = _closed(method) if closed else method.headline()
        differences = [told(method.difference[key]) if key in method.difference else "" for key in compared]
        table.add_row(name, *(told(figure) for figure in figures.values()), *differences, str(method.failed))
    chance = [str(cell(min(1.0, k * one.chance))) if one.chance else "" for k in ((1, 5, 10) if closed else (1,))]
    table.add_row("chance", *chance)
    table.caption = "intervals of 95 % over patients; an image that a method does not enrol is a miss of it"
    return table


def told(figure: Figure) -> str:
    """A value above its interval; why a figure is undefined stands in the JSON."""
    found = cell(figure)
    return "undefined" if figure.value is None else f"{found.text}\n{found.interval}".strip()


def _closed(method: Judged) -> dict[str, Figure]:
    one = method.measures.closed_set
    ranks = {f"rank-{k}": one.rank[k] for k in ("1", "5", "10")}
    return ranks | {"mAP": one.map} | {f"PRR({name} %)": figure for name, figure in one.percentile_rank.items()}


def as_json(one: Judgement) -> dict[str, Any]:
    """Everything that was measured."""
    return {
        "images": one.images,
        "patients": one.patients,
        "mated_searches": one.mated,
        "chance": one.chance,
        "methods": {
            name: {
                "figures": to_json(method.headline()),
                "difference": to_json(method.difference),
                "failed_to_enrol": method.failed,
                "measures": to_json(method.measures),
            }
            for name, method in one.methods.items()
        },
    }
