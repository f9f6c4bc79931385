"""NC1 of each class, rare and frequent, over training and at the end."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ncrun.errors import UserError
from ncrun.figures import arrangement, changes, convergence, looks, needs, panels, wording
from ncrun.figures.arrangement import Curve
from ncrun.figures.classes import MEASURED, WIDE_RATIO
from ncrun.records.read import Record

Array = NDArray[np.float64]
# The most groups of classes; with more class counts, neighbouring ones share a group.
MOST_GROUPS = 5
# Rows of panels that fit on a page.
MOST_NETWORKS = 8
ALL: dict[str, Any] = {"color": "0.15", "linestyle": ":", "linewidth": 1.2}
ALL_HANDLE = Line2D([], [], label="NC1, all samples", **ALL)


@dataclass(frozen=True)
class Group:
    """Classes with about the same count. classes: their numbers. place: from 0, the largest classes, to last."""

    label: str
    classes: tuple[int, ...]
    place: int
    last: int

    @property
    def look(self) -> dict[str, Any]:
        """From dark to light."""
        colour = mpl.colormaps["viridis"](0.9 * self.place / max(1, self.last))
        return {"color": colour, "marker": looks.MARKERS[self.place]}


def class_spread(records: Sequence[Record]) -> Figure:
    """A row for each network: over training, the NC1 of groups of classes; at the end, the NC1 of every class over its
    count. Raises UserError for records without it, and for more networks than fit on a page."""
    needs.metrics(records, "class.nc1")
    networks = arrangement.networks(arrangement.arrange(records))
    if len(networks) > MOST_NETWORKS:
        raise UserError(
            f"these runs make {len(networks)} rows of panels, but only {MOST_NETWORKS} fit on a page; give fewer runs"
        )
    figure, axes = panels.grid(len(networks), 2)
    for (label, curve), (over_training, at_end) in zip(networks, axes, strict=True):
        _over_training(over_training, curve)
        changes.mark([over_training], curve.records)
        _at_end(at_end, curve)
        panels.label_row([over_training, at_end], arrangement.broken(label))
    for ax in axes[1:].flat:
        ax.set_title("")
    groups = {group.label: group for _, curve in networks for group in groups_of(_counts(curve.records[0]))}
    handles = [Line2D([], [], markersize=looks.SIZE, label=label, **group.look) for label, group in groups.items()]
    marks = convergence.zero_error_handles([curve for _, curve in networks])
    panels.legend_above(figure, [*handles, ALL_HANDLE, *marks, *changes.handles(records)])
    panels.caption(figure, convergence.caption(records, _words(records), bands=False))
    return figure


def groups_of(counts: Array) -> tuple[Group, ...]:
    """Groups for (K,) class counts, the largest first: one for each count, or MOST_GROUPS groups of about equally many
    classes. Classes with a single sample, which have no spread, are in none."""
    order = [int(k) for k in np.argsort(-counts, kind="stable") if counts[k] > 1]
    sizes = sorted({float(counts[k]) for k in order}, reverse=True)
    if len(sizes) <= MOST_GROUPS:
        parts = [[k for k in order if counts[k] == size] for size in sizes]
    else:
        parts = [part.tolist() for part in np.array_split(np.array(order), MOST_GROUPS)]
    last = len(parts) - 1
    return tuple(Group(_sizes(counts[part]), tuple(part), place, last) for place, part in enumerate(parts))


def _sizes(counts: Array) -> str:
    low, high = counts.min(), counts.max()
    return f"classes of {low:g}" if low == high else f"classes of {low:g} to {high:g}"


def _over_training(ax: Axes, curve: Curve) -> None:
    """A line for each group of classes, the median over classes and seeds, and a band from the smallest to the largest,
    where all of them can be shown; dotted: NC1 of all samples."""
    ax.set_xscale("log")
    for group in groups_of(_counts(curve.records[0])):
        found = [panels.seed_values(curve.records, partial(_of_class, k)) for k in group.classes]
        epochs, values = found[0][0], np.concatenate([each for _, each, _ in found])
        values = np.where(np.isfinite(values).all(axis=0), values, np.nan)
        looks.marked(*ax.plot(epochs, panels.middle(values), **group.look))
        shade: dict[str, Any] = {"color": group.look["color"], "alpha": 0.25, "linewidth": 0, "zorder": 1.5}
        ax.fill_between(epochs, values.min(axis=0), values.max(axis=0), **shade)
    epochs, values, _ = panels.seed_values(curve.records, "nc1")
    median = panels.middle(values)
    ax.plot(epochs, median, **ALL)
    at_zero = (epochs == convergence.zero_error_epoch(curve)) & np.isfinite(median)
    if at_zero.any():
        ax.plot(epochs[at_zero], median[at_zero], color=ALL["color"], **convergence.MARK)
    ax.set(yscale="log", title="NC1 of the classes", xlabel=wording.time_word(curve.records))
    ax.set_xlim(left=epochs.min())
    panels.tidy_log(ax.xaxis)
    panels.tidy_log(ax.yaxis)


def _at_end(ax: Axes, curve: Curve) -> None:
    """A dot for every class and seed over the class count, or with equal counts over the class number."""
    counts = _counts(curve.records[0])
    balanced = counts.min() == counts.max()
    across = np.arange(len(counts)) if balanced else counts
    for group in groups_of(counts):
        part = list(group.classes)
        for record in curve.records:
            values = np.array(record.metrics["class.nc1"].iloc[-1], dtype=float)[part]
            ax.plot(across[part], values, **MEASURED | group.look | {"markersize": 3.5})
    ax.set(yscale="log", title="at the end", xlabel="class" if balanced else "samples in the class")
    if balanced:
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    elif counts.max() / counts.min() >= WIDE_RATIO:
        ax.set_xscale("log")
        panels.tidy_log(ax.xaxis)
    panels.tidy_log(ax.yaxis)


def _of_class(k: int, frame: Any) -> list[float | None]:
    return [None if row is None else row[k] for row in frame["class.nc1"]]


def _counts(record: Record) -> Array:
    return np.array(record.manifest["class_counts"], dtype=float)


def _words(records: Sequence[Record]) -> str:
    words = "Line: median over seeds and classes of one count; band: smallest to largest; dots: each class and seed."
    if any(1 in record.manifest["class_counts"] for record in records):
        words += " Classes of one sample are not shown."
    if convergence.telling("nc1", records) != "nc1":
        words += " Class means share directions here: NC1 also divides by residues of training in the others."
    return words
