"""Collapse over training: the distances to the predicted geometry, seeds as bands."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ncrun.errors import UserError
from ncrun.figures import arrangement, panels, wording
from ncrun.figures.arrangement import Curve, Row
from ncrun.metrics import words_of
from ncrun.records.read import Record

SHOWN = ("nc1", "nc2_w", "nc2_h", "nc3", "gap")
# NC1 and effective NC1 are drawn as one where they differ by less, relatively.
SAME = 0.01
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
ZERO_ERROR = Line2D([], [], color="0.4", label="zero training error (slowest seed)", **MARK)


def convergence(records: Sequence[Record]) -> Figure:
    """NC1, NC2 of classifier and means, NC3, and where theory knows the optimum the gap, over epochs on log axes; a row
    for each architecture, data set or bias. Raises UserError if there is none of them."""
    rows = arrangement.arrange(records)
    keys = [key for key in SHOWN if any(is_defined(record, key) for record in records)]
    if not keys:
        raise UserError(f"no run has one of {', '.join(SHOWN)}, which are drawn here")
    figure, axes = panels.grid(len(rows), len(keys), sharex=True)
    for row, line in zip(rows, axes, strict=True):
        for ax, key in zip(line, keys, strict=True):
            curves(ax, row.curves, key)
    arrangement.label_rows(axes, rows)
    panels.legend_above(figure, legend(rows))
    panels.caption(figure, caption(records))
    return figure


def curves(ax: Axes, found: Sequence[Curve], key: str, mark: bool = True, **style: Any) -> None:
    """A metric over epochs, a band for each curve; dotted, the same against the balanced prediction where the classes
    are not balanced; a diamond where the training error is gone."""
    key = telling(key, [record for curve in found for record in curve.records])
    drawn = [curve for curve in found if any(is_defined(record, key) for record in curve.records)]
    ax.set_title(words_of(key))
    if not drawn:
        panels.nothing_to_draw(ax)
        return
    for curve in drawn:
        panels.band(ax, curve.records, key, color=curve.colour, **style)
        if key in BASELINES and has_baseline(curve):
            panels.band(ax, curve.records, f"balanced.{key}", color=curve.colour, **panels.BASELINE)
        if mark:
            mark_zero_error(ax, curve, key)
    panels.tidy_log(ax.yaxis)
    panels.tidy_log(ax.xaxis)


def telling(key: str, records: Sequence[Record]) -> str:
    """For NC1 the effective NC1, where the two differ: where classes share directions, NC1 divides by what training
    left in the others. Not where a record is too old to have it."""
    beside = "nc1_effective"
    if key != "nc1" or not all(beside in record.metrics for record in records):
        return key
    pairs = (record.metrics[[key, beside]].to_numpy(dtype=float) for record in records)
    alike = (np.allclose(pair[:, 0], pair[:, 1], rtol=SAME, atol=0, equal_nan=True) for pair in pairs)
    return key if all(alike) else beside


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


def mark_zero_error(ax: Axes, curve: Curve, key: Any, scale: str = "log") -> None:
    """A diamond on the mean over the seeds, if it is drawn there."""
    epoch = zero_error_epoch(curve)
    if epoch is None:
        return
    epochs, values, _ = panels.seed_values(curve.records, key, scale)
    at = epochs == epoch
    if np.isfinite(values[:, at]).all() and at.any():
        ax.plot(epoch, values[:, at].mean(), color=curve.colour, **MARK)


def legend(rows: Sequence[Row]) -> list[Line2D]:
    """Which colour is which; what is dotted; what the diamond means."""
    found = arrangement.handles(rows)
    every = [curve for row in rows for curve in row.curves]
    if any(has_baseline(curve) for curve in every):
        found.append(DOTTED)
    if any(zero_error_epoch(curve) is not None for curve in every):
        found.append(ZERO_ERROR)
    return found


def caption(records: Sequence[Record], words: str = "") -> str:
    """Setting, what else there is to say, bands, prediction, and the paper's experiment."""
    parts = (
        wording.setting_words(*records),
        words,
        wording.band_words(records),
        wording.prediction_words(records),
        wording.source_words(records[0]),
    )
    return " ".join(filter(None, parts))
