"""A network with a bias and non-negative features, beside its prediction and the prediction without a bias."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ncrun.errors import UserError
from ncrun.figures import arrangement, classes, convergence, panels
from ncrun.figures.arrangement import Curve
from ncrun.figures.classes import Array
from ncrun.metrics.distance import shape_distance
from ncrun.records.read import Record
from ncrun.theory import Prediction, predict

BIAS_FREE: dict[str, Any] = {"linestyle": ":", "linewidth": 1.4, "color": "0.35", "zorder": 2.5}
# Distances: to which prediction, and the marker.
TO_PREDICTION: dict[str, Any] = {"marker": "o", "linestyle": "", "markersize": 5}
TO_BIAS_FREE: dict[str, Any] = {"marker": "s", "linestyle": "", "markersize": 5, "markerfacecolor": "white"}
TO_BALANCED: dict[str, Any] = {"marker": "^", "linestyle": "", "markersize": 5, "markerfacecolor": "white"}
DISTANCES = {"nc2_w": "rows", "nc2_h": "means", "nc3": "logits"}
APART = 0.09  # offset between two curves' markers, as a share of the distance between two matrices


def with_bias(records: Sequence[Record]) -> Figure:
    """Norms and angles of class means and margins over the class count, and the distances at the end to the prediction,
    to the one without a bias, and to the balanced one. Raises UserError for runs without a bias or without matrices."""
    for record in records:
        _check(record)
    rows = arrangement.arrange(records)
    figure, axes = panels.grid(len(rows), 4)
    for row, line in zip(rows, axes, strict=True):
        without = _bias_free(row.curves[0].records[0])
        for ax, (metric, entry, title) in zip(line, classes.PER_CLASS[1:], strict=False):
            classes.against_class_size(ax, row.curves, metric, entry, title)
            _over_sizes(ax, row.curves[0].records[0], _by_class(without, entry))
        classes.pair_cosines(line[2], row.curves, "feature_gram", "cosine of two class means")
        line[2].axhline(0.0, **BIAS_FREE)
        _distances(line[3], row.curves)
    arrangement.label_rows(axes, rows)
    panels.legend_above(figure, [*arrangement.handles(rows), *_handles()])
    words = (
        "Dots: each class, or pair of classes at the count of its larger one, and each seed at the last epoch. Without"
        " a bias, class means are orthogonal."
    )
    panels.caption(figure, convergence.caption(records, words, bands=False))
    return figure


def _check(record: Record) -> None:
    problem = record.problem
    if not problem.bias or problem.feature_sign != "nonnegative" or problem.depth > 1:
        raise UserError(f"{record.path}: this drawing needs runs of one layer with a bias on features after a ReLU")
    if record.measured is None or record.theory["logits"] is None or record.theory["scale_free"]:
        raise UserError(
            f"{record.path}: has no measured or no predicted matrices with a scale, which this drawing needs"
        )


def _bias_free(record: Record) -> Prediction:
    """The prediction for the same problem without a bias."""
    return predict(replace(record.problem, bias=False))


def _by_class(prediction: Prediction, entry: str) -> Array:
    """(K,): squared norms of class means, or margins."""
    if entry == "feature_norm_sq":
        return np.diag(prediction.layers[0].feature_gram)
    margins = prediction.margins()
    assert margins is not None
    return margins


def _over_sizes(ax: Axes, record: Record, values: Array) -> None:
    counts = np.array(record.manifest["class_counts"], dtype=float)
    order = np.argsort(counts, kind="stable")
    ax.plot(counts[order], values[order], **BIAS_FREE)


def _distances(ax: Axes, curves: Sequence[Curve]) -> None:
    """Distances of the three matrices at the end, in every seed."""
    for number, curve in enumerate(curves):
        shift = APART * (number - (len(curves) - 1) / 2)
        places = np.arange(len(DISTANCES)) + shift
        for record in curve.records:
            last = record.metrics.iloc[-1]
            own = [last[key] for key in DISTANCES]
            balanced = [last[f"balanced.{key}"] for key in DISTANCES]
            for values, style in (
                (own, TO_PREDICTION),
                (list(to_bias_free(record).values()), TO_BIAS_FREE),
                (balanced, TO_BALANCED),
            ):
                ax.plot(places, np.array(values, dtype=float), color=curve.colour, **style)
    ax.set(title="distance at the end", yscale="log", xlim=(-0.35, len(DISTANCES) - 0.65))
    ax.set_xticks(range(len(DISTANCES)), list(DISTANCES.values()))
    panels.tidy_log(ax.yaxis)


def to_bias_free(record: Record) -> dict[str, float | None]:
    """NC2 of the classifier and of the class means, and NC3, relative to the prediction without a bias; None if one of
    the two matrices is zero."""
    prediction = _bias_free(record)
    layer, measured = prediction.layers[0], record.measured or {}
    targets = (layer.weight_gram, layer.feature_gram, np.asarray(prediction.logits))
    names = ("weight_gram", "feature_gram", "logits")
    found = (shape_distance(np.array(measured[name]), target) for name, target in zip(names, targets, strict=True))
    return dict(zip(DISTANCES, found, strict=True))


def _handles() -> list[Line2D]:
    grey: dict[str, Any] = {"color": "0.35"}
    return [
        panels.DOT,
        panels.DASHED,
        classes.PAIR_HANDLE,
        Line2D([], [], label="predicted without a bias", **BIAS_FREE),
        Line2D([], [], label="distance to the prediction", **TO_PREDICTION, **grey),
        Line2D([], [], label="to the one without a bias", **TO_BIAS_FREE, **grey),
        Line2D([], [], label="to the balanced one", **TO_BALANCED, **grey),
    ]
