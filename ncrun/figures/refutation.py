"""The refutation in one figure: the claimed, the lowest known and the trained configuration."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ncrun.errors import UserError
from ncrun.figures import arrangement, beside_claim, class_order, convergence, heat_map, panels, wording
from ncrun.figures.arrangement import Curve
from ncrun.records.read import Record
from ncrun.theory import Prediction, predict
from ncrun.theory.lowest_known import lower_bound, lowest_known
from ncrun.theory.prediction import Array, Reference

GRAMS = {"weight_gram": "$W W^T$", "feature_gram": "$\\bar{H}^T \\bar{H}$"}
COLUMNS = ("claimed", "lowest known", "trained")
# The most settings on a page, with two rows of panels each.
MOST_SETTINGS = 3
# The loss is drawn up to this multiple of the claimed one.
HIGHEST = 5
MARKED: dict[str, Any] = {"markersize": 3, "markerfacecolor": "white"}
STYLES: dict[str, dict[str, Any]] = {
    "claimed": {**panels.PREDICTION, "marker": "s", **MARKED},
    "lowest known": {**beside_claim.LOWEST, "color": "C1", "marker": "^", **MARKED},
    "trained": {"color": "C0", "linewidth": 1.2, "marker": "o", "markersize": 3},
    "proven lower bound": {**beside_claim.BOUND, "color": "0.25"},
}


@dataclass(frozen=True)
class Shown:
    """A setting whose claim is above a known value. matrices: weight_gram, feature_gram and logits of each of COLUMNS,
    with classes in drawing order. orders: the classes of the trained and of the lowest known one in that order. bound:
    the proven lower bound, or None."""

    label: str
    curve: Curve
    prediction: Prediction
    best: Reference
    bound: float | None
    matrices: dict[str, dict[str, Array]]
    orders: dict[str, class_order.Order]


def refutation(records: Sequence[Record]) -> Figure:
    """Two rows for each setting: Gram matrices of the classifier and of the class means, and beside them the loss over
    training and the singular values of the logits.

    Raises UserError if no run has both matrices and a claim with a known lower value, and for more than MOST_SETTINGS.
    """
    shown = refuted(records)
    figure, axes = panels.grid(2 * len(shown), len(COLUMNS) + 1, height=1.5)
    for each, (above, below) in zip(shown, axes.reshape(len(shown), 2, -1), strict=True):
        for line, (name, symbol) in zip((above, below), GRAMS.items(), strict=True):
            images = [_matrix(ax, each.matrices[column][name]) for ax, column in zip(line, COLUMNS, strict=False)]
            panels.label_row(line[: len(COLUMNS)], symbol)
        above[0].set_ylabel(arrangement.broken("\n".join(filter(None, (each.label, above[0].get_ylabel())))))
        _loss(above[-1], each)
        _singular_values(below[-1], each)
    for ax, column in zip(axes[0], COLUMNS, strict=False):
        ax.set_title(column)
    places = list(axes[:, : len(COLUMNS)].flat)
    bar = figure.colorbar(images[-1], ax=places, shrink=0.5, aspect=25, pad=0.02)
    bar.set_label("entry / largest")
    panels.legend_above(figure, _legend(shown))
    panels.caption(figure, _caption(shown, records))
    return figure


def refuted(records: Sequence[Record]) -> list[Shown]:
    """The settings that can be drawn, with the first of runs that differ only in their seed."""
    found = []
    for row in arrangement.arrange(records):
        for curve in row.curves:
            each = _shown(", ".join(filter(None, (row.label, curve.label))), curve)
            found += [each] if each is not None else []
    if not found:
        raise UserError("no run has both matrices and a claim with a known lower value, which this drawing needs")
    if len(found) > MOST_SETTINGS:
        raise UserError(
            f"these runs make {len(found)} settings, but only {MOST_SETTINGS} fit on a page; give fewer runs"
        )
    return found


def _shown(label: str, curve: Curve) -> Shown | None:
    record = curve.records[0]
    if not beside_claim.is_unproven(record) or record.measured is None:
        return None
    # From today's theory for the record's problem: lower configurations may have been found since the run.
    problem = record.problem
    prediction = predict(problem)
    best, configuration = prediction.best_known, lowest_known(problem)
    if best is None or best.objective is None or configuration is None or prediction.logits is None:
        return None
    centring = np.eye(problem.num_classes) - (1 / problem.num_classes if problem.centres_means else 0.0)
    known = {
        "weight_gram": configuration.weight_gram,
        "feature_gram": centring @ configuration.feature_gram @ centring,
        "logits": configuration.logits @ centring,
    }
    trained = {name: np.array(record.measured[name], dtype=float) for name in known}
    layer = prediction.layers[0]
    claimed = {"weight_gram": layer.weight_gram, "feature_gram": layer.feature_gram, "logits": prediction.logits}
    order = class_order.by_structure(trained["weight_gram"])
    matching = class_order.matched(known["weight_gram"], trained["weight_gram"][np.ix_(order, order)])
    matrices = {
        "claimed": claimed,
        "lowest known": {name: each[np.ix_(matching, matching)] for name, each in known.items()},
        "trained": {name: each[np.ix_(order, order)] for name, each in trained.items()},
    }
    bound = lower_bound(problem, best.objective)
    return Shown(label, curve, prediction, best, bound, matrices, {"trained": order, "lowest known": matching})


def _matrix(ax: Axes, matrix: Array) -> AxesImage:
    """Over its largest entry."""
    relative = matrix / (float(np.abs(matrix).max()) or 1.0)
    image = heat_map.cells(ax, relative, (colormaps[heat_map.COLOURS], -1.0, 1.0))
    ax.set(xticks=[], yticks=[])
    return image


def _loss(ax: Axes, shown: Shown) -> None:
    records = shown.curve.records
    panels.band(ax, records, "loss", color=STYLES["trained"]["color"])
    values = _values(shown)
    for name, value in values.items():
        ax.axhline(value, **{**STYLES[name], "marker": ""})
    highest = HIGHEST * max(values.values())
    frame = records[0].metrics
    first = frame["epoch"][(frame["epoch"] > 0) & (frame["loss"] <= highest)].min()
    ax.set(title="loss", ylim=(None, highest), xlim=(first / 1.5 if np.isfinite(first) else 1, None))
    if shown.bound is not None:
        low = 0.8 * shown.bound
        ax.axhspan(low, shown.bound, color="0.9", zorder=0.5)
        ax.set_ylim(bottom=low)
    panels.tidy_log(ax.yaxis)
    panels.tidy_log(ax.xaxis)


def _values(shown: Shown) -> dict[str, float]:
    """The horizontal lines in the panel of the loss."""
    claimed, best = shown.prediction.objective, shown.best.objective
    assert claimed is not None
    assert best is not None
    bound = {} if shown.bound is None else {"proven lower bound": shown.bound}
    return {"claimed": claimed, "lowest known": best, **bound}


def _singular_values(ax: Axes, shown: Shown) -> None:
    for column in COLUMNS:
        values = np.linalg.svd(shown.matrices[column]["logits"], compute_uv=False)
        ax.plot(np.arange(1, len(values) + 1), values, **STYLES[column])
    ax.set(title="singular values", xlabel="number")
    ax.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))


def _legend(shown: Sequence[Shown]) -> list[Line2D]:
    names = [name for name in STYLES if name in (*COLUMNS, *_values(shown[0]))]
    return [Line2D([], [], label=name, **STYLES[name]) for name in names]


def _caption(shown: Sequence[Shown], records: Sequence[Record]) -> str:
    drawn = [record for each in shown for record in each.curve.records]
    told = [_told(each) if len(shown) == 1 else f"{each.label}: {_told(each)}" for each in shown]
    parts = [
        *told,
        "Matrices: of the first seed at the last epoch, each over its largest entry; a dash marks negative entries."
        " Singular values: of the logits of the class means.",
        "The trained classes are in the order of a hierarchical clustering (optimal leaf ordering), those of the"
        " lowest known configuration, which are interchangeable, in the order nearest to that (quadratic assignment):"
        " permutations only.",
    ]
    if any(wording.centres_means(record) for record in drawn):
        parts.append("With a bias, class means are centred.")
    if len(drawn) < len(records):
        parts.append(f"Not shown, because no value below their claim is known: {len(records) - len(drawn)}.")
    return convergence.caption(drawn, " ".join(parts))


def _told(shown: Shown) -> str:
    """The values in the caption."""
    values = _values(shown)
    bound = f", no network below {values['proven lower bound']:.3g}" if shown.bound is not None else ""
    return f"Claimed {values['claimed']:.4g}, lowest known {values['lowest known']:.4g} ({shown.best.name}){bound}."
