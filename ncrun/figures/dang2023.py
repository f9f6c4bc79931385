"""Figures in the settings of Dang et al. 2023."""

from collections.abc import Sequence

from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ncrun.figures import panels
from ncrun.records.read import Record

DOTTED = Line2D([], [], color="0.4", label="to the balanced prediction", **panels.BASELINE)
DASHED = Line2D([], [], color="0.4", linestyle="--", linewidth=1.0, label="predicted")
DOT = Line2D([], [], color="0.4", marker="o", linestyle="", alpha=0.75, label="measured")


def mlp_balanced(records: Sequence[Record]) -> Figure:
    """NC1, NC2, NC3 and the gap over epochs; a row without bias (orthogonal frame) and one with (simplex ETF)."""
    rows = [
        (bias, frame)
        for bias, frame in ((False, "no bias: orthogonal frame"), (True, "last-layer bias: simplex ETF"))
        if any(record.config["head"]["bias"] == bias for record in records)
    ]
    figure, axes = plt.subplots(
        len(rows), 4, figsize=(11, 2.6 * len(rows) + 0.4), layout="constrained", squeeze=False, sharex=True
    )
    for row, (bias, frame) in zip(axes, rows, strict=True):
        here = [record for record in records if record.config["head"]["bias"] == bias]
        for ax, key in zip(row, ("nc1", "nc2_w", "nc3", "gap"), strict=True):
            panels.curves(ax, here, key)
        row[0].set_ylabel(frame)
    for ax in axes[:-1].flat:
        ax.set_xlabel("")
    panels.depth_legend(axes[0, 0], records)
    panels.caption(
        figure,
        f"{panels.setting_words(records[0])} {panels.source_words(records[0], 'Dang et al. 2023, balanced MLP')}",
    )
    return figure


def mlp_imbalanced(records: Sequence[Record]) -> Figure:
    """NC1, NC2 of classifier and means, NC3 over epochs against the imbalanced prediction; class norms beside the
    formula."""
    figure, axes = plt.subplots(2, 4, figsize=(11, 5.6), layout="constrained")
    for ax, key in zip(axes[0], ("nc1", "nc2_w", "nc2_h", "nc3"), strict=True):
        panels.curves(ax, records, key, baseline=key != "nc1")
    panels.depth_legend(axes[0, 0], records)
    axes[0, 1].legend(handles=[DOTTED], loc="lower left")
    axes[0, 1].set_ylabel("distance to the prediction")
    per_class = (
        ("class.weight_norm_sq", "weight_norm_sq", "squared norm of classifier rows"),
        ("class.feature_norm_sq", "feature_norm_sq", "squared norm of class means"),
        ("class.margin", "margin", "margin"),
    )
    for ax, (measured, predicted, title) in zip(axes[1], per_class, strict=False):
        panels.against_class_size(ax, records, measured, predicted, title)
    margins = [m for record in records for m in record.metrics["class.margin"].iloc[-1]]
    axes[1, 2].set_ylim(min(margins) - 0.02, max(1.0, *margins))
    axes[1, 0].legend(handles=[DOT, DASHED])
    panels.curves(axes[1, 3], records, "gap")
    panels.caption(
        figure,
        f"{panels.setting_words(records[0])} {panels.source_words(records[0], 'Dang et al. 2023, imbalanced MLP')}",
    )
    return figure
