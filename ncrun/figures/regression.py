"""Runs on targets: neural regression collapse over training, and measured over predicted numbers at the end."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ncrun.figures import arrangement, changes, convergence, directions, needs, panels
from ncrun.figures.arrangement import Curve
from ncrun.records.read import Record

# Metrics with short titles.
OVER_TIME = {
    "nrc1": "NRC1: features",
    "nrc2": "NRC2: features, W",
    "nrc3": "NRC3: $W W^\\top$",
    "nc2_w": "$W W^\\top$ to prediction",
    "gap": "loss / optimum − 1",
}
MARK: dict[str, Any] = {"marker": "o", "markersize": 4.5, "markerfacecolor": "none", "linestyle": ""}


def regression(records: Sequence[Record]) -> Figure:
    """NRC1 to NRC3, the distance of W W^T to the prediction and the gap over training; and at the end the squared norm
    of W along each principal direction of the targets over the predicted one. A row for each architecture, data set or
    bias. Raises UserError for runs without targets, and for more rows than fit on a page."""
    for record in records:
        needs.columns(record, *OVER_TIME)
    rows = arrangement.arrange(records)
    figure, axes = panels.grid(len(rows), len(OVER_TIME) + 1)
    for row, line in zip(rows, axes, strict=True):
        for ax, (key, title) in zip(line, OVER_TIME.items(), strict=False):
            convergence.curves(ax, row.curves, key)
            ax.set_title(title)
        changes.mark(line[:-1], row.records)
        _measured_over_predicted(line[-1], row.curves)
    arrangement.label_rows(axes, rows)
    diagonal = Line2D([], [], label="as predicted", **panels.PREDICTION)
    panels.legend_above(figure, [*convergence.legend(rows), diagonal])
    panels.caption(
        figure,
        convergence.caption(records, "Right: u runs over the principal directions of the targets, in every seed."),
    )
    return figure


def _measured_over_predicted(ax: Axes, curves: Sequence[Curve]) -> None:
    shown: list[float] = []
    for curve in curves:
        for record in curve.records:
            values = directions.measured(record, "direction.weight_norm_sq")
            expected = directions.predicted(record, "weight_norm_sq")
            if values is None or record.theory["scale_free"]:
                continue
            kept = expected > 0
            ax.plot(expected[kept], values[-1, kept], **MARK | curve.look)
            shown += [*expected[kept], *values[-1, kept]]
    ax.set_title(r"$u^\top W W^\top u$")
    if not shown:
        panels.nothing_to_draw(ax)
        return
    ends = np.array([min(shown) / 1.4, max(shown) * 1.4])
    ax.plot(ends, ends, **panels.PREDICTION)
    ax.set(xscale="log", yscale="log", xlim=ends, ylim=ends, xlabel="predicted", ylabel="measured")
    panels.tidy_log(ax.xaxis)
    panels.tidy_log(ax.yaxis)
