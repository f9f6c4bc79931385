"""Figures in the settings of Dang et al. 2024: cross-entropy, non-negative features, imbalanced classes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ncrun.errors import UserError
from ncrun.figures import arrangement, classes, looks, matrices, panels, wording
from ncrun.figures.arrangement import class_ratio
from ncrun.metrics import METRICS
from ncrun.records.read import Record

# In inches, of a legend in a panel.
LEGEND_LINE = 0.2
# The imbalance ratio whose Gram matrices are shown.
SHOWN_RATIO = 10


def direct(records: Sequence[Record]) -> Figure:
    """Norms and margins of each class at every imbalance ratio, and angles over the ratio, all beside the formula."""
    ordered = sorted(records, key=class_ratio)
    row = arrangement.only_row(records)
    figure, axes = panels.grid(2, 3)
    for ax, words in zip(axes[0], classes.PER_CLASS, strict=True):
        classes.against_class_size(ax, row.curves, *words)
        ax.set_ylim(bottom=0)
    panels.legend_above(figure, [*arrangement.handles([row]), panels.DOT, panels.DASHED])

    pairs = {"two largest classes": (0, 1), "largest and smallest": (0, -1), "two smallest classes": (-2, -1)}
    _over_ratio(axes[1, 0], ordered, _row_cosines, pairs)
    axes[1, 0].set_title("cosine of classifier rows")
    _over_ratio(axes[1, 1], ordered, classes.alignment, {"largest class": (0,), "smallest class": (-1,)})
    axes[1, 1].set_title("cosine of a row and its class mean")
    for place, key in enumerate(("nc2_w", "nc2_h", "nc3")):
        values = [record.metrics[key].iloc[-1] for record in ordered]
        axes[1, 2].plot([class_ratio(r) for r in ordered], values, label=METRICS[key].sign, **looks.look(place))
    axes[1, 2].set(title="distance to the formula", xlabel="imbalance ratio", xscale="log", yscale="log")
    axes[1, 2].xaxis.set_major_formatter("{x:g}")
    _legend_above_curves(axes[1, 2])
    panels.caption(figure, _words(ordered))
    return figure


def direct_grams(records: Sequence[Record]) -> Figure:
    """Gram matrices and logits of one ratio, entry by entry."""
    record = min(records, key=lambda r: abs(class_ratio(r) - SHOWN_RATIO))
    return matrices.matrices([record])


def _over_ratio(
    ax: Axes,
    records: Sequence[Record],
    cosines: Callable[[dict[str, Any]], classes.Array],
    entries: Mapping[str, tuple[int, ...]],
) -> None:
    """Entries of cosines, by their name in the legend: predicted dashed, measured as dots."""
    ratios = [class_ratio(record) for record in records]
    predicted, measured = ([cosines(each) for each in both] for both in zip(*map(_matrices, records), strict=True))
    for index, (name, entry) in enumerate(entries.items()):
        look = looks.look(index)
        ax.plot(ratios, [each[entry] for each in predicted], "--", color=look["color"], linewidth=1.0)
        ax.plot(ratios, [each[entry] for each in measured], linestyle="", alpha=0.75, label=name, **look)
    ax.set(xlabel="imbalance ratio", xscale="log")
    ax.xaxis.set_major_formatter("{x:g}")
    _legend_above_curves(ax)


def _legend_above_curves(ax: Axes) -> None:
    """A legend in the panel, whose ordinate is extended for it: a common legend would be as large as the panels."""
    ax.legend(loc="upper left", borderaxespad=0.2)
    lines = len(ax.get_legend_handles_labels()[1])
    share = LEGEND_LINE * lines / ax.get_window_extent().height * ax.figure.dpi
    to_axis, from_axis = ax.yaxis.get_transform(), ax.yaxis.get_transform().inverted()
    bottom, top = ax.get_ylim()
    ax.set_yticks([tick for tick in ax.get_yticks() if bottom <= tick <= top])
    low, high = to_axis.transform((bottom, top))
    ax.set_ylim(bottom, float(from_axis.transform(low + (high - low) / (1 - share))))


def _matrices(record: Record) -> tuple[dict[str, Any], dict[str, Any]]:
    """Predicted and measured matrices."""
    if record.measured is None or record.theory["logits"] is None:
        raise UserError(f"{record.path}: has no predicted or no measured matrices, which this drawing needs")
    return record.theory, record.measured


def _row_cosines(matrices: dict[str, Any]) -> classes.Array:
    return classes.cosines(matrices["weight_gram"])


def _words(records: Sequence[Record]) -> str:
    return f"{wording.setting_words(*records)} This is the problem of Dang et al. 2024 itself."
