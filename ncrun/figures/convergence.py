"""Collapse over training: distances to the predicted geometry, seeds as bands."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ncrun.errors import UserError
from ncrun.figures import arrangement, beside_claim, changes, endings, panels, wording
from ncrun.figures.arrangement import Curve, Row
from ncrun.metrics import METRICS, heading_of
from ncrun.records.read import Record

SHOWN = ("nc1", "nc2_w", "nc2_h", "nc3", "gap")
# NC1 and effective NC1 are drawn as one if they differ by less than this, relatively.
SAME = 0.01
# Above this multiple of the ratio of traces, NC1 is dominated by directions with almost no class means.
ABOVE_TRACES = 10
# Words for the replacement of NC1 by `telling`.
NC1_WORDS = {"nc1": "NC1", "nc1_effective": "effective NC1", "nc1_trace": "NC1, of traces"}
SHARED_DIRECTIONS = (
    "NC1 is the ratio of traces here: Sigma_B's pseudo-inverse would divide by directions that the class means hardly"
    " use."
)
BASELINES = ("nc2_w", "nc2_h", "nc3")
DOTTED = Line2D([], [], color="0.4", label="to the balanced prediction", **panels.BASELINE)
MARK: dict[str, Any] = {
    "marker": "D",
    "markersize": 4.5,
    "markerfacecolor": "white",
    "linestyle": "",
    "zorder": 4,
    "clip_on": False,
}


def convergence(records: Sequence[Record]) -> Figure:
    """NC1, NC2 of classifier and means, NC3, and the loss compared with a known or claimed optimum, over epochs on log
    axes; a row for each architecture, data set or bias. Raises UserError if none of them exists."""
    rows = arrangement.arrange(records)
    keys = [telling(key, records) for key in SHOWN if any(is_shown(record, key) for record in records)]
    if not keys:
        raise UserError(f"no run has any of {', '.join(SHOWN)}, which this drawing needs")
    figure, axes = panels.grid(len(rows), len(keys), sharex=True)
    for row, line in zip(rows, axes, strict=True):
        for ax, key in zip(line, keys, strict=True):
            curves(ax, row.curves, key)
        changes.mark(line, row.records)
    arrangement.label_rows(axes, rows)
    beside = beside_claim.handles([curve for row in rows for curve in row.curves])
    panels.legend_above(figure, [*legend(rows), *beside])
    panels.caption(figure, caption(records, SHARED_DIRECTIONS if "nc1_trace" in keys else ""))
    return figure


def curves(ax: Axes, found: Sequence[Curve], key: str, **style: Any) -> None:
    """A metric over epochs, a band for each curve; dotted: the same for the balanced prediction if the classes are
    imbalanced; marks as in mark_times. For an unproven claim the gap is relative to the claim."""
    key = telling(key, [record for curve in found for record in curve.records])
    if key == "gap" and any(beside_claim.is_unproven(curve.records[0]) for curve in found):
        beside_claim.against_claim(ax, found, **style)
        for curve in found:
            mark_times(ax, curve, partial(beside_claim.excess, curve.records[0]), "symlog")
        panels.tidy_log(ax.xaxis)
        return
    drawn = [curve for curve in found if any(is_defined(record, key) for record in curve.records)]
    title, axis = heading_of(key)
    ax.set(title=METRICS["nc1"].sign if key == "nc1_trace" else title, ylabel=axis)
    if not drawn:
        panels.nothing_to_draw(ax)
        return
    for curve in drawn:
        panels.band(ax, curve.records, key, **curve.look, **style)
        if key in BASELINES and has_baseline(curve):
            panels.band(ax, curve.records, f"balanced.{key}", **curve.look, **panels.BASELINE)
        mark_times(ax, curve, key)
    panels.tidy_log(ax.yaxis)
    panels.tidy_log(ax.xaxis)


def telling(key: str, records: Sequence[Record]) -> str:
    """For NC1 the effective NC1, if the two differ: if classes share directions, NC1 divides by residues of training in
    the others. For records without it, the ratio of traces if NC1 is far above it (with directions of equal size NC1 is
    below it)."""
    beside = "nc1_effective"
    if key != "nc1":
        return key
    if not all(beside in record.metrics for record in records):
        return "nc1_trace" if any(map(_divides_by_nothing, records)) else key
    pairs = (record.metrics[[key, beside]].to_numpy(dtype=float) for record in records)
    alike = (np.allclose(pair[:, 0], pair[:, 1], rtol=SAME, atol=0, equal_nan=True) for pair in pairs)
    return key if all(alike) else beside


def words_of_nc1(records: Sequence[Record]) -> str:
    """For a caption: says so if the ratio of traces is drawn instead of NC1."""
    return SHARED_DIRECTIONS if telling("nc1", records) == "nc1_trace" else ""


def _divides_by_nothing(record: Record) -> bool:
    """Whether NC1 is at some epoch so far above tr Sigma_W / tr Sigma_B that it divides by directions in which Sigma_B
    is almost zero."""
    nc1, traces = (np.array(record.metrics.get(key, []), dtype=float) for key in ("nc1", "nc1_trace"))
    return len(nc1) == len(traces) and bool((nc1 > ABOVE_TRACES * traces).any())


def is_shown(record: Record, key: str) -> bool:
    """Whether there is a metric to draw, or for the gap an unproven claim."""
    return is_defined(record, key) or (key == "gap" and beside_claim.is_unproven(record))


def is_defined(record: Record, key: str) -> bool:
    """Whether the records have a metric that is positive at some epoch after the start."""
    if key not in record.metrics:
        return False
    values = np.array(record.metrics[key][record.metrics["epoch"] > 0], dtype=float)
    return bool((values > 0).any())


def has_baseline(curve: Curve) -> bool:
    """Whether the balanced prediction differs from the prediction."""
    return arrangement.class_ratio(curve.records[0]) > 1


def zero_error_epoch(curve: Curve) -> float | None:
    """The first measured epoch after the start by which every seed had zero training error at least once; None if one
    never had, or without data set or classes."""
    if any(record.is_free or record.on_targets for record in curve.records):
        return None
    firsts = []
    for record in curve.records:
        frame = record.metrics[record.metrics["epoch"] > 0]
        perfect = frame["epoch"][frame["train_accuracy"] == 1]
        if not len(perfect):
            return None
        firsts.append(float(perfect.iloc[0]))
    return max(firsts)


def mark_times(ax: Axes, curve: Curve, key: Any, scale: str = "log") -> None:
    """Marks on the median over the seeds: a diamond where the training error becomes zero, and an arrow at the end of a
    run that has not converged."""
    epochs, values, _ = panels.seed_values(curve.records, key, scale)
    drawn = panels.middle(values, scale)
    at = epochs == zero_error_epoch(curve)
    if np.isfinite(drawn[at]).any():
        ax.plot(epochs[at], drawn[at], color=curve.colour, **MARK)
    known = np.flatnonzero(np.isfinite(drawn))
    if len(known) and any(map(endings.is_unconverged, curve.records)):
        ax.plot(epochs[known[-1:]], drawn[known[-1:]], color=curve.colour, **endings.MARK)


def legend(rows: Sequence[Row]) -> list[Line2D]:
    """The legend: colours, dotted lines and marks."""
    found = arrangement.handles(rows)
    every = [curve for row in rows for curve in row.curves]
    if any(has_baseline(curve) for curve in every):
        found.append(DOTTED)
    records = [record for curve in every for record in curve.records]
    return [*found, *zero_error_handles(every), *endings.handles(records), *changes.handles(records)]


def zero_error_handles(curves: Sequence[Curve]) -> list[Line2D]:
    """The legend of the diamond, if there is one: with several seeds, the slowest one's."""
    marked = [curve for curve in curves if zero_error_epoch(curve) is not None]
    several = any(len(curve.records) > 1 for curve in marked)
    label = f"zero training error{' (slowest seed)' if several else ''}"
    return [Line2D([], [], color="0.4", label=label, **MARK)] if marked else []


def caption(records: Sequence[Record], words: str = "", bands: bool = True) -> str:
    """The caption: setting, further words, prediction, unconverged runs, and the paper's experiment. bands: whether to
    explain bands."""
    parts = (
        wording.setting_words(*records),
        words,
        wording.band_words(records) if bands else "",
        beside_claim.words_of(records),
        endings.words_of(records),
        wording.source_words(records[0]),
    )
    return " ".join(filter(None, parts))
