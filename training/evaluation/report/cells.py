"""Figures as cells of tables: a value with its interval, the same on the page and in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from training.evaluation.figures import Figure, Likelihood, Measures, Sizes

Value = Figure | float | int | str | None
Rows = list[list[Value]]


@dataclass(frozen=True, slots=True)
class Cell:
    """``interval`` is empty where there is none."""

    text: str
    interval: str = ""

    def __str__(self) -> str:
        return f"{self.text} {self.interval}".strip()


@dataclass(frozen=True, slots=True)
class Table:
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def cell(value: Value) -> Cell:
    """A figure as ``.123 [.100, .150]``; what is undefined says why."""
    if isinstance(value, Figure):
        if value.value is None:
            return Cell("undefined", f"({value.note})" if value.note else "")
        known = value.low is not None and value.high is not None
        return Cell(_number(value.value), f"[{_number(value.low)}, {_number(value.high)}]" if known else "")
    if value is None:
        return Cell("undefined")
    return Cell(_number(value) if isinstance(value, float) else str(value))


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Value]]) -> Table:
    return Table(title, tuple(columns), tuple(tuple(cell(value) for value in row) for row in rows))


def headline(methods: Mapping[str, Measures], chance: float | None, fpir: float) -> Table:
    """One row for each method, floors below the encoder."""
    columns = ("method", "rank-1", "rank-10", "mAP", "EER", "AUC", f"FNIR at FPIR {fpir:g}, rank 1", "Cllr", "min Cllr")
    rows: Rows = [
        [
            name,
            one.closed_set.rank.get("1"),
            one.closed_set.rank.get("10"),
            one.closed_set.map,
            one.verification.eer,
            one.verification.auc,
            fnir_at(one, fpir),
            one.likelihood.cllr if one.likelihood else "",
            one.likelihood.min_cllr if one.likelihood else "",
        ]
        for name, one in methods.items()
    ]
    if chance is not None:
        rows.append(["chance", chance, *[""] * 7])
    return table("", columns, rows)


def fnir_at(measures: Measures, fpir: float, rank: str = "1") -> Figure | None:
    """FNIR at the operating point, None where it was not asked for."""
    for point in measures.open_set.points:
        if abs(point.fpir - fpir) < 1e-12:
            return point.fnir.get(rank)
    return None


def sizes(one: Sizes) -> str:
    """How much was compared, in words."""
    return (
        f"{one.images} images of {one.patients} patients; {one.mated_searches} mated and {one.nonmated_searches} "
        f"non-mated searches in a gallery of {one.gallery_patients} patients"
    )


def closed_set(measures: Measures) -> list[Table]:
    one = measures.closed_set
    ranks: Rows = [[f"rank-{name}", figure] for name, figure in one.rank.items()]
    shares: Rows = [[f"PRR({name} %)", figure] for name, figure in one.percentile_rank.items()]
    others: Rows = [
        ["mAP", one.map],
        ["MAP@R", one.map_at_r],
        ["mINP", one.minp],
        ["MRR of patients", one.mrr],
        ["MRR of images", one.image_mrr],
    ]
    title = f"{measures.probes} probes of {measures.patients} patients among {one.gallery} enrolled patients"
    return [table(title, ("figure", "value"), [*ranks, *shares, *others])]


def verification(measures: Measures) -> list[Table]:
    one = measures.verification
    rates: Rows = [[f"FNMR at FMR {name}", figure] for name, figure in one.fnmr.items()]
    title = f"{one.mated} mated and {one.nonmated} non-mated comparisons"
    return [table(title, ("figure", "value"), [["EER", one.eer], ["AUC", one.auc], *rates])]


def open_set(measures: Measures) -> list[Table]:
    one = measures.open_set
    ranks = list(one.points[0].fnir) if one.points else []
    columns = ("FPIR asked for", "observed", "threshold", *(f"FNIR rank {rank}" for rank in ranks), "selectivity")
    rows: Rows = [
        [point.fpir, point.observed, point.threshold, *(point.fnir[rank] for rank in ranks), point.selectivity]
        for point in one.points
    ]
    return [table(f"{one.mated} mated and {one.nonmated} non-mated searches", columns, rows)]


def likelihood(one: Likelihood) -> list[Table]:
    rows: Rows = [
        ["Cllr (bits)", one.cllr],
        ["min Cllr", one.min_cllr],
        ["Cllr - min Cllr", one.calibration_loss],
        ["ECE at a prior of 0.5", one.ece],
        ["largest supported log10 LR", one.supported],
        ["largest log10 LR of a mated comparison", one.largest_mated],
        ["largest log10 LR of a non-mated comparison", one.largest_nonmated],
    ]
    title = f"{one.method}; {one.mated} mated, {one.nonmated} of {one.nonmated_total} non-mated comparisons"
    return [table(title, ("figure", "value"), rows)]


def _number(value: float | None) -> str:
    if value is None:
        return ""
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:.3f}"
    return f"{value:.1e}"
