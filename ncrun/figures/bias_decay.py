"""From the simplex ETF to the orthogonal frame: the geometry of the squared loss over the bias' decay."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from ncrun.errors import UserError
from ncrun.figures import convergence, looks, panels
from ncrun.metrics.distance import shape_distance
from ncrun.records.groups import differing_keys, split, words
from ncrun.records.read import Record
from ncrun.theory import predict

Array = NDArray[np.float64]
POINTS = 120  # of a predicted curve
BEYOND = 3.0  # curves extend beyond the runs by this factor
TO_UNDECAYED: dict[str, Any] = {"linestyle": "", "markersize": 5, "markerfacecolor": "none"}
TO_PREDICTION: dict[str, Any] = {"linestyle": "", "markersize": 4, "alpha": 0.75}
ABSCISSA = "decay of the bias"
# In inches: narrower, the names of the frames would lie on the curves.
NARROWEST = 2.0
FRAME: dict[str, Any] = {"color": "0.6", "linestyle": ":", "linewidth": 1.0, "zorder": 1}


def bias_decay(records: Sequence[Record]) -> Figure:
    """Over the bias' decay: the mean cosine between classifier rows, predicted as a line and measured as dots, and the
    distance of W W^T to the prediction and to the prediction without bias decay. Raises UserError for other runs."""
    for record in records:
        _check(record)
    keys = [key for key in differing_keys(records) if key != "decay.bias"]
    figure, ((cosines, distances),) = panels.grid(1, 2, narrowest=NARROWEST)
    handles = []
    for number, (values, alike) in enumerate(split(records, keys).items()):
        look = looks.look(number)
        _cosines(cosines, alike, look)
        _distances(distances, alike, look)
        if keys:
            named = ", ".join(f"{key}={words(value)}" for key, value in zip(keys, values, strict=True))
            handles.append(Line2D([], [], linestyle="", label=named.replace("head.depth=", "M = "), **look))
    _frames(cosines, records)
    handles += [
        panels.DASHED,
        Line2D([], [], marker="o", color="0.35", label="measured; distance to the prediction", **TO_PREDICTION),
        Line2D([], [], marker="o", color="0.35", label="distance to that of an undecayed bias", **TO_UNDECAYED),
    ]
    panels.legend_above(figure, handles)
    alike = [_without_its_decay(record) for record in records]
    panels.caption(figure, convergence.caption(alike, "Bias decay as on the axis. Dots: every run at its end."))
    return figure


def _without_its_decay(record: Record) -> Record:
    """For a caption that does not name each run's decay."""
    decay = {key: value for key, value in record.config["decay"].items() if key != "bias"}
    return replace(record, config=record.config | {"decay": decay})


def _check(record: Record) -> None:
    problem = record.problem
    if problem.loss != "mse" or problem.head != "linear" or not problem.bias_decay:
        raise UserError(f"{record.path}: this drawing needs runs of the squared loss with head.bias and decay.bias")
    if record.measured is None:
        raise UserError(f"{record.path}: has no measured matrices, which this drawing needs")


def mean_cosine(gram: Array) -> float:
    """Over all pairs of rows; gram: (K, K)."""
    norms = np.sqrt(np.diag(gram))
    cosines = gram / np.outer(norms, norms)
    return float(cosines[~np.eye(len(gram), dtype=bool)].mean())


def _weight_gram(record: Record) -> Array:
    assert record.measured is not None
    return np.array(record.measured["weight_gram"])


def _decays(records: Sequence[Record]) -> Array:
    return np.array([record.problem.bias_decay for record in records])


def _cosines(ax: Axes, records: Sequence[Record], look: dict[str, Any]) -> None:
    found = _decays(records)
    decays = np.geomspace(found.min() / BEYOND, found.max() * BEYOND, POINTS)
    problem = records[0].problem
    predicted = [predict(replace(problem, bias_decay=float(decay))) for decay in decays]
    ax.plot(
        decays,
        [mean_cosine(each.layers[0].weight_gram) for each in predicted],
        **panels.PREDICTION | {"color": look["color"]},
    )
    ax.plot(found, [mean_cosine(_weight_gram(record)) for record in records], **look | TO_PREDICTION)
    ax.set(title="mean cosine between classifier rows", xlabel=ABSCISSA, xscale="log")


def _frames(ax: Axes, records: Sequence[Record]) -> None:
    """Marks the values of the simplex and of the orthogonal frame."""
    for K in sorted({record.problem.num_classes for record in records}):
        ax.axhline(-1 / (K - 1), **FRAME)
        # Right, where the curve has left the line; that of the frame left, where it has not come yet.
        place = (0.98, -1 / (K - 1))
        ax.annotate("simplex ETF", place, xycoords=("axes fraction", "data"), ha="right", va="bottom", color="0.4")
    ax.axhline(0.0, **FRAME)
    ax.annotate("orthogonal frame", (0.02, 0.0), xycoords=("axes fraction", "data"), va="top", color="0.4")
    ax.margins(y=0.08)


def _distances(ax: Axes, records: Sequence[Record], look: dict[str, Any]) -> None:
    undecayed = predict(replace(records[0].problem, bias_decay=0.0)).layers[0].weight_gram
    measured = [record.metrics["nc2_w"].iloc[-1] for record in records]
    ax.plot(_decays(records), np.array(measured, dtype=float), **look | TO_PREDICTION)
    others = [shape_distance(_weight_gram(record), undecayed) for record in records]
    ax.plot(_decays(records), np.array(others, dtype=float), **look | TO_UNDECAYED)
    ax.set(title=r"distance of $WW^\top$ at the end", xlabel=ABSCISSA, xscale="log", yscale="log")
    panels.tidy_log(ax.yaxis)
