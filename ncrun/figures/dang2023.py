"""Figures in the settings of Dang et al. 2023."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ncrun.figures import arrangement, changes, classes, convergence, endings, needs, panels
from ncrun.figures.arrangement import Curve, Row
from ncrun.records.read import Record

WITH_MOMENTUM: dict[str, Any] = {"linestyle": "-"}
PLAIN: dict[str, Any] = {"linestyle": "-.", "linewidth": 1.0}
# Of four panels side by side, in inches.
HEIGHT = 1.7
# The key that these figures show by line style.
BY_STYLE = ("optimizer.momentum",)
# For float64: NC1, a square, would otherwise fall to 1e-32.
ROUNDING = 1e-16
MOMENTA = "The paper says gradient descent; its code has momentum 0.9."


def imbalanced(records: Sequence[Record]) -> Figure:
    """One experiment in one figure: distances to the imbalanced and to the balanced prediction over epochs, the gap,
    and class norms and margins beside the formula."""
    row = arrangement.only_row(records)
    figure, axes = panels.grid(2, 4, height=HEIGHT)
    for ax, key in zip(axes[0], ("nc1", "nc2_w", "nc2_h", "nc3"), strict=True):
        convergence.curves(ax, row.curves, key)
    for ax, panel in zip(axes[1], classes.PER_CLASS, strict=False):
        classes.against_class_size(ax, row.curves, *panel)
    convergence.curves(axes[1, 3], row.curves, "gap")
    changes.mark([*axes[0], axes[1, 3]], records)
    panels.legend_above(figure, [*convergence.legend([row]), panels.DOT, panels.DASHED])
    words = "Norms and margins: each class and seed at the last epoch."
    panels.caption(figure, convergence.caption(records, words))
    return figure


def direct_imbalanced(records: Sequence[Record]) -> Figure:
    """NC1, NC2, NC3 and the gap over iterations, with and without momentum; below, class norms and margins beside the
    formula."""
    needs.momenta(records)
    row = arrangement.only_row(records, BY_STYLE)
    figure, axes = panels.grid(2, 4, height=HEIGHT)
    for ax, key in zip(axes[0], ("nc1", "nc2_w", "nc2_h", "nc3"), strict=True):
        _with_and_without_momentum(ax, row.curves, key)
    _with_and_without_momentum(axes[1, 3], row.curves, "gap")
    changes.mark([*axes[0], axes[1, 3]], records)
    fastest = max(map(_momentum, records))
    dotted = [curve for curve in row.curves if _momentum(curve.records[0]) == fastest]
    for ax, panel in zip(axes[1], classes.PER_CLASS, strict=False):
        classes.against_class_size(ax, dotted, *panel)
    found = [*_handles([row]), convergence.DOTTED, panels.DOT, panels.DASHED]
    panels.legend_above(figure, found)
    panels.caption(figure, _direct_words(records, f"Dots: momentum {fastest:g}."))
    return figure


def direct_balanced(records: Sequence[Record]) -> Figure:
    """NC1, NC2, NC3 and the gap over iterations, with and without momentum; a row without bias (orthogonal frame) and
    one with (simplex ETF)."""
    needs.momenta(records)
    rows = arrangement.arrange(records, BY_STYLE)
    keys = (convergence.telling("nc1", records), "nc2_w", "nc2_h", "nc3", "gap")
    figure, axes = panels.grid(len(rows), 5, sharex=True)
    for row, line in zip(rows, axes, strict=True):
        for ax, key in zip(line, keys, strict=True):
            _with_and_without_momentum(ax, row.curves, key)
        changes.mark(line, row.records)
    arrangement.label_rows(axes, rows)
    panels.legend_above(figure, _handles(rows))
    panels.caption(figure, _direct_words(records))
    return figure


def _momentum(record: Record) -> float:
    return float(record.config["optimizer"]["momentum"])


def _with_and_without_momentum(ax: Axes, curves: Sequence[Curve], key: str) -> None:
    for curve in curves:
        convergence.curves(ax, [curve], key, **(WITH_MOMENTUM if _momentum(curve.records[0]) else PLAIN))
    ax.set_xlim(10, max(curve.records[0].config["epochs"] for curve in curves))
    ax.set_ylim(bottom=max(ROUNDING, ax.get_ylim()[0]))
    panels.tidy_log(ax.yaxis)


def _handles(rows: Sequence[Row]) -> list[Line2D]:
    records = [record for row in rows for record in row.records]
    momenta = {_momentum(record) for record in records}
    found = arrangement.handles(rows) + [
        Line2D([], [], color="0.4", label=f"momentum {momentum:g}", **(WITH_MOMENTUM if momentum else PLAIN))
        for momentum in sorted(momenta, reverse=True)
    ]
    return found + endings.handles(records) + changes.handles(records)


def _direct_words(records: Sequence[Record], more: str = "") -> str:
    return convergence.caption(records, " ".join(filter(None, (more, f"Cut off at {ROUNDING:g}.")))) + f" {MOMENTA}"
