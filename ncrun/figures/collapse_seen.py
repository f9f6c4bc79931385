"""Collapse seen: samples, class means and classifier rows at a few epochs, on the predicted frame."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from ncrun.errors import UserError
from ncrun.figures import arrangement, convergence, looks, panels, wording
from ncrun.figures.frame import Frame, frame_of, plane_of_all, plane_of_three, rotation
from ncrun.records.read import Record
from ncrun.records.snapshots import Snapshots
from ncrun.records.snapshots_read import snapshots_of

COLUMNS = 4
# Rows of panels that fit.
MOST_RUNS = 4
# With more classes than this only three are shown: more spokes of a wheel could not be distinguished.
MOST_SPOKES = 10
ALL = "all"
# Words for a frame that is not from a theorem.
CLAIMED = {"open": "claimed", "refuted": "claimed, refuted"}
SPLITS = {"train": "training", "test": "test"}
SAMPLE: dict[str, Any] = {
    "marker": ".",
    "linestyle": "",
    "markersize": 2.2,
    "markeredgewidth": 0,
    "alpha": 0.5,
    "zorder": 2,
    "rasterized": True,
}
SPOKE: dict[str, Any] = {"color": "0.55", "linestyle": "--", "linewidth": 0.6, "zorder": 1}
TIP: dict[str, Any] = {"marker": "o", "color": "0.2", "fillstyle": "none", "markersize": 6, "markeredgewidth": 0.7}
ROW_TIP: dict[str, Any] = {"marker": "x", "color": "0.2", "markersize": 3.5, "markeredgewidth": 0.7, "zorder": 4}
ROW: dict[str, Any] = {"linewidth": 1.0, "zorder": 3}
MEAN: dict[str, Any] = {
    "marker": "o",
    "linestyle": "",
    "markersize": 3.8,
    "markeredgecolor": "white",
    "markeredgewidth": 0.5,
    "zorder": 5,
}
# Margins around the predicted and the final points, and how much more the earlier ones may need.
ROOM, MOST_ROOM = 1.3, 1.5
# Shares of half a panel: the least length of a spoke with its class' name, the name's distance, and the extent below
# which samples are magnified in an inset; and the inset's share of the panel.
SMALLEST_LABELLED, LABEL_DISTANCE, SMALL, INSET = 0.1, 0.16, 0.15, 0.27

Array = NDArray[np.float64]


@dataclass(frozen=True)
class View:
    """A run's snapshots in a plane. shown: places in snapshots.classes. plane: (C, 2), in the frame."""

    record: Record
    snapshots: Snapshots
    frame: Frame
    shown: tuple[int, ...]
    plane: Array

    @property
    def tips(self) -> Array:
        """(C, 2): the predicted class means."""
        return self.frame.means @ self.plane

    @property
    def row_scale(self) -> float:
        """The factor for drawing classifier rows: the longest predicted one becomes as long as the longest class
        mean."""
        longest = (np.linalg.norm(vectors, axis=1).max() for vectors in (self.frame.means, self.frame.rows))
        mean, row = map(float, longest)
        return mean / row if row else 1.0

    @property
    def row_tips(self) -> Array:
        """(C, 2): the predicted classifier rows, as drawn."""
        return self.row_scale * self.frame.rows @ self.plane

    def outside(self, index: int, split: str) -> float:
        """The share of a snapshot's samples beyond the panel's edges."""
        return float((np.abs(self.samples(index, split)[0]).max(axis=1) > self.reach).mean())

    def seen(self, index: int) -> Array:
        """(r, 2): maps a snapshot's own directions to the plane."""
        return rotation(self.snapshots.means[index], self.frame.means) @ self.plane

    def samples(self, index: int, split: str) -> tuple[Array, NDArray[np.int64]]:
        """The samples of the shown classes in a snapshot, (n, 2), and their classes."""
        snapshots = self.snapshots
        labels = snapshots.train_labels if split == "train" else snapshots.test_labels
        here = np.isin(labels, self.shown)
        return (snapshots.points(split, index) @ self.seen(index))[here], labels[here]

    @cached_property
    def reach(self) -> float:
        """Half the side of a square around the origin that contains the predicted vectors, the class means and
        classifier rows at the end, and the earlier class means unless they are much longer."""
        shown, last = list(self.shown), len(self.snapshots) - 1
        means = [self.snapshots.means[index] @ self.seen(index) for index in range(last + 1)]
        rows = self.row_scale * self.snapshots.rows[last] @ self.seen(last)
        end = ROOM * np.linalg.norm(np.stack((self.tips, self.row_tips, means[last], rows))[:, shown], axis=2).max()
        return float(np.clip(1.05 * np.abs(np.stack(means)[:, shown]).max(), end, MOST_ROOM * end))


# A run in a plane, a split of its samples, and the line's name.
Shown = tuple[View, str, str]


def view_of(record: Record, classes: str | None) -> View:
    """classes: three of the run's, such as 0,3,9, in the plane through their predicted means; or all, as the spokes of
    a wheel. Default: all if they are few, else the largest, the middle and the smallest. Raises UserError."""
    snapshots = snapshots_of(record)
    frame = frame_of(record, snapshots)
    C = len(snapshots.classes)
    if classes == ALL or (classes is None and C <= MOST_SPOKES and C != 3):
        return View(record, snapshots, frame, tuple(range(C)), plane_of_all(C))
    shown = _three(record, snapshots) if classes is None else _chosen(record, snapshots, classes)
    return View(record, snapshots, frame, shown, plane_of_three(frame.means, shown))


def _three(record: Record, snapshots: Snapshots) -> tuple[int, ...]:
    counts = np.array(record.manifest["class_counts"])[snapshots.classes]
    by_size = np.argsort(-counts, kind="stable")
    return tuple(int(by_size[place]) for place in (0, (len(counts) - 1) // 2, len(counts) - 1))


def _chosen(record: Record, snapshots: Snapshots, classes: str) -> tuple[int, ...]:
    kept = snapshots.classes.tolist()
    words = classes.split(",")
    if not all(word.isdecimal() for word in words) or len(set(map(int, words))) != 3:
        raise UserError(f"classes={classes}: must be three classes, such as {','.join(map(str, kept[:3]))}, or {ALL}")
    for word in words:
        if int(word) not in kept:
            raise UserError(f"classes={classes}: {record.path} has no samples of {word}; it has {_some(kept)}")
    return tuple(kept.index(int(word)) for word in words)


def _some(kept: Sequence[int]) -> str:
    return f"0 to {kept[-1]}" if kept == list(range(len(kept))) else ", ".join(map(str, kept))


def collapse_seen(records: Sequence[Record], classes: str | None = None) -> Figure:
    """Four epochs from the initialisation to the end. For one run training samples above test samples; for several that
    differ in more than their seed, a row of training samples each, of the first seed. Raises UserError."""
    lines = lines_of(records, classes)
    figure = of_moments(lines, draw_moment, height=1.45)
    views = views_of(lines)
    panels.legend_above(figure, legend(views))
    panels.caption(figure, convergence.caption([view.record for view in views], words(lines), bands=False))
    return figure


def lines_of(records: Sequence[Record], classes: str | None) -> list[Shown]:
    """What stands below one another. Raises UserError for records without samples, and for too many runs."""
    curves = [(row, curve) for row in arrangement.arrange(records) for curve in row.curves]
    if len(curves) > MOST_RUNS:
        raise UserError(f"these runs make {len(curves)} rows of panels, but only {MOST_RUNS} fit; give fewer runs")
    views = [view_of(curve.records[0], classes) for _, curve in curves]
    if len(views) == 1:
        splits = ("train", "test") if len(views[0].snapshots.test_labels) else ("train",)
        return [(views[0], split, f"{SPLITS[split]} samples") for split in splits]
    labels = [" ".join(filter(None, (row.label, curve.label))).replace("\n", " ") for row, curve in curves]
    return [(view, "train", arrangement.broken(label)) for view, label in zip(views, labels, strict=True)]


def views_of(lines: Sequence[Shown]) -> list[View]:
    """Those of the runs, each once."""
    return [view for view, split, _ in lines if split == "train"]


def of_moments(lines: Sequence[Shown], draw: Callable[[Axes, View, int, str], object], height: float) -> Figure:
    """A panel for each line and moment, named. draw: into a panel a moment of a split of a run."""
    moments = [moments_of(view) for view, _, _ in lines]
    figure, axes = panels.grid(len(lines), max(map(len, moments)), height=height)
    for row, (view, split, label), indices in zip(axes, lines, moments, strict=True):
        for ax, index in zip(row, indices, strict=False):
            draw(ax, view, index, split)
            if split == "train":
                ax.set_title(title_of(view, index))
        for ax in row[len(indices) :]:
            ax.set_axis_off()
        panels.label_row(row, label)
    return figure


def moments_of(view: View) -> list[int]:
    """Evenly chosen from the first to the last; the snapshots are log-spaced."""
    return sorted(set(np.linspace(0, len(view.snapshots) - 1, COLUMNS).round().astype(int).tolist()))


def title_of(view: View, index: int) -> str:
    """The epoch and NC1 of a snapshot."""
    epoch, metrics = int(view.snapshots.epochs[index]), view.record.metrics
    nc1 = metrics.loc[metrics["epoch"] == epoch, "nc1"]
    when = f"{wording.time_word([view.record])} {epoch}"
    return when if nc1.empty or nc1.isna().all() else f"{when}\nNC1 {float(nc1.iloc[0]):.1g}"


def colours_of(view: View) -> list[Any]:
    """Colours by place in the snapshots' classes: the palette's for three, else by count."""
    counts, classes = view.record.manifest["class_counts"], view.snapshots.classes
    if len(view.shown) == 3:
        return [f"C{view.shown.index(k)}" if k in view.shown else "0.7" for k in range(len(classes))]
    return [look["color"] for look in looks.class_looks([counts[k] for k in classes])]


def draw_moment(ax: Axes, view: View, index: int, split: str, large: float = 1.0) -> None:
    """Draws the prediction, the samples of a split, the training set's class means and the classifier's rows. If all of
    it is small, an inset magnifies it. large: factor on the size of samples."""
    for k in view.shown:
        ax.plot(*np.transpose([np.zeros(2), view.tips[k]]), **SPOKE)
        ax.plot(*view.tips[k], **TIP)
        ax.plot(*view.row_tips[k], **ROW_TIP)
        end = max((view.tips[k], view.row_tips[k]), key=np.linalg.norm)
        if np.linalg.norm(end) > SMALLEST_LABELLED * view.reach:
            x, y = end * (1 + LABEL_DISTANCE * view.reach / np.linalg.norm(end))
            ax.text(x, y, str(view.snapshots.classes[k]), ha="center", va="center", color="0.3", fontsize="small")
    _draw_measured(ax, view, index, split, large)
    _square(ax, view.reach)
    points, _ = view.samples(index, split)
    middle = np.median(points, axis=0)
    extent = 1.2 * float(np.quantile(np.abs(points - middle), 0.99))
    if 0 < extent < SMALL * view.reach and index < len(view.snapshots) - 1:
        inset = ax.inset_axes((0.0, 0.0, INSET, INSET), zorder=6)
        _draw_measured(inset, view, index, split, large)
        _square(inset, extent, middle)
        words = f"zoom {INSET * view.reach / extent:.1g}"
        ax.text(0.02, INSET + 0.01, words, transform=ax.transAxes, va="bottom", fontsize="small", zorder=7)


def _draw_measured(ax: Axes, view: View, index: int, split: str, large: float) -> None:
    colours, seen = colours_of(view), view.seen(index)
    means, rows = view.snapshots.means[index] @ seen, view.row_scale * view.snapshots.rows[index] @ seen
    points, labels = view.samples(index, split)
    for k in view.shown:
        ax.plot(*points[labels == k].T, color=colours[k], **{**SAMPLE, "markersize": large * SAMPLE["markersize"]})
        ax.plot(*np.transpose([np.zeros(2), rows[k]]), color=colours[k], **ROW)
        ax.plot(*means[k], color=colours[k], **MEAN)


def _square(ax: Axes, reach: float, middle: Sequence[float] | Array = (0.0, 0.0)) -> None:
    (left, right), (low, high) = ((each - reach, each + reach) for each in middle)
    ax.set(xlim=(left, right), ylim=(low, high), xticks=[], yticks=[], aspect="equal")
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set(visible=True, color="0.8", linewidth=0.6)


def legend(views: Sequence[View]) -> list[Line2D]:
    """The legend of marks; classes are named beside their spokes."""
    claims = {CLAIMED.get(view.record.theory["claim"], "predicted") for view in views}
    predicted = " or ".join(sorted(claims))
    if not all(view.frame.is_predicted for view in views):
        predicted = "the run's own at the end"
    return [
        Line2D([], [], color="0.4", label="sample", **{**SAMPLE, "markersize": 5, "alpha": 1}),
        Line2D([], [], color="0.4", label="class mean", **MEAN),
        Line2D([], [], color="0.4", label="classifier row", **ROW),
        Line2D([], [], **{**SPOKE, **TIP, "linestyle": "--"}, label=f"class mean, {predicted}"),
        Line2D([], [], linestyle="", **ROW_TIP, label=f"row, {predicted}"),
    ]


def words(lines: Sequence[Shown]) -> str:
    """The caption about the projection."""
    views = views_of(lines)
    view, counts = views[0], views[0].record.manifest["class_counts"]
    sizes = ", ".join(f"{k} ({counts[k]})" for k in view.snapshots.classes[list(view.shown)])
    plane = "the plane through the frame's three class means"
    if len(view.shown) != 3:
        plane = "a plane in which equal vectors at equal angles are the spokes of a wheel"
    shown = max(len(each.samples(0, split)[0]) for each, split, _ in lines)
    parts = [
        f"Classes (training samples): {sizes}; at most {shown} samples, the same in all panels, projected onto"
        f" {plane}.",
        "In each panel one rotation of feature space brings the class means nearest to the frame; nothing else is"
        " fitted.",
        "Class means are those of the training set; the longest predicted row is drawn as long as the longest class"
        " mean.",
    ]
    if len(views) > 1:
        parts.append("Each row has axes of its own.")
    if not view.frame.is_predicted:
        parts.append("There is no prediction for these classes: the frame is that of the run's last class means.")
    beyond = [
        (each.outside(index, split), f"{wording.time_word([each.record])} {each.snapshots.epochs[index]}")
        for each, split, _ in lines
        for index in moments_of(each)
    ]
    share, when = max(beyond)
    if share > 0.005:
        parts.append(f"Up to {share:.0%} of a panel's samples are beyond its edges ({when}).")
    return " ".join(parts)
