"""Remedies for imbalance: the effect of each on the margin and the test accuracy of every class."""

from collections.abc import Sequence
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from ncrun.figures import arrangement, convergence, needs, panels
from ncrun.figures.classes import WIDE_RATIO
from ncrun.losses.options import in_words
from ncrun.records.read import Record

Array = NDArray[np.float64]
# Colour, marker and dashes of the prediction for each remedy; each of the three distinguishes them.
STYLES = (
    ("C0", "o", "--"),
    ("C1", "s", "-."),
    ("C2", "^", ":"),
    ("C3", "D", (0, (6, 2, 1, 2, 1, 2))),
    ("C4", "v", (0, (1, 1))),
    ("C5", "P", (0, (8, 3))),
)
KEYS = ("class_weights", "label_smoothing", "logit_adjustment")
# Predictions coincide if a remedy changes nothing: each is drawn slightly beside the class count.
MEASURED: dict[str, Any] = {"linestyle": "", "markersize": 4.5, "markerfacecolor": "none", "markeredgewidth": 1.1}
PREDICTED: dict[str, Any] = {"linewidth": 1.1, "alpha": 0.9}


def remedies(records: Sequence[Record]) -> Figure:
    """Over the class count, for each set of options of the loss: margins beside the prediction, test accuracies, and
    their gain over the loss without options. A row for each architecture, data set or bias.

    Raises UserError for runs without margins, or without a test split.
    """
    needs.metrics(records, "class.margin", "class.test_accuracy")
    rows = arrangement.arrange(records, (*KEYS, arrangement.LOSS))
    names = sorted({_name(record) for record in records}, key=lambda name: (name != _name_of(()), name))
    styles = dict(zip(names, cycle(STYLES), strict=False))
    figure, axes = panels.grid(len(rows), 3)
    for row, line in zip(rows, axes, strict=True):
        groups = {name: [record for record in row.records if _name(record) == name] for name in names}
        plain = groups[names[0]] if names[0] == _name_of(()) else []
        for name, group in groups.items():
            if group:
                _margins(line[0], group, *styles[name])
                _accuracies(line[1], group, 0.0, *styles[name])
                if plain:
                    _accuracies(line[2], group, _mean(plain, "class.test_accuracy"), *styles[name])
        _finish(line, row.records, bool(plain))
    arrangement.label_rows(axes, rows)
    panels.legend_above(figure, [_handle(name, *styles[name]) for name in names])
    panels.caption(figure, convergence.caption(records, _words(records), bands=False))
    return figure


def _margins(ax: Axes, group: Sequence[Record], colour: str, marker: str, dashes: Any) -> None:
    sizes, order = _sizes(group[0])
    for record in group:
        measured = np.array(record.metrics["class.margin"].iloc[-1], dtype=float)
        ax.plot(sizes, measured[order], color=colour, marker=marker, **MEASURED)
    predicted = np.array([entry["margin"] for entry in group[0].theory["classes"]], dtype=float)
    if np.isfinite(predicted).any() and not group[0].theory["scale_free"]:
        ax.plot(sizes, predicted[order], color=colour, linestyle=dashes, **PREDICTED)


def _accuracies(ax: Axes, group: Sequence[Record], above: float | Array, colour: str, marker: str, dashes: Any) -> None:
    """The mean over the seeds, minus `above`."""
    sizes, order = _sizes(group[0])
    values = _mean(group, "class.test_accuracy") - above
    ax.plot(sizes, values[order], color=colour, marker=marker, **MEASURED | {"linestyle": dashes, "linewidth": 0.6})


def _finish(line: Any, records: Sequence[Record], has_plain: bool) -> None:
    for ax, title in zip(line, ("margin", "test accuracy", "gain in test accuracy"), strict=True):
        ax.set(title=title, xlabel="class count")
        if max(map(arrangement.class_ratio, records)) >= WIDE_RATIO:
            ax.set_xscale("log")
            panels.tidy_log(ax.xaxis)
    line[0].axhline(0, color="0.7", linewidth=0.8, zorder=1)
    line[1].set_ylim(-0.03, 1.03)
    if has_plain:
        line[2].axhline(0, color="0.7", linewidth=0.8, zorder=1)
    else:
        panels.nothing_to_draw(line[2])


def _sizes(record: Record) -> tuple[Array, NDArray[np.int64]]:
    counts = np.array(record.manifest["class_counts"], dtype=float)
    order = np.argsort(counts, kind="stable")
    return counts[order], order


def _mean(group: Sequence[Record], key: str) -> Array:
    found: Array = np.mean([np.array(record.metrics[key].iloc[-1], dtype=float) for record in group], axis=0)
    return found


def _name(record: Record) -> str:
    return _name_of(() if record.posed is None else in_words(record.posed))


def _name_of(options: Sequence[str]) -> str:
    return ", ".join(options) or "no options"


def _handle(name: str, colour: str, marker: str, dashes: Any) -> Line2D:
    return Line2D([], [], color=colour, marker=marker, label=name, **MEASURED | {"linestyle": dashes})


def _words(records: Sequence[Record]) -> str:
    seeds = len({record.config["seed"] for record in records}) > 1
    words = "Margins: measured at the last epoch as symbols, predicted as broken lines."
    return words + (" Accuracies are means over the seeds." if seeds else "")
