"""Plots of an evaluation as SVG text: no file, no script, no font is fetched; the same figures give the same bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from training.evaluation.figures import Figure, GallerySize, Measures, Stratum

# Colours that stay apart for colour-blind eyes (Okabe and Ito, 2008); floors are grey.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
_GREYS = ("#555555", "#999999", "#bbbbbb")
_SIZE = (5.2, 3.7)
_RATE_FLOOR = 1e-5


def cmc(curves: Mapping[str, Measures], chance: Mapping[str, float]) -> str:
    """Share of mated searches whose mate is among the best k, for every method; ``chance`` draws a line per rank."""
    figure, axes = _axes("rank k", "share of mates found", "Cumulative match characteristic")
    for name, colour, measures in _coloured(curves):
        ranks, shares = _columns(measures.closed_set.cmc)
        axes.step(ranks, shares, where="post", color=colour, label=name)
        _band(axes, measures.closed_set.rank, colour)
    if chance:
        ranks = [float(rank) for rank in chance]
        axes.plot(ranks, list(chance.values()), color="#bbbbbb", linestyle=":", label="chance")
    axes.set_xscale("log")
    axes.set_ylim(0, 1.02)
    return _svg(figure, axes)


def det(curves: Mapping[str, Measures]) -> str:
    """Identification: FNIR against FPIR, both logarithmic (ISO/IEC 19795-1, DET)."""
    figure, axes = _axes("FPIR", "FNIR", "Detection error tradeoff (identification)")
    for name, colour, measures in _coloured(curves):
        fpir, fnir = _columns(measures.open_set.det)
        axes.plot([max(x, _RATE_FLOOR) for x in fpir], [max(y, _RATE_FLOOR) for y in fnir], color=colour, label=name)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(1e-3, 1.2)
    return _svg(figure, axes)


def roc(curves: Mapping[str, Measures]) -> str:
    """Verification: FNMR against FMR."""
    figure, axes = _axes("FMR", "FNMR", "Detection error tradeoff (verification)")
    for name, colour, measures in _coloured(curves):
        fmr, fnmr = _columns(measures.verification.roc)
        axes.plot([max(x, _RATE_FLOOR) for x in fmr], fnmr, color=colour, label=name)
    axes.set_xscale("log")
    axes.set_ylim(0, 1.02)
    return _svg(figure, axes)


def tippett(measures: Measures) -> str:
    """Share of mated and of non-mated comparisons above each likelihood ratio."""
    figure, axes = _axes("log10 likelihood ratio", "share above", "Tippett plot")
    if measures.likelihood is not None and measures.likelihood.tippett:
        log10_lr, mated, nonmated = (list(column) for column in zip(*measures.likelihood.tippett, strict=True))
        axes.plot(log10_lr, mated, color=_COLOURS[0], label="mated")
        axes.plot(log10_lr, nonmated, color=_COLOURS[1], label="non-mated")
        axes.axvline(0, color="#999999", linewidth=0.8)
        axes.axvline(measures.likelihood.supported, color="#999999", linewidth=0.8, linestyle=":")
    axes.set_ylim(0, 1.02)
    return _svg(figure, axes)


def reliability(measures: Measures) -> str:
    """Posteriors at a prior of one half against what came true."""
    figure, axes = _axes("posterior", "share of mates", "Reliability at a prior of 0.5")
    axes.plot([0, 1], [0, 1], color="#bbbbbb", linestyle=":")
    if measures.likelihood is not None:
        bins = measures.likelihood.reliability
        axes.scatter(
            [one.posterior for one in bins],
            [one.mated_share for one in bins],
            s=[12 + 300 * one.mass for one in bins],
            color=_COLOURS[0],
            alpha=0.7,
        )
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(-0.03, 1.03)
    return _svg(figure, axes)


def distractors(curve: Sequence[GallerySize], rank: str, fpir: str) -> str:
    """How rank-1 falls and FNIR rises as the gallery grows."""
    figure, axes = _axes("patients enrolled", "share", "As the gallery grows")
    rows = (
        (f"rank-{rank}", [point.rank.get(rank) for point in curve], _COLOURS[0]),
        (f"FNIR at FPIR {fpir}", [point.fnir.get(fpir) for point in curve], _COLOURS[1]),
    )
    for label, figures, colour in rows:
        known = [(p.patients, f) for p, f in zip(curve, figures, strict=True) if f is not None and f.value is not None]
        if known:
            sizes = [size for size, _ in known]
            axes.plot(sizes, [f.value for _, f in known], "o-", color=colour, label=label, markersize=3)
            axes.fill_between(sizes, *_bounds([f for _, f in known]), color=colour, alpha=0.15)
    axes.set_xscale("log")
    axes.set_ylim(0, 1.02)
    return _svg(figure, axes)


def bars(stratum: Stratum, rank: str) -> str:
    """Rank-k of every group of a stratum with its interval."""
    groups = [(name, measures.closed_set.rank.get(rank)) for name, measures in stratum.groups.items()]
    known = [(name, figure) for name, figure in groups if figure is not None and figure.value is not None]
    figure, axes = _axes(f"rank-{rank}", "", stratum.dimension, (_SIZE[0], 0.7 + 0.3 * max(1, len(known))))
    values = [float(one.value or 0.0) for _, one in known]
    low, high = _bounds([one for _, one in known])
    errors = [
        [max(0.0, v - a) for v, a in zip(values, low, strict=True)],
        [max(0.0, b - v) for v, b in zip(values, high, strict=True)],
    ]
    axes.barh(range(len(known)), values, xerr=errors if known else None, color=_COLOURS[0], alpha=0.8, ecolor="#333333")
    axes.set_yticks(range(len(known)), [f"{name} ({one.n})" for name, one in known])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.02)
    return _svg(figure, axes, legend=False)


def _coloured(curves: Mapping[str, Measures]) -> list[tuple[str, str, Measures]]:
    """The first method in colour; what comes after it are floors, in grey."""
    names = list(curves)
    return [
        (name, _COLOURS[0] if n == 0 else _GREYS[(n - 1) % len(_GREYS)], curves[name]) for n, name in enumerate(names)
    ]


def _band(axes: Any, by_rank: Mapping[str, Figure], colour: str) -> None:
    known = [(float(rank), one) for rank, one in by_rank.items() if one.low is not None and one.high is not None]
    if known:
        axes.vlines(
            [rank for rank, _ in known], *_bounds([one for _, one in known]), color=colour, alpha=0.35, linewidth=3
        )


def _bounds(figures: Sequence[Figure]) -> tuple[list[float], list[float]]:
    low = [float(f.low if f.low is not None else f.value or 0.0) for f in figures]
    return low, [float(f.high if f.high is not None else f.value or 0.0) for f in figures]


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [float(x) for x, _ in points], [float(y) for _, y in points]


def _axes(x: str, y: str, title: str, size: tuple[float, float] = _SIZE) -> tuple[Any, Any]:
    # Without pyplot there is no global state, no window and nothing to close.
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Canvas

    figure = Canvas(figsize=size, layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_title(title, fontsize=10)
    axes.grid(visible=True, color="#eeeeee")
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg(figure: Any, axes: Any, legend: bool = True) -> str:
    import matplotlib as mpl

    if legend and axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, frameon=False)
    out = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": axes.get_title(), "font.family": "sans-serif"}):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = out.getvalue()
    return text[text.index("<svg") :]
