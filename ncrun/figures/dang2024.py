"""Figures in the settings of Dang et al. 2024: cross-entropy, non-negative features, imbalanced classes."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ncrun.figures import arrangement, classes, matrices, panels
from ncrun.figures.arrangement import class_ratio
from ncrun.records.read import Record

# The ratio whose Gram matrices are shown entry by entry.
SHOWN_RATIO = 10


def direct(records: Sequence[Record]) -> Figure:
    """Norms and margins class by class at every imbalance ratio, angles over the ratio, all beside the formula."""
    ordered = sorted(records, key=class_ratio)
    (row,) = arrangement.arrange(records)
    figure, axes = panels.grid(2, 3, width=3.1, height=2.4)
    for ax, words in zip(axes[0], classes.PER_CLASS, strict=True):
        classes.against_class_size(ax, row.curves, *words)
        ax.set_ylim(bottom=0)
    panels.legend_above(figure, [*arrangement.handles([row]), panels.DOT, panels.DASHED])

    pairs = (("two largest classes", 0, 1), ("largest and smallest", 0, -1), ("two smallest classes", -2, -1))
    _over_ratio(
        axes[1, 0], ordered, {name: (_weight_cosine, i, j) for name, i, j in pairs}, "cosine of classifier rows"
    )
    own = (("largest class", 0, 0), ("smallest class", -1, -1))
    _over_ratio(
        axes[1, 1], ordered, {name: (_own_cosine, i, j) for name, i, j in own}, "cosine of a row and its class mean"
    )
    for key, label in (("nc2_w", "classifier"), ("nc2_h", "class means"), ("nc3", "logits")):
        values = [record.metrics[key].iloc[-1] for record in ordered]
        axes[1, 2].plot([class_ratio(r) for r in ordered], values, "o-", label=label)
    axes[1, 2].set(title="distance to the formula", xlabel="imbalance ratio", xscale="log", yscale="log")
    axes[1, 2].xaxis.set_major_formatter("{x:g}")
    axes[1, 2].legend()
    panels.caption(figure, _words(ordered))
    return figure


def direct_grams(records: Sequence[Record]) -> Figure:
    """Gram matrices and logits of one ratio, entry by entry."""
    record = min(records, key=lambda r: abs(class_ratio(r) - SHOWN_RATIO))
    return matrices.matrices([record])


def _over_ratio(ax: Axes, records: Sequence[Record], curves: dict[str, tuple[object, int, int]], title: str) -> None:
    ratios = [class_ratio(record) for record in records]
    for index, (name, (cosine, i, j)) in enumerate(curves.items()):
        expected = [cosine(record.theory, i, j) for record in records]  # type: ignore[operator]
        measured = [cosine(record.measured, i, j) for record in records]  # type: ignore[operator]
        ax.plot(ratios, expected, "--", color=f"C{index}", linewidth=1.0)
        ax.plot(ratios, measured, "o", color=f"C{index}", alpha=0.75, label=name)
    ax.set(title=title, xlabel="imbalance ratio", xscale="log")
    ax.xaxis.set_major_formatter("{x:g}")
    ax.legend()


def _weight_cosine(matrices: dict[str, Any], i: int, j: int) -> float:
    return float(classes.cosines(matrices["weight_gram"])[i, j])


def _own_cosine(matrices: dict[str, Any], i: int, j: int) -> float:
    return float(classes.alignment(matrices)[i])


def _words(records: Sequence[Record]) -> str:
    record = records[0]
    decays = record.manifest["effective_decays"]
    return (
        "The problem of Dang et al. 2024 itself: free non-negative features of dimension"
        f" {record.config['model']['width']}, cross-entropy, one linear layer, decays {decays['weight'][0]:g} and"
        f" {decays['feature']:g}; L-BFGS, seed {record.config['seed']}."
    )
