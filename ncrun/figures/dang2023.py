"""Figures in the settings of Dang et al. 2023."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from mpl_toolkits.mplot3d.art3d import Poly3DCollection  # type: ignore[import-untyped]
from numpy.typing import NDArray

from ncrun.errors import UserError
from ncrun.figures import arrangement, classes, convergence, drops, endings, needs, panels, wording
from ncrun.figures.arrangement import Curve, Row
from ncrun.records.read import Record

WITH_MOMENTUM: dict[str, Any] = {"linestyle": "-"}
PLAIN: dict[str, Any] = {"linestyle": "-.", "linewidth": 1.0}
# What the line style of these shows.
BY_STYLE = ("optimizer.momentum",)
# Of float64; NC1, a square, would otherwise fall on to 1e-32.
ROUNDING = 1e-16
MOMENTA = "The paper says gradient descent, its code has momentum 0.9."
PREDICTED_VECTOR: dict[str, Any] = {"color": "0.8", "linewidth": 4, "solid_capstyle": "butt"}
PREDICTED_TIP: dict[str, Any] = {"marker": "o", "color": "0.5", "fillstyle": "none", "markersize": 9, "linestyle": ""}
PLANE: dict[str, Any] = {"facecolor": "0.6", "edgecolor": "none", "alpha": 0.2}
# The longest class mean as drawn, beside a longest classifier row of 1, so that one does not hide the other.
LONGEST_MEAN = 0.7
# By balanced counts and bias.
FRAMES = {
    (True, False): "orthogonal frame",
    (True, True): "simplex ETF, in a plane",
    (False, False): "general orthogonal frame",
    (False, True): "in a plane, angles unequal",
}
FRAME_LEGEND = (
    Line2D([], [], label="predicted", **PREDICTED_VECTOR),
    Line2D([], [], color="0.3", linewidth=1.5, marker=">", markersize=6, markevery=[1], label="learned classifier row"),
    Line2D([], [], color="0.3", linestyle="", marker="o", markersize=6, label="learned class mean"),
    Line2D([], [], label="predicted class mean", **PREDICTED_TIP),
    Patch(label="plane of the predicted rows", **PLANE),
)
# Of a coordinate: all vectors lie in the plane of the other two.
FLAT = 1e-6
LEDGER = {
    "ledger.within_class": "within-class spread",
    "ledger.duality": "head and features out of balance",
    "ledger.bias": "bias",
    "ledger.geometry": "geometry of the class means",
}
COLOURS = dict(zip(LEDGER, ("C5", "C4", "C3", "C2"), strict=True))
# Epochs up to so many times the first are averaged in the shares of the ledger.
WINDOW = 1.1

Array = NDArray[np.float64]


def imbalanced(records: Sequence[Record]) -> Figure:
    """Distances to the imbalanced prediction and to the balanced one over epochs; class norms and margins beside the
    formula, and the gap: the whole of one experiment in one figure."""
    row = arrangement.only_row(records)
    figure, axes = panels.grid(2, 4)
    for ax, key in zip(axes[0], ("nc1", "nc2_w", "nc2_h", "nc3"), strict=True):
        convergence.curves(ax, row.curves, key)
    for ax, panel in zip(axes[1], classes.PER_CLASS, strict=False):
        classes.against_class_size(ax, row.curves, *panel)
    convergence.curves(axes[1, 3], row.curves, "gap")
    drops.mark([*axes[0], axes[1, 3]], records)
    panels.legend_above(figure, [*convergence.legend([row]), panels.DOT, panels.DASHED])
    words = "Norms and margins: every class in every seed at the last epoch."
    panels.caption(figure, convergence.caption(records, words))
    return figure


def direct_imbalanced(records: Sequence[Record]) -> Figure:
    """NC1, NC2, NC3 and the gap over iterations, with and without momentum; below, class norms and margins beside the
    formula."""
    needs.momenta(records)
    row = arrangement.only_row(records, BY_STYLE)
    figure, axes = panels.grid(2, 4)
    for ax, key in zip(axes[0], ("nc1", "nc2_w", "nc2_h", "nc3"), strict=True):
        _with_and_without_momentum(ax, row.curves, key)
    _with_and_without_momentum(axes[1, 3], row.curves, "gap")
    drops.mark([*axes[0], axes[1, 3]], records)
    fastest = max(map(_momentum, records))
    dotted = [curve for curve in row.curves if _momentum(curve.records[0]) == fastest]
    for ax, panel in zip(axes[1], classes.PER_CLASS, strict=False):
        classes.against_class_size(ax, dotted, *panel)
    found = [*_handles([row]), convergence.DOTTED, panels.DOT, panels.DASHED]
    panels.legend_above(figure, found)
    panels.caption(figure, _direct_words(records, f"Dots: momentum {fastest:g}."))
    return figure


def direct_balanced(records: Sequence[Record]) -> Figure:
    """NC1, NC2, NC3 and the gap over iterations, with and without momentum; a row without bias (orthogonal frame) and
    one with (simplex ETF)."""
    needs.momenta(records)
    rows = arrangement.arrange(records, BY_STYLE)
    keys = (convergence.telling("nc1", records), "nc2_w", "nc2_h", "nc3", "gap")
    figure, axes = panels.grid(len(rows), 5, sharex=True)
    for row, line in zip(rows, axes, strict=True):
        for ax, key in zip(line, keys, strict=True):
            _with_and_without_momentum(ax, row.curves, key)
        drops.mark(line, row.records)
    arrangement.label_rows(axes, rows)
    panels.legend_above(figure, _handles(rows))
    panels.caption(figure, _direct_words(records))
    return figure


def _momentum(record: Record) -> float:
    return float(record.config["optimizer"]["momentum"])


def _with_and_without_momentum(ax: Axes, curves: Sequence[Curve], key: str) -> None:
    for curve in curves:
        convergence.curves(ax, [curve], key, **(WITH_MOMENTUM if _momentum(curve.records[0]) else PLAIN))
    ax.set_xlim(10, max(curve.records[0].config["epochs"] for curve in curves))
    ax.set_ylim(bottom=max(ROUNDING, ax.get_ylim()[0]))
    panels.tidy_log(ax.yaxis)


def _handles(rows: Sequence[Row]) -> list[Line2D]:
    records = [record for row in rows for record in row.records]
    momenta = {_momentum(record) for record in records}
    found = arrangement.handles(rows) + [
        Line2D([], [], color="0.4", label=f"momentum {momentum:g}", **(WITH_MOMENTUM if momentum else PLAIN))
        for momentum in sorted(momenta, reverse=True)
    ]
    return found + endings.handles(records) + drops.handles(records)


def _direct_words(records: Sequence[Record], more: str = "") -> str:
    return convergence.caption(records, " ".join(filter(None, (more, f"Cut off at {ROUNDING:g}.")))) + f" {MOMENTA}"


def geometry_3d(records: Sequence[Record]) -> Figure:
    """Three classes in space: learned classifier rows and class means on the predicted frame, a panel for each run.

    Drawn from the measured Gram matrices, which fix the vectors up to the rotation that the theorem leaves open too.
    """
    for record in records:
        if len(record.manifest["class_counts"]) != 3:
            raise UserError(f"{record.path}: has {len(record.manifest['class_counts'])} classes; three are drawn here")
    ordered = sorted(records, key=lambda record: (not _is_balanced(record), record.config["head"]["bias"]))
    figure, axes = panels.grid(1, len(ordered), subplot_kw={"projection": "3d"})
    for ax, record in zip(axes[0], ordered, strict=True):
        _draw_frame(ax, record)
        balanced, bias = _is_balanced(record), record.config["head"]["bias"]
        setting = f"{'balanced' if balanced else 'imbalanced'}, {'last-layer bias' if bias else 'no bias'}"
        ax.set_title(f"{setting}:\n{FRAMES[balanced, bias]}", y=0.97)
    panels.legend_above(figure, FRAME_LEGEND)
    words = (
        "Learned vectors are rotated as a whole onto the prediction, which fixes lengths and angles only. The longest"
        f" predicted classifier row is drawn with length 1, the longest predicted class mean with {LONGEST_MEAN:g};"
        " numbers: samples of the class. After a picture in Dang et al. 2023; sizes and decays are ours."
    )
    panels.caption(figure, f"{wording.setting_words(*ordered)} {words}")
    return figure


def _is_balanced(record: Record) -> bool:
    return len(set(record.manifest["class_counts"])) == 1


def _draw_frame(ax: Any, record: Record) -> None:
    predicted, measured = frames(record)
    ax.add_collection3d(Poly3DCollection([predicted[0]], **PLANE))
    for k, count in enumerate(record.manifest["class_counts"]):
        for tip in predicted[:, k]:
            ax.plot(*np.transpose([np.zeros(3), tip]), **PREDICTED_VECTOR)
        row, mean = measured[:, k]
        ax.quiver(0, 0, 0, *row, color=f"C{k}", linewidth=1.5, arrow_length_ratio=0.13)
        ax.plot(*np.transpose([np.zeros(3), mean]), color=f"C{k}", linewidth=0.8)
        ax.plot(*mean, "o", color=f"C{k}")
        ax.plot(*predicted[1, k], **PREDICTED_TIP)
        farthest = max(row, mean, key=np.linalg.norm)
        label = farthest * (1 + 0.16 / np.linalg.norm(farthest))
        ax.text(*label, str(count), ha="center", va="center")
    # The same scale in every panel, around the middle of what it shows.
    points = np.vstack([predicted.reshape(-1, 3), np.zeros(3)])
    middle = (points.min(axis=0) + points.max(axis=0)) / 2 + [0, 0, 0.2]  # room for the title
    limits = np.stack([middle - 0.78, middle + 0.78], axis=1)
    ax.set(xlim=limits[0], ylim=limits[1], zlim=limits[2])
    ax.set_box_aspect((1, 1, 1), zoom=1.2)
    # From where the three directions spread evenly: between the axes, or along the first of three in a plane.
    ax.view_init(elev=30, azim=45 if np.abs(predicted[..., 2]).max() > FLAT else 6)
    ax.set_axis_off()


def frames(record: Record) -> tuple[Array, Array]:
    """The predicted and the measured vectors, (2, K, 3) each: classifier rows, then class means, scaled as drawn.

    Only Gram matrices are determined. The prediction is posed with class 0 on the first axis, class 1 in the plane of
    the first two, and so on; the measured vectors are rotated (or reflected) onto it as a whole.
    """
    theory, matrices = record.theory, record.measured
    if matrices is None or any(theory[name] is None for name in ("weight_gram", "logits")):
        raise UserError(f"{record.path}: lacks predicted or measured matrices, from which vectors are drawn")
    values, axes = np.linalg.eigh(np.array(theory["weight_gram"]))
    _, upper = np.linalg.qr((axes * np.sqrt(np.clip(values, 0, None))).T)
    weights = upper.T * np.where(np.diag(upper) < 0, -1, 1)
    means = (np.linalg.pinv(weights, rcond=1e-6) @ np.array(theory["logits"])).T
    predicted = np.stack([weights, means])[..., :3]
    lengths = np.linalg.norm(predicted, axis=2).max(axis=1) / [1, LONGEST_MEAN]
    predicted /= lengths[:, None, None]

    gram = np.block(
        [
            [np.array(matrices["weight_gram"]), np.array(matrices["logits"])],
            [np.array(matrices["logits"]).T, np.array(matrices["feature_gram"])],
        ]
    ) / np.outer(*[lengths.repeat(len(weights))] * 2)
    values, axes = np.linalg.eigh(gram)
    measured = axes[:, -3:] * np.sqrt(np.clip(values[-3:], 0, None))
    left, _, right = np.linalg.svd(measured.T @ predicted.reshape(-1, 3))
    return predicted, (measured @ left @ right).reshape(predicted.shape)


def ledger(records: Sequence[Record]) -> Figure:
    """Where the gap to the optimum comes from over training: its parts (they add up to it), and their shares; a column
    for each depth, of its first seed (parts that swing from epoch to epoch have no meaningful mean)."""
    needs.metrics(records, "gap", *LEDGER, why="it is of squared loss on a linear head with a proven optimum")
    curves = [curve for row in arrangement.arrange(records) for curve in row.curves]
    shown = [curve.records[0] for curve in curves]
    figure, axes = panels.grid(2, len(shown), sharex=True, sharey="row")
    parts = {key: word for key, word in LEDGER.items() if any((r.metrics[key] > 0).any() for r in shown)}
    for column, record in zip(axes.T, shown, strict=True):
        frame = record.metrics[record.metrics["epoch"] > 0]
        optimum = record.theory["objective"]
        panels.line(column[0], frame["epoch"], frame["gap"], color="0.15", label="gap: loss − optimum")
        for key, word in parts.items():
            panels.line(column[0], frame["epoch"], frame[key] / optimum, color=COLOURS[key], linewidth=1.0, label=word)
        epochs, shares = _shares(frame, list(parts))
        column[1].stackplot(epochs, shares, colors=[COLOURS[key] for key in parts], linewidth=0)
        column[1].grid(False)
        column[0].set(xscale="log", yscale="log", title=f"M = {record.config['head']['depth']}")
        column[1].set(xlabel=wording.time_word(records), ylim=(0, 1), xlim=(1, frame["epoch"].iloc[-1]))
        drops.mark(column, [record])
    panels.label_row(axes[0], "gap and parts / optimum")
    panels.label_row(axes[1], "share of the gap")
    panels.legend_above(figure, [*axes[0, 0].get_legend_handles_labels()[0], *drops.handles(shown)])
    words = f"The parts add up to the gap; shares are averaged over windows of {WINDOW - 1:.0%} of the epoch."
    panels.caption(figure, convergence.caption(shown, words))
    return figure


def _shares(frame: Any, parts: Sequence[str]) -> tuple[Array, Array]:
    """Epochs (n,) and the parts' shares (parts, n), averaged over windows of equal width on a log axis: near the
    optimum they swing from epoch to epoch."""
    amounts = frame[list(parts)].clip(lower=0)
    shares = amounts.div(amounts.sum(axis=1), axis=0).assign(epoch=frame["epoch"].astype(float))
    mean = shares.groupby(np.floor(np.log(frame["epoch"]) / np.log(WINDOW))).mean()
    epochs = mean["epoch"].to_numpy().copy()
    epochs[[0, -1]] = frame["epoch"].iloc[[0, -1]]  # up to both edges of the panel
    return epochs, mean[list(parts)].to_numpy().T
