"""Compares settings, aggregated over seeds: distance to the prediction, gap and NC1, at the end with intervals and over
training."""

from collections.abc import Sequence
from functools import partial, reduce
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogFormatterSciNotation, LogLocator
from numpy.typing import NDArray

from ncrun.errors import UserError
from ncrun.figures import arrangement, changes, convergence, looks, panels, wording
from ncrun.figures.arrangement import Curve, Row
from ncrun.figures.intervals import FEWEST_SEEDS, RESAMPLES, Interval, of_logarithms
from ncrun.records.read import Record

Array = NDArray[np.float64]
DISTANCES = ("nc2_w", "nc2_h", "nc3")
TITLES = {"distance": "distance to the prediction", "gap": "loss / optimum − 1", **convergence.NC1_WORDS}
# Number of log-spaced epochs of the bootstrap over training.
MOST_EPOCHS = 50
# Height of a setting, in inches.
LINE_HEIGHT = 0.2
RULE = (
    "Dot and bar: interquartile mean of the logarithms over the seeds, and its 95 % interval (percentile bootstrap,"
    f" {RESAMPLES:,} resamples, stratified by setting; with three seeds it is the mean). Below: over the settings of"
    " one colour."
)
ALL: dict[str, Any] = {"color": "0.15", "marker": "D"}
SEED_MARK: dict[str, Any] = {"marker": "|", "linestyle": "", "markersize": 5, "alpha": 0.7}
CENTRE: dict[str, Any] = {"linestyle": "", "markersize": 4.5, "zorder": 3}
SEED_HANDLE = Line2D([], [], color="0.4", label="a seed", **SEED_MARK)
CENTRE_HANDLE = Line2D(
    [], [], color="0.4", marker="o", markersize=4.5, linewidth=2.2, label="interquartile mean, 95 % interval"
)


def aggregates(records: Sequence[Record]) -> Figure:
    """Above, a line for each setting: every seed at its last epoch, and with at least three seeds their interquartile
    mean with its 95 % interval; the last line pools all such settings. Below, over training, the interquartile mean
    over the settings of one colour. All means are of logarithms, with a bootstrap stratified by setting.

    Raises UserError if no run has one of the numbers.
    """
    rows = arrangement.arrange(records)
    networks = arrangement.networks(rows)
    nc1 = convergence.telling("nc1", records)
    keys = [
        key for key in ("distance", "gap", nc1) if any(np.isfinite(ends(curve, key)).any() for _, curve in networks)
    ]
    if not keys:
        raise UserError("no run has a positive distance to the prediction, gap or NC1 at its end")
    coloured = [strata for strata in _by_colour(rows) if strata]
    lines = [label.replace("\n", ", ") or "all seeds" for label, _ in networks]
    pooled = sum(len(strata) for strata in coloured) > 1
    height = max(1.5, LINE_HEIGHT * (len(lines) + pooled) + 0.6)
    figure, axes = panels.grid(1 + bool(coloured), len(keys), height=height)
    for ax, key in zip(axes[0], keys, strict=True):
        at_end(ax, [curve for _, curve in networks], key, pooled)
    for ax in filter(panels.begins_line, axes[0]):
        ax.set_yticklabels([*lines, *(["all together"] if pooled else [])])
    if coloured:
        for ax, key in zip(axes[1], keys, strict=True):
            over_training(ax, coloured, key)
        changes.mark(axes[1], records)
    handles = [CENTRE_HANDLE, SEED_HANDLE, *changes.handles(records)] if coloured else [SEED_HANDLE]
    panels.legend_above(figure, [*arrangement.handles(rows), *handles])
    rule = RULE if coloured else f"Fewer than {FEWEST_SEEDS} seeds have no interval."
    words = f"{rule} {convergence.words_of_nc1(records)}".strip()
    panels.caption(figure, convergence.caption(records, words, bands=False))
    return figure


def at_end(ax: Axes, curves: Sequence[Curve], key: str, pooled: bool) -> None:
    """A line for each setting. pooled: a further line for all settings with intervals."""
    strata = []
    for place, curve in enumerate(curves):
        values = ends(curve, key)
        ax.plot(values, np.full(len(values), place), color=curve.colour, **SEED_MARK)
        if has_interval(curve) and np.isfinite(values).all():
            _interval(ax, place, of_logarithms([values]), curve.look)
            strata.append(values)
    if pooled and len(strata) > 1:
        _interval(ax, len(curves), of_logarithms(strata), ALL)
    bottom = len(curves) + pooled - 0.5
    ax.set(xscale="log", title=TITLES[key], ylim=(bottom, -0.5))
    ax.set_yticks(range(len(curves) + pooled), [""] * (len(curves) + pooled))
    ax.set_xlim(10.0 ** np.floor(np.log10(ax.get_xlim()[0])), 10.0 ** np.ceil(np.log10(ax.get_xlim()[1])))
    panels.tidy_log(ax.xaxis)
    ax.xaxis.set_major_locator(LogLocator(numticks=4))
    ax.xaxis.set_major_formatter(LogFormatterSciNotation())


def over_training(ax: Axes, coloured: Sequence[Sequence[Curve]], key: str) -> None:
    """For each colour the interquartile mean over its settings, with its interval as a band."""
    ax.set_xscale("log")
    for curves in coloured:
        epochs, strata = series(curves, key)
        if not len(epochs):
            continue
        found = of_logarithms(strata)
        looks.marked(*ax.plot(epochs, found.centre, **curves[0].look))
        ax.fill_between(epochs, found.low, found.high, color=curves[0].colour, alpha=0.25, linewidth=0, zorder=1.5)
    ax.set(yscale="log", xlabel=wording.time_word(coloured[0][0].records))
    panels.tidy_log(ax.xaxis)
    panels.tidy_log(ax.yaxis)


def has_interval(curve: Curve) -> bool:
    return len(curve.records) >= FEWEST_SEEDS


def ends(curve: Curve, key: str) -> Array:
    """(seeds,) at the last epoch, nan if a log axis cannot show the value."""
    found = np.array([_values(key, record.metrics.iloc[-1:])[0] for record in curve.records])
    return np.where(found > 0, found, np.nan)


def series(curves: Sequence[Curve], key: str) -> tuple[Array, list[Array]]:
    """At most MOST_EPOCHS epochs (n,) that all runs have measured, and values (seeds, n) of each setting that has
    them."""
    found = [panels.seed_values(curve.records, partial(_values, key))[:2] for curve in curves]
    found = [(epochs, values) for epochs, values in found if np.isfinite(values).any()]
    if not found:
        return np.zeros(0), []
    epochs = reduce(np.intersect1d, (own for own, _ in found))
    if len(epochs) > MOST_EPOCHS:
        wanted = np.linspace(0, np.log(epochs[-1] / epochs[0]), num=MOST_EPOCHS)
        epochs = epochs[np.unique([np.abs(np.log(epochs / epochs[0]) - each).argmin() for each in wanted])]
    return epochs, [values[:, np.isin(own, epochs)] for own, values in found]


def _interval(ax: Axes, place: float, found: Interval, look: dict[str, Any]) -> None:
    ax.plot([float(found.low), float(found.high)], [place, place], color=look["color"], linewidth=2.2, alpha=0.6)
    ax.plot(float(found.centre), place, **look | CENTRE)


def _by_colour(rows: Sequence[Row]) -> list[list[Curve]]:
    """The settings with intervals, grouped by colour."""
    found: dict[str, list[Curve]] = {}
    for row in rows:
        for curve in row.curves:
            if has_interval(curve):
                found.setdefault(curve.colour, []).append(curve)
    return list(found.values())


def _values(key: str, frame: Any) -> Array:
    """(n,), nan if a run has none. The distance is the largest one to the prediction."""
    keys = DISTANCES if key == "distance" else (key,)
    if any(each not in frame for each in keys):
        return np.full(len(frame), np.nan)
    found: Array = np.array(frame[list(keys)], dtype=float).max(axis=1)
    return found
