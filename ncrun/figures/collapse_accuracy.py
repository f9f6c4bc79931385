"""Test accuracy over neural collapse: the path of training, with epochs marked on it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from ncrun.errors import UserError
from ncrun.figures import arrangement, convergence, needs, panels
from ncrun.figures.arrangement import Curve, Row
from ncrun.metrics import METRICS
from ncrun.records.read import Record

Array = NDArray[np.float64]
SHOWN = ("nc1", "nc2_w", "nc2_h", "nc3")
# The epochs 1, 10, 100, ... on a path.
MARKERS = ("o", "s", "^", "v", "P", "X")
MARKED: dict[str, Any] = {"linestyle": "", "markersize": 4.5, "zorder": 3}
HEIGHT = 1.6  # of a panel, in inches
# A measured epoch within this factor of a power of ten is marked.
NEAR = 1.26


def collapse_accuracy(records: Sequence[Record]) -> Figure:
    """Test accuracy over NC1, NC2 of classifier and means, and NC3 (decreasing to the right), from the first to the
    last measured epoch: the median over the seeds, and each seed as a thin line. A row for each architecture, data set
    or bias.

    Raises UserError for runs without a test split, and if none of the metrics is defined.
    """
    for record in records:
        if record.is_free:
            raise UserError(f"{record.path}: has no test split, which this drawing needs")
    needs.metrics(records, "test_accuracy")
    rows = arrangement.arrange(records)
    keys = [key for key in SHOWN if any(convergence.is_defined(record, key) for record in records)]
    if not keys:
        raise UserError(f"no run has any of {', '.join(SHOWN)}, which this drawing needs")
    figure, axes = panels.grid(len(rows), len(keys), height=HEIGHT, sharey="row")
    marked: set[int] = set()
    styles = arrangement.line_styles(rows)
    for row, line in zip(rows, axes, strict=True):
        for ax, key in zip(line, keys, strict=True):
            marked |= _panel(ax, row, styles, key)
        panels.label_row(line, "\n".join(filter(None, (arrangement.broken(row.label), "test accuracy"))))
    for ax in axes[1:].flat:
        ax.set_title("")
    for ax in axes[:-1].flat:
        ax.set_xlabel("")
    times = [
        Line2D([], [], color="0.4", marker=MARKERS[power], label=f"epoch {10**power:,}", **MARKED)
        for power in sorted(marked)
    ]
    zero_error = convergence.zero_error_handles([curve for row in rows for curve in row.curves])
    panels.legend_above(figure, [*arrangement.styled_handles(rows), *zero_error, *times])
    seeds = "Line: median over the seeds; thin: each seed." if any(_has_seeds(row.curves) for row in rows) else ""
    words = f"{seeds} {convergence.words_of_nc1(records)}".strip()
    panels.caption(figure, convergence.caption(records, words, bands=False))
    return figure


def _panel(ax: Axes, row: Row, styles: dict[str, Any], key: str) -> set[int]:
    """Returns the powers of ten that are marked."""
    key = convergence.telling(key, row.records)
    ax.set_title(convergence.NC1_WORDS.get(key) or METRICS[key].sign)
    marked: set[int] = set()
    drawn = [curve for curve in row.curves if all(convergence.is_defined(record, key) for record in curve.records)]
    if not drawn:
        panels.nothing_to_draw(ax)
        return marked
    for curve in drawn:
        epochs, across, accuracy = paths(curve.records, key)
        if len(curve.records) > 1:
            for own in zip(across, accuracy, strict=True):
                ax.plot(*own, color=curve.colour, linewidth=0.5, alpha=0.5)
        x, y = panels.middle(across), panels.middle(accuracy, "linear")
        ax.plot(x, y, color=curve.colour, linestyle=styles[curve.label])
        for power, at in marks(epochs).items():
            ax.plot(x[at], y[at], color=curve.colour, marker=MARKERS[power], **MARKED)
            marked.add(power)
        at_zero = epochs == convergence.zero_error_epoch(curve)
        if at_zero.any():
            ax.plot(x[at_zero], y[at_zero], color=curve.colour, **convergence.MARK)
    ax.set(xscale="log", xlabel="more collapsed →")
    panels.tidy_log(ax.xaxis)
    ax.invert_xaxis()
    return marked


def paths(records: Sequence[Record], key: str) -> tuple[Array, Array, Array]:
    """Epochs (n,) at which every run has both a metric above zero and a test accuracy, and both (runs, n) there."""
    epochs, across, _ = panels.seed_values(records, key)
    same, accuracy, _ = panels.seed_values(records, "test_accuracy", "linear")
    assert np.array_equal(epochs, same)
    both = np.isfinite(across).all(axis=0) & np.isfinite(accuracy).all(axis=0)
    return epochs[both], across[:, both], accuracy[:, both]


def marks(epochs: Array) -> dict[int, int]:
    """For each power of ten, the place of the nearest epoch within a factor of NEAR."""
    found = {}
    for power in range(len(MARKERS)):
        off = np.abs(np.log10(epochs) - power)
        if len(off) and off.min() <= np.log10(NEAR):
            found[power] = int(off.argmin())
    return found


def _has_seeds(curves: Sequence[Curve]) -> bool:
    return any(len(curve.records) > 1 for curve in curves)
