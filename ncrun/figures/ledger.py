"""The ledger over training: the gap of the squared loss to the optimum, its parts and their shares."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from ncrun.figures import arrangement, changes, convergence, looks, needs, panels, regions, wording
from ncrun.figures.arrangement import Curve
from ncrun.records.read import Record

Array = NDArray[np.float64]


class Part(NamedTuple):
    """words: in the legend. name: in its area. hatch: of the area. marker: of the line."""

    words: str
    name: str
    colour: str
    hatch: str
    marker: str


PARTS = {
    "ledger.within_class": Part("within-class spread", "spread", "C5", "", "^"),
    "ledger.duality": Part("unbalanced head and features", "balance", "C4", "////", "s"),
    "ledger.bias": Part("bias", "bias", "C3", "xxx", "v"),
    "ledger.geometry": Part("geometry of the class means", "geometry", "C2", "...", "o"),
}
GAP: dict[str, Any] = {"color": "0.15", "linewidth": 1.6}
# Shares average over windows of epochs up to this factor.
WINDOW = 1.1


def ledger(records: Sequence[Record]) -> Figure:
    """The gap and its parts, which add up to it, as bands over the seeds; below, the parts' shares, averaged over the
    seeds. A column for each depth.

    Raises UserError for runs without a ledger.
    """
    needs.metrics(
        records, "gap", *PARTS, why="only runs with squared loss, a linear head and a proven optimum have one"
    )
    curves = [curve for row in arrangement.arrange(records) for curve in row.curves]
    shown = [key for key in PARTS if any((record.metrics[key] > 0).any() for record in records)]
    figure, axes = panels.grid(2, len(curves), sharex=True, sharey="row")
    for (above, below), curve in zip(axes.T, curves, strict=True):
        _parts(above, curve, shown)
        _areas(below, curve, shown)
        above.set_title(curve.label)
        changes.mark((above, below), curve.records)
    panels.label_row(axes[0], "gap and parts / optimum")
    panels.label_row(axes[1], "share of the gap")
    panels.legend_above(figure, [*_handles(shown), *changes.handles(records)])
    figure.draw_without_rendering()  # the words need the size of the panels
    for below, curve in zip(axes[1], curves, strict=True):
        _words(below, curve, shown)
    words = f"The parts add up to the gap; shares are means over seeds and windows of {WINDOW - 1:.0%} of the epoch."
    panels.caption(figure, convergence.caption(records, words))
    return figure


def _parts(ax: Axes, curve: Curve, shown: Sequence[str]) -> None:
    panels.band(ax, curve.records, "gap", **GAP)
    optimum = curve.records[0].theory["objective"]
    for key in shown:
        style: dict[str, Any] = {"color": PARTS[key].colour, "marker": PARTS[key].marker, "linewidth": 1.0}
        panels.band(ax, curve.records, partial(_over, optimum, key), **style)
    ax.set_xlabel("")
    panels.tidy_log(ax.yaxis)


def _over(optimum: float, key: str, frame: Any) -> Any:
    return frame[key] / optimum


def _areas(ax: Axes, curve: Curve, shown: Sequence[str]) -> None:
    epochs, shares = windowed_shares(curve.records, shown)
    areas = ax.stackplot(epochs, shares, colors=[PARTS[key].colour for key in shown], linewidth=0)
    for area, key in zip(areas, shown, strict=True):
        area.set(hatch=PARTS[key].hatch, edgecolor="0.25", linewidth=0)
    ax.grid(False)
    ax.set(xscale="log", xlabel=wording.time_word(curve.records), ylim=(0, 1), xlim=(epochs[0], epochs[-1]))
    panels.tidy_log(ax.xaxis)


def _words(ax: Axes, curve: Curve, shown: Sequence[str]) -> None:
    """Writes the parts' names into their areas, if they fit."""
    epochs, shares = windowed_shares(curve.records, shown)
    across = np.geomspace(*ax.get_xlim(), num=regions.PLACES)
    edges = np.cumsum([np.interp(across, epochs, share) for share in shares], axis=0)
    up = (np.arange(regions.PLACES) + 0.5) / regions.PLACES
    region = (up[:, None, None] > edges.T).sum(axis=2)
    regions.named(ax, region, [PARTS[key].name for key in shown])


def windowed_shares(records: Sequence[Record], shown: Sequence[str]) -> tuple[Array, Array]:
    """Epochs (n,) and the parts' shares (parts, n), averaged over the runs and over windows of equal width on a log
    axis, because near the optimum they fluctuate."""
    import pandas as pd

    every = []
    for record in records:
        frame = record.metrics[record.metrics["epoch"] > 0]
        amounts = frame[list(shown)].clip(lower=0)
        every.append(amounts.div(amounts.sum(axis=1), axis=0).assign(epoch=frame["epoch"].astype(float)))
    shares = pd.concat(every)
    mean = shares.groupby(np.floor(np.log(shares["epoch"]) / np.log(WINDOW))).mean()
    epochs = mean["epoch"].to_numpy().copy()
    epochs[[0, -1]] = shares["epoch"].min(), shares["epoch"].max()  # to both edges of the panel
    return epochs, mean[list(shown)].to_numpy().T


def _handles(shown: Sequence[str]) -> list[Line2D]:
    style: dict[str, Any] = {"markersize": looks.SIZE, "linewidth": 1.0}
    return [Line2D([], [], label="gap: loss − optimum", **GAP)] + [
        Line2D([], [], color=part.colour, marker=part.marker, label=part.words, **style)
        for part in map(PARTS.__getitem__, shown)
    ]
