"""Histograms of the cosines of all pairs of samples, of one class and of two, from the initialisation to the end."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from ncrun.figures import collapse_seen, convergence, panels
from ncrun.figures.classes import cosines
from ncrun.figures.collapse_seen import Shown, View
from ncrun.figures.cosine_histograms import PREDICTED, histogram, pairs
from ncrun.metrics.cosines import BINS
from ncrun.records.read import Record

Array = NDArray[np.float64]
HEIGHT = 1.45  # of a panel, in inches
ONE_CLASS: dict[str, Any] = {"color": "C0", "alpha": 0.45, "linewidth": 0}
TWO_CLASSES: dict[str, Any] = {"color": "C1", "linewidth": 1.1}
# Triangles are in this share of the panel.
HIGH = 0.93


def sample_cosines(records: Sequence[Record]) -> Figure:
    """At four epochs, the share of pairs of samples over their cosine: filled for pairs of one class, a line for two
    classes; triangles are predicted cosines. For one run training samples above test samples; for several that differ
    in more than their seed, a row of training samples each, of the first seed. Raises UserError."""
    lines = collapse_seen.lines_of(records, collapse_seen.ALL)
    figure = collapse_seen.of_moments(lines, _panel, HEIGHT)
    for ax in figure.axes[-len(collapse_seen.moments_of(lines[-1][0])) :]:
        ax.set_xlabel("cosine")
    views = collapse_seen.views_of(lines)
    predicted = [Line2D([], [], color="0.4", label="predicted", **PREDICTED)] if _are_predicted(views) else []
    within = Patch(label="two samples of one class", **ONE_CLASS)
    panels.legend_above(figure, [within, Line2D([], [], label="of two classes", **TWO_CLASSES), *predicted])
    panels.caption(figure, convergence.caption([view.record for view in views], _words(lines), bands=False))
    return figure


def shares(points: Array, labels: NDArray[np.int64]) -> tuple[Array, Array]:
    """(BINS,) each, for pairs of one class and of two: the share with a cosine in each bin; zeros if there are no
    pairs. points: (n, r). labels: (n,). Zero vectors are in no pair."""
    found = cosines(points @ points.T)
    first, second = np.triu_indices(len(points), 1)
    values, is_within = found[first, second], labels[first] == labels[second]
    known = np.isfinite(values)
    within, between = (histogram(values[known & chosen]) for chosen in (is_within, ~is_within))
    return within / max(1.0, within.sum()), between / max(1.0, between.sum())


def _panel(ax: Axes, view: View, index: int, split: str) -> None:
    snapshots = view.snapshots
    labels = snapshots.train_labels if split == "train" else snapshots.test_labels
    within, between = shares(snapshots.points(split, index), labels)
    edges = np.linspace(-1, 1, BINS + 1)
    ax.stairs(within, edges, fill=True, **ONE_CLASS)
    ax.stairs(between, edges, zorder=2.5, **TWO_CLASSES)
    if view.frame.is_predicted:
        apart = np.unique(np.round(pairs((view.frame.means @ view.frame.means.T).tolist()), 2))
        for where, style in ((np.ones(1), ONE_CLASS), (apart, TWO_CLASSES)):
            place: dict[str, Any] = {"transform": ax.get_xaxis_transform(), "clip_on": False}
            ax.plot(where, np.full(len(where), HIGH), color=style["color"], **place, **PREDICTED)
    highest = max(within.max(), between.max(), 0.05)
    ax.set(xlim=(-1, 1), xticks=(-1, 0, 1), ylim=(0, highest / (HIGH - 0.1)))
    if panels.begins_line(ax):
        ax.set_ylabel("share of pairs")


def _are_predicted(views: Sequence[View]) -> bool:
    return any(view.frame.is_predicted for view in views)


def _words(lines: Sequence[Shown]) -> str:
    """The caption about the cosines."""
    parts = []
    for view, split, _ in lines:
        number = len(view.snapshots.train_labels if split == "train" else view.snapshots.test_labels)
        parts.append(f"{number:,} {collapse_seen.SPLITS[split]} samples ({number * (number - 1) // 2:,} pairs)")
    words = (
        f"Share of the pairs in {BINS} bins of the cosine; {', '.join(dict.fromkeys(parts))}, the same in all panels."
        " A run stores only the part of a sample in the span of the class means, and cosines are of that part. The"
        " rest, which vanishes with collapse, is missing, so early cosines differ from those in the whole feature"
        " space."
    )
    if any(view.record.problem.centres_means for view in collapse_seen.views_of(lines)):
        words += " With a bias, the mean of all samples is subtracted."
    if _are_predicted(collapse_seen.views_of(lines)):
        words += " Triangles: predicted; 1 for one class."
    return words
