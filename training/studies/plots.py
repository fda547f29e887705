"""Figures of many methods with their intervals, as SVG text."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from training.evaluation.figures import Figure

_COLOUR, _CHANCE = "#0072b2", "#777777"
_WIDTH, _LINE, _HEAD = 3.2, 0.24, 0.9  # inches: of a panel, of a method, of a panel's title and axis


def comparison(
    groups: Mapping[str, Mapping[str, Mapping[str, Figure]]], names: Sequence[str], chance: Mapping[str, float]
) -> str:
    """A panel for each group (rows) and figure (columns): one line for each method, from the first at the top.

    ``groups`` are figures by name, by method, by group; ``chance``, by group, is drawn beside the first figure. The
    same figures give the same bytes.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Canvas

    heights = [_HEAD + _LINE * len(methods) for methods in groups.values()]
    with mpl.rc_context({"svg.hashsalt": "medreid", "font.size": 8}):
        figure = Canvas(figsize=(1.5 + _WIDTH * len(names), sum(heights)), layout="constrained")
        FigureCanvasSVG(figure)
        panels = figure.subplots(len(groups), len(names), squeeze=False, height_ratios=heights)
        for row, (group, methods) in zip(panels, groups.items(), strict=True):
            for axes, name in zip(row, names, strict=True):
                _panel(axes, {method: found[name] for method, found in methods.items()})
                axes.set_title(f"{group}: {name}")
            if group in chance:
                row[0].axvline(chance[group], color=_CHANCE, linestyle=":", zorder=0)
            for axes in row[1:]:
                axes.set_yticklabels([])
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def _panel(axes: Any, figures: Mapping[str, Figure]) -> None:
    for place, one in enumerate(figures.values()):
        if one.value is None:
            continue
        if one.low is not None and one.high is not None:
            axes.hlines(place, one.low, one.high, color=_COLOUR, linewidth=1.2)
        axes.plot(one.value, place, "o", color=_COLOUR, markersize=4)
    axes.set_yticks(range(len(figures)), list(figures))
    axes.set_ylim(len(figures) - 0.5, -0.5)
    axes.set_xlim(-0.02, 1.02)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
