"""Norms, margins, accuracies and angles of each class over the class count, predicted beside measured."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from ncrun.errors import UserError
from ncrun.figures import arrangement, convergence, panels, wording
from ncrun.figures.arrangement import Curve
from ncrun.records.read import Record
from ncrun.theory.prediction import class_margins

Array = NDArray[np.float64]
# Key of the metrics, key of the theory, title.
PER_CLASS = (
    ("class.weight_norm_sq", "weight_norm_sq", "squared norm of classifier rows"),
    ("class.feature_norm_sq", "feature_norm_sq", "squared norm of class means"),
    ("class.margin", "margin", "margin"),
)
MEASURED: dict[str, Any] = {"marker": "o", "linestyle": "", "alpha": 0.6}
PREDICTED: dict[str, Any] = {"linestyle": "--", "linewidth": 1.0, "zorder": 3}
# For pairs of classes, which have no order for a line.
PREDICTED_PAIR: dict[str, Any] = {"marker": "_", "linestyle": "", "markersize": 7, "markeredgewidth": 1.2, "zorder": 3}
PAIR_HANDLE = Line2D([], [], color="0.4", label="predicted (pairs)", **PREDICTED_PAIR)
TEST: dict[str, Any] = {"marker": "x", "linestyle": "", "markersize": 4}
TEST_HANDLE = Line2D([], [], color="0.4", label="accuracy in the test split", **TEST)
# Of an ordinate that shows cosines.
COSINE_SPAN = 0.02
# Below this share of the largest squared norm a row or mean counts as zero: its angles are rounding.
SMALLEST_SHARE = 1e-9
# With more classes, the mean over pairs with the same larger class is drawn.
PAIRED_CLASSES = 26
# From this ratio on class counts are on a log axis.
WIDE_RATIO = 15


def sizes(records: Sequence[Record]) -> Figure:
    """Squared norms of classifier rows and class means, margins and accuracies over the class count."""
    rows = arrangement.arrange(records)
    tested = any(record.config["dataset"] is not None for record in records)
    figure, axes = panels.grid(len(rows), len(PER_CLASS) + tested, sharex=len(rows) == 1)
    for row, line in zip(rows, axes, strict=True):
        for ax, (metric, entry, title) in zip(line, PER_CLASS, strict=False):
            against_class_size(ax, row.curves, metric, entry, title)
        if tested:
            accuracies(line[-1], row.curves)
    arrangement.label_rows(axes, rows)
    known = [*arrangement.handles(rows), panels.DOT, panels.DASHED, *([TEST_HANDLE] if tested else [])]
    panels.legend_above(figure, known)
    panels.caption(figure, _caption(records))
    return figure


def angles(records: Sequence[Record]) -> Figure:
    """Cosines between classifier rows, between class means, and between a row and the mean of its class, over the class
    count. Raises UserError if no run has measured matrices."""
    kept = [record for record in records if record.measured is not None]
    if not kept:
        raise UserError("no run has measured matrices (geometry.json), which angles need")
    rows = arrangement.arrange(kept)
    figure, axes = panels.grid(len(rows), 3)
    for row, line in zip(rows, axes, strict=True):
        pair_cosines(line[0], row.curves, "weight_gram", "cosine of two classifier rows")
        pair_cosines(line[1], row.curves, "feature_gram", "cosine of two class means")
        own_cosines(line[2], row.curves)
    arrangement.label_rows(axes, rows)
    panels.legend_above(figure, [*arrangement.handles(rows), panels.DOT, PAIR_HANDLE, panels.DASHED])
    words = "A pair of classes is drawn at the count of its larger one; a dot for each pair and seed."
    if len(kept[0].manifest["class_counts"]) > PAIRED_CLASSES:
        words = "Cosines of pairs are averaged over those with the same larger class, and drawn at its count."
    if any(wording.centres_means(record) for record in kept):
        words += " With a bias, class means are centred."
    panels.caption(figure, convergence.caption(kept, words, bands=False))
    return figure


def against_class_size(ax: Axes, curves: Sequence[Curve], metric: str, entry: str, title: str) -> None:
    """Dots: measured at the last epoch in every seed; dashed lines: predicted. If theory fixes shapes only, both are
    relative to their mean over the classes."""
    for curve in curves:
        first = curve.records[0]
        counts = _counts(first)
        order = np.argsort(counts, kind="stable")
        predicted = scaled(first, predicted_values(first, entry))
        if np.isfinite(predicted).any():
            ax.plot(counts[order], predicted[order], color=_predicted_colour(curves, curve), **PREDICTED)
        values = [scaled(record, np.array(record.metrics[metric].iloc[-1], dtype=float)) for record in curve.records]
        every = np.concatenate([_counts(record) for record in curve.records])
        ax.plot(every, np.concatenate(values), **MEASURED | curve.look)
    ax.set_title(scaled_title(curves[0].records[0], title))
    _size_axis(ax, curves)
    if "norm" in metric:
        ax.set_ylim(bottom=0)


def predicted_values(record: Record, name: str) -> Array:
    """(K,) from theory.json's classes; if they are null, because only a shape is predicted, from its matrices."""
    values = np.array([entry[name] for entry in record.theory["classes"]], dtype=float)
    # The matrices may be centred; measured norms and margins are not.
    if record.theory["scale_free"] and not wording.centres_means(record) and record.theory["logits"] is not None:
        scores = np.array(record.theory["logits"], dtype=float)
        if record.theory["bias"] is not None:
            scores = scores + np.array(record.theory["bias"], dtype=float)[:, None]
        found: Array = {
            "weight_norm_sq": np.diag(np.array(record.theory["weight_gram"], dtype=float)),
            "feature_norm_sq": np.diag(np.array(record.theory["feature_gram"], dtype=float)),
            "margin": class_margins(scores),
        }[name]
        return found
    return values


def accuracies(ax: Axes, curves: Sequence[Curve]) -> None:
    """Accuracy of every class, in training and in the test split, at the last epoch, in every seed."""
    for curve in curves:
        for split, style in (("train", MEASURED), ("test", TEST)):
            key = f"class.{split}_accuracy"
            points = [
                (count, value)
                for record in curve.records
                if key in record.metrics
                for count, value in zip(_counts(record), record.metrics[key].iloc[-1] or (), strict=False)
                if value is not None
            ]
            if points:
                ax.plot(*np.transpose(points), color=curve.colour, **style)
    ax.set_title("accuracy")
    ax.set_ylim(-0.03, 1.03)
    _size_axis(ax, curves)


def pair_cosines(ax: Axes, curves: Sequence[Curve], name: str, title: str) -> None:
    """Cosines of all pairs of classes in a Gram matrix, predicted and measured, over the larger count."""
    for curve in curves:
        first = curve.records[0]
        if first.theory[name] is not None:
            where, predicted = _pairs(first, cosines(first.theory[name]))
            ax.plot(where, predicted, color=_predicted_colour(curves, curve), rasterized=True, **PREDICTED_PAIR)
        points = [_pairs(record, cosines((record.measured or {})[name])) for record in curve.records]
        where, values = (np.concatenate(each) for each in zip(*points, strict=True))
        ax.plot(where, values, rasterized=True, **MEASURED | curve.look | {"markersize": 3, "alpha": 0.45})
    ax.set_title(title)
    panels.widen(ax, COSINE_SPAN)
    _size_axis(ax, curves, "count of the larger class")


def own_cosines(ax: Axes, curves: Sequence[Curve]) -> None:
    """Cosine between the classifier row and the mean of every class, over its count."""
    for curve in curves:
        first = curve.records[0]
        counts = _counts(first)
        order = np.argsort(counts, kind="stable")
        if first.theory["logits"] is not None and first.theory["weight_gram"] is not None:
            ax.plot(counts[order], alignment(first.theory)[order], color=_predicted_colour(curves, curve), **PREDICTED)
        every = np.concatenate([_counts(record) for record in curve.records])
        values = np.concatenate([alignment(record.measured or {}) for record in curve.records])
        ax.plot(every, values, **MEASURED | curve.look)
    ax.set_title("cosine of a row and its class mean")
    panels.widen(ax, COSINE_SPAN)
    _size_axis(ax, curves)


def _predicted_colour(curves: Sequence[Curve], curve: Curve) -> str:
    """The curve's colour; dark if there is only one, so that dots do not hide it."""
    return curve.colour if len(curves) > 1 else "0.15"


def cosines(gram: Sequence[Sequence[float]] | Array) -> Array:
    """(K, K) cosines of a Gram matrix, nan for zero vectors."""
    matrix = np.array(gram, dtype=float)
    lengths = _lengths(matrix)
    return matrix / np.outer(lengths, lengths)


def alignment(matrices: dict[str, Any]) -> Array:
    """(K,) cosines between w_k and h_k, from weight_gram, feature_gram and logits; nan if either is zero."""
    weights, features, logits = (
        np.array(matrices[name], dtype=float) for name in ("weight_gram", "feature_gram", "logits")
    )
    found: Array = np.diag(logits) / (_lengths(weights) * _lengths(features))
    return found


def _lengths(gram: Array) -> Array:
    squares = np.diag(gram)
    return np.sqrt(np.where(squares > SMALLEST_SHARE * squares.max(), squares, np.nan))


def _pairs(record: Record, matrix: Array) -> tuple[Array, Array]:
    """The larger count and the value of each pair; with many classes the mean over pairs with the same larger class."""
    counts = _counts(record)
    order = np.argsort(counts, kind="stable")
    ordered, sorted_counts = matrix[np.ix_(order, order)], counts[order]
    larger, smaller = np.tril_indices(len(counts), -1)
    if len(counts) <= PAIRED_CLASSES:
        return sorted_counts[larger], ordered[larger, smaller]
    means = [np.nanmean(row) if np.isfinite(row := ordered[k, :k]).any() else np.nan for k in range(1, len(counts))]
    return sorted_counts[1:], np.array(means)


def _counts(record: Record) -> Array:
    return np.array(record.manifest["class_counts"], dtype=float)


def scaled(record: Record, values: Array) -> Array:
    """The classes' numbers, or if theory fixes shapes only, relative to their mean."""
    found: Array = values / values.mean() if record.theory["scale_free"] else values
    return found


def scaled_title(record: Record, title: str) -> str:
    """The title of `scaled` numbers."""
    return f"{title} / mean" if record.theory["scale_free"] else title


def _size_axis(ax: Axes, curves: Sequence[Curve], label: str = "class count") -> None:
    ax.set_xlabel(label)
    if max(arrangement.class_ratio(curve.records[0]) for curve in curves) >= WIDE_RATIO:
        ax.set_xscale("log")
        panels.tidy_log(ax.xaxis)


def _caption(records: Sequence[Record]) -> str:
    words = "Dots: each class and seed at the last epoch."
    if any(record.theory["scale_free"] for record in records):
        words += " Relative to the mean over the classes, because theory fixes shapes only."
    return convergence.caption(records, words, bands=False)
