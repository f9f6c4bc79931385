"""Cosines of all pairs of classes as histograms: at the start, at zero training error, and at the end."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from ncrun.errors import UserError
from ncrun.figures import arrangement, convergence, panels, wording
from ncrun.figures.arrangement import Curve, Row
from ncrun.figures.classes import cosines
from ncrun.metrics.cosines import BINS
from ncrun.records.read import Record

Array = NDArray[np.float64]
# Column of the metrics, matrix of the last epoch and of theory, words.
KINDS = (("cosines.w", "weight_gram", "classifier rows"), ("cosines.h", "feature_gram", "class means"))
ORDINATE = "share of pairs"
HEIGHT = 1.4  # of a panel, in inches
START, ZERO_ERROR, END = TIMES = ("at the start", "no training error", "at the end")
PREDICTED: dict[str, Any] = {"marker": "v", "markersize": 4, "linestyle": "", "zorder": 4}
PREDICTED_HANDLE = Line2D([], [], color="0.4", label="predicted", **PREDICTED)


def cosine_histograms(records: Sequence[Record]) -> Figure:
    """For each architecture, data set or bias a row of panels for classifier rows and one for class means: the share of
    pairs of classes over their cosine, a panel for each epoch; triangles are predicted cosines. Records without
    histograms show only the end, from their matrices.

    Raises UserError for records without both.
    """
    rows = arrangement.arrange(records)
    shown = [time for time in TIMES if any(_is_known(row, time) for row in rows)]
    if not shown:
        raise UserError("no run has histograms of cosines (cosines.w) or measured matrices (geometry.json)")
    if len(shown) == 1:  # with a single epoch the two kinds are beside each other
        across = [(kind, shown[0], f"{kind[2]} {shown[0]}") for kind in KINDS]
        lines = [(row, "\n".join(filter(None, (row.label, ORDINATE))), across) for row in rows]
    else:
        lines = [
            (row, "\n".join(filter(None, (row.label, kind[2], ORDINATE))), [(kind, time, time) for time in shown])
            for row in rows
            for kind in KINDS
        ]
    figure, axes = panels.grid(len(lines), len(lines[0][2]), height=HEIGHT, sharex=True)
    styles = arrangement.line_styles(rows)
    for (row, label, across), line in zip(lines, axes, strict=True):
        for ax, (kind, time, title) in zip(line, across, strict=True):
            _panel(ax, row, styles, kind, time)
            ax.set(title=title, xlabel="cosine", xticks=(-1, 0, 1))
        panels.label_row(line, arrangement.broken(label))
    for ax in axes[1:].flat:
        ax.set_title("")
    for ax in axes[:-1].flat:
        ax.set_xlabel("")
    panels.legend_above(figure, [*arrangement.styled_handles(rows), PREDICTED_HANDLE])
    panels.caption(figure, convergence.caption(records, _words(records, shown), bands=False))
    return figure


def shares(record: Record, kind: tuple[str, str, str], time: str) -> Array | None:
    """(BINS,), the share of pairs of classes in each bin of the cosine; None if not known."""
    column, matrix, _ = kind
    row = _row_at(record, time)
    counts = None if row is None or column not in record.metrics else record.metrics[column].iloc[row]
    if time == END and column not in record.metrics and record.measured is not None:
        counts = histogram(pairs(record.measured[matrix]))
    if not isinstance(counts, list | np.ndarray) or not sum(counts):
        return None
    found: Array = np.array(counts, dtype=float) / sum(counts)
    return found


def histogram(values: Array) -> Array:
    """From the metric."""
    return np.histogram(np.clip(values, -1, 1), bins=BINS, range=(-1, 1))[0].astype(float)


def pairs(gram: Sequence[Sequence[float]]) -> Array:
    """The cosines of all pairs in a Gram matrix, without zero vectors."""
    found = cosines(gram)
    above: Array = found[np.triu_indices(len(found), 1)]
    return above[np.isfinite(above)]


def _row_at(record: Record, time: str) -> int | None:
    """The chosen measured epochs."""
    if time != ZERO_ERROR:
        return 0 if time == START else len(record.metrics) - 1
    epoch = convergence.zero_error_epoch(Curve("", "", (record,)))
    return None if epoch is None else int(np.flatnonzero(record.metrics["epoch"] == epoch)[0])


def _is_known(row: Row, time: str) -> bool:
    return any(shares(record, kind, time) is not None for record in row.records for kind in KINDS)


def _panel(ax: Axes, row: Row, styles: dict[str, Any], kind: tuple[str, str, str], time: str) -> None:
    drawn = False
    for curve in row.curves:
        found = [shares(record, kind, time) for record in curve.records]
        known = [each for each in found if each is not None]
        if len(known) < len(found):
            continue
        drawn = True
        edges = np.linspace(-1, 1, len(known[0]) + 1)
        mean = np.mean(known, axis=0)
        ax.stairs(mean, edges, color=curve.colour, linewidth=1.2, linestyle=styles[curve.label], zorder=2.5)
        if len(row.curves) == 1:
            ax.stairs(mean, edges, color=curve.colour, fill=True, alpha=0.25, linewidth=0)
        gram = curve.records[0].theory[kind[1]]
        if gram is not None:
            where = np.unique(np.round(pairs(gram), 3))
            ax.plot(
                where, np.full(len(where), 0.95), color=curve.colour, transform=ax.get_xaxis_transform(), **PREDICTED
            )
    if not drawn:
        ax.text(0.5, 0.5, "not reached" if time == ZERO_ERROR else "not known", transform=ax.transAxes, ha="center")
    ax.set(xlim=(-1, 1), ylim=(0, 1.15 * max(ax.get_ylim()[1], 0.1)))  # triangles on top


def _words(records: Sequence[Record], shown: Sequence[str]) -> str:
    words = f"Share of the pairs of classes in {BINS} bins of the cosine, mean over the seeds; triangles: predicted."
    if ZERO_ERROR in shown:
        words += " No training error: the first measured epoch without one."
    if any(wording.centres_means(record) for record in records):
        words += " With a bias the class means are centred."
    older = [record for record in records if KINDS[0][0] not in record.metrics]
    if older:
        which = "The records hold" if len(older) == len(records) else f"{len(older)} of the runs hold"
        words += f" {which} only the cosines at the end, because they are from an earlier version."
    return words
