"""Collapse over training: the distances to the predicted geometry, seeds as bands."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ncrun.errors import UserError
from ncrun.figures import arrangement, beside_claim, drops, endings, panels, wording
from ncrun.figures.arrangement import Curve, Row
from ncrun.metrics import METRICS, heading_of
from ncrun.records.read import Record

SHOWN = ("nc1", "nc2_w", "nc2_h", "nc3", "gap")
# NC1 and effective NC1 are drawn as one where they differ by less, relatively.
SAME = 0.01
# In so many times NC1's ratio of the traces it is that of directions that hold next to nothing.
ABOVE_TRACES = 10
# What `telling` puts in NC1's place, in few words.
NC1_WORDS = {"nc1": "NC1", "nc1_effective": "effective NC1", "nc1_trace": "NC1, of traces"}
SHARED_DIRECTIONS = (
    "NC1 is the ratio of the traces: with Sigma_B's pseudo-inverse it would divide by directions that the class means"
    " hardly use."
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
    """NC1, NC2 of classifier and means, NC3, and where theory knows or claims an optimum the loss beside it, over
    epochs on log axes; a row for each architecture, data set or bias. Raises UserError if there is none of them."""
    rows = arrangement.arrange(records)
    keys = [telling(key, records) for key in SHOWN if any(is_shown(record, key) for record in records)]
    if not keys:
        raise UserError(f"no run has one of {', '.join(SHOWN)}, which are drawn here")
    figure, axes = panels.grid(len(rows), len(keys), sharex=True)
    for row, line in zip(rows, axes, strict=True):
        for ax, key in zip(line, keys, strict=True):
            curves(ax, row.curves, key)
        drops.mark(line, row.records)
    arrangement.label_rows(axes, rows)
    beside = beside_claim.handles([curve for row in rows for curve in row.curves])
    panels.legend_above(figure, [*legend(rows), *beside])
    panels.caption(figure, caption(records, SHARED_DIRECTIONS if "nc1_trace" in keys else ""))
    return figure


def curves(ax: Axes, found: Sequence[Curve], key: str, **style: Any) -> None:
    """A metric over epochs, a band for each curve; dotted, the same against the balanced prediction where the classes
    are not balanced; marks as mark_times has them. The gap is that to the claim where one is not proven."""
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
    """For NC1 the effective NC1, where the two differ: where classes share directions, NC1 divides by what training
    left in the others. Where a record is too old to have it, the ratio of the traces if NC1 is far above that: in
    directions of one size it is below."""
    beside = "nc1_effective"
    if key != "nc1":
        return key
    if not all(beside in record.metrics for record in records):
        return "nc1_trace" if any(map(_divides_by_nothing, records)) else key
    pairs = (record.metrics[[key, beside]].to_numpy(dtype=float) for record in records)
    alike = (np.allclose(pair[:, 0], pair[:, 1], rtol=SAME, atol=0, equal_nan=True) for pair in pairs)
    return key if all(alike) else beside


def words_of_nc1(records: Sequence[Record]) -> str:
    """For a caption: what is drawn in NC1's place, if it is the ratio of the traces."""
    return SHARED_DIRECTIONS if telling("nc1", records) == "nc1_trace" else ""


def _divides_by_nothing(record: Record) -> bool:
    """Whether at some time NC1 is so far above tr Sigma_W / tr Sigma_B that Sigma_B has next to nothing in directions
    that it divides by."""
    nc1, traces = (np.array(record.metrics.get(key, []), dtype=float) for key in ("nc1", "nc1_trace"))
    return len(nc1) == len(traces) and bool((nc1 > ABOVE_TRACES * traces).any())


def is_shown(record: Record, key: str) -> bool:
    """Whether a metric is there to draw, or in place of the gap a claim that is not proven."""
    return is_defined(record, key) or (key == "gap" and beside_claim.is_unproven(record))


def is_defined(record: Record, key: str) -> bool:
    """Whether a metric is among the records and positive at some time after the start."""
    if key not in record.metrics:
        return False
    values = np.array(record.metrics[key][record.metrics["epoch"] > 0], dtype=float)
    return bool((values > 0).any())


def has_baseline(curve: Curve) -> bool:
    """Whether the balanced prediction is another one than the prediction itself."""
    return arrangement.class_ratio(curve.records[0]) > 1


def zero_error_epoch(curve: Curve) -> float | None:
    """The first measured epoch after the start from which on every seed has once had no training error; None if one
    never has, or if there is no data set or are no classes."""
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
    """On the median over the seeds, if it is drawn there: a diamond where the training error is gone, and an arrow at
    the end of a run that had not converged."""
    epochs, values, _ = panels.seed_values(curve.records, key, scale)
    drawn = panels.middle(values, scale)
    at = epochs == zero_error_epoch(curve)
    if np.isfinite(drawn[at]).any():
        ax.plot(epochs[at], drawn[at], color=curve.colour, **MARK)
    known = np.flatnonzero(np.isfinite(drawn))
    if len(known) and any(map(endings.is_unconverged, curve.records)):
        ax.plot(epochs[known[-1:]], drawn[known[-1:]], color=curve.colour, **endings.MARK)


def legend(rows: Sequence[Row]) -> list[Line2D]:
    """Which colour is which; what is dotted; what the marks mean."""
    found = arrangement.handles(rows)
    every = [curve for row in rows for curve in row.curves]
    if any(has_baseline(curve) for curve in every):
        found.append(DOTTED)
    records = [record for curve in every for record in curve.records]
    return [*found, *zero_error_handles(every), *endings.handles(records), *drops.handles(records)]


def zero_error_handles(curves: Sequence[Curve]) -> list[Line2D]:
    """What the diamond means, where there is one: of several seeds the slowest has none either."""
    marked = [curve for curve in curves if zero_error_epoch(curve) is not None]
    several = any(len(curve.records) > 1 for curve in marked)
    label = f"zero training error{' (slowest seed)' if several else ''}"
    return [Line2D([], [], color="0.4", label=label, **MARK)] if marked else []


def caption(records: Sequence[Record], words: str = "", bands: bool = True) -> str:
    """Setting, what else there is to say, prediction, who did not arrive, and the paper's experiment. bands: say what
    they are."""
    parts = (
        wording.setting_words(*records),
        words,
        wording.band_words(records) if bands else "",
        beside_claim.words_of(records),
        endings.words_of(records),
        wording.source_words(records[0]),
    )
    return " ".join(filter(None, parts))
