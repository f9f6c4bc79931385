"""Neural collapse and minority collapse in one figure: collapse of features, and lost classes."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ncrun.figures import arrangement, changes, convergence, needs, panels
from ncrun.figures.arrangement import Curve
from ncrun.figures.classes import MEASURED, PREDICTED_PAIR
from ncrun.metrics import words_of
from ncrun.records.read import Record

Array = NDArray[np.float64]
# Ends of the axis of decays, relative to a class' threshold; farther points are drawn there.
FARTHEST = 1e3


def collapse(records: Sequence[Record]) -> Figure:
    """NC1 and NC3 over training, with the balanced prediction dotted; the rarest class' margin over training; and every
    class' margin at the end over the decay, in units of the class' predicted threshold. A row for each architecture,
    data set or bias.

    Raises UserError for runs without margins.
    """
    needs.metrics(records, "class.margin")
    rows = arrangement.arrange(records)
    keys = (convergence.telling("nc1", records), "nc3")
    figure, axes = panels.grid(len(rows), 4)
    for row, line in zip(rows, axes, strict=True):
        for ax, key in zip(line, keys, strict=False):
            convergence.curves(ax, row.curves, key)
        rarest_margin(line[2], row.curves)
        changes.mark(line[:3], row.records)
        margins_over_decay(line[3], row.curves)
    arrangement.label_rows(axes, rows)
    panels.legend_above(figure, [*convergence.legend(rows), panels.DOT, panels.DASHED])
    words = (
        "The rarest class is the last of the smallest. Right of 1 the class is lost at the optimum (minority collapse)."
    )
    panels.caption(figure, convergence.caption(records, words))
    return figure


def rarest_margin(ax: Axes, curves: Sequence[Curve]) -> None:
    """Over training, a band for each curve; dashed: predicted."""
    for curve in curves:
        first = curve.records[0]
        k = _rarest(first)
        panels.band(ax, curve.records, partial(_margin, k), "linear", **curve.look)
        predicted = first.theory["classes"][k]["margin"]
        if predicted is not None:
            ax.axhline(predicted, **panels.PREDICTION | {"color": curve.colour})
    ax.axhline(0, color="0.7", linewidth=0.8, zorder=1)
    ax.set_title(f"{words_of('class.margin').split()[0]} of the rarest class")
    panels.tidy_log(ax.xaxis)


def margins_over_decay(ax: Axes, curves: Sequence[Curve]) -> None:
    """The margin of every class and seed at the last epoch; dashes: predicted. Classes with an unknown threshold are
    skipped; a class that is lost at no decay is at the left end."""
    drawn = False
    for curve in curves:
        for record in curve.records:
            places = _decays_over_border(record)
            known = np.isfinite(places)
            if not known.any():
                continue
            drawn = True
            measured = np.array(record.metrics["class.margin"].iloc[-1], dtype=float)
            predicted = np.array([entry["margin"] for entry in record.theory["classes"]], dtype=float)
            ax.plot(places[known], predicted[known], color="0.15", **PREDICTED_PAIR)
            ax.plot(places[known], measured[known], **MEASURED | curve.look)
    ax.set_title("margins at the end")
    if not drawn:
        panels.nothing_to_draw(ax)
        return
    ax.axvline(1, color="0.7", linewidth=0.8, zorder=1)
    ax.axhline(0, color="0.7", linewidth=0.8, zorder=1)
    ax.set(xscale="log", xlabel="decay / threshold of the class")
    panels.tidy_log(ax.xaxis)


def _rarest(record: Record) -> int:
    counts = np.array(record.manifest["class_counts"])
    return int(len(counts) - 1 - np.argmin(counts[::-1]))


def _margin(k: int, frame: Any) -> list[float]:
    return [row[k] for row in frame["class.margin"]]


def _decays_over_border(record: Record) -> Array:
    """(K,): 1 over the factor on all decays at which the class is lost, cut off at FARTHEST in both directions; nan if
    not known."""
    places = []
    for entry in record.theory["classes"]:
        border = entry.get("decay_to_collapse")
        if border is None:
            places.append(1 / FARTHEST if entry.get("never_collapses") else np.nan)
        else:
            places.append(float(np.clip(1 / border, 1 / FARTHEST, FARTHEST)) if border > 0 else FARTHEST)
    return np.array(places)
