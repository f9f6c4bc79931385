"""Errors and neural collapse over epochs on a linear axis, the terminal phase of training shaded."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ncrun.errors import UserError
from ncrun.figures import arrangement, changes, convergence, looks, panels, usual_set
from ncrun.figures.arrangement import Curve
from ncrun.metrics import words_of
from ncrun.records.read import Record

# Titles, and sets of metrics of which a run's first available one is drawn; lines of the second set are dash-dotted.
PANELS: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...] = (
    ("NC1", (("nc1",),)),
    ("NC2", (("nc2_w", "nc2_h"), ("etf_w", "etf_h"))),
    ("NC3", (("nc3",), ("duality",))),
)
HEIGHT = 1.5  # of a panel, in inches
STYLES: tuple[dict[str, Any], ...] = ({}, usual_set.MEANS)
SHADE: dict[str, Any] = {"color": "0.93", "linewidth": 0, "zorder": 0}
SHADED = Patch(label="terminal phase", **SHADE)
RULE = (
    "Shaded: the terminal phase, from the first measured epoch by which every run of the row had zero training error."
)


def terminal_phase(records: Sequence[Record]) -> Figure:
    """Classification error, NC1, NC2 and NC3 over epochs on a linear axis. If theory predicts no shape, NC2 is the
    distance to the simplex ETF and NC3 that of classifier and means. A row for each architecture, data set or bias;
    shaded after all its runs have fitted all samples.

    Raises UserError for runs without a data set, which have no error.
    """
    for record in records:
        if record.is_free:
            raise UserError(f"{record.path}: has no training error, which defines the terminal phase")
    rows = arrangement.arrange(records)
    figure, axes = panels.grid(len(rows), 1 + len(PANELS), height=HEIGHT)
    starts = [_start(row.curves) for row in rows]
    for row, line, start in zip(rows, axes, starts, strict=True):
        usual_set.error(line[0], row.curves)
        for ax, (title, choices) in zip(line[1:], PANELS, strict=True):
            _panel(ax, row.curves, title, next(filter(partial(_known, row.records), choices), choices[-1]))
        end = max(float(record.metrics["epoch"].iloc[-1]) for record in row.records)
        for ax in line:
            _linear_epochs(ax, end, start)
        changes.mark(line, row.records)
    arrangement.label_rows(axes, rows)
    is_shaded = any(start is not None for start in starts)
    found = [handle for handle in convergence.legend(rows) if handle is not convergence.DOTTED]
    styles = [usual_set.SOLID, usual_set.DASHES, usual_set.TEST_HANDLE, *([SHADED] if is_shaded else [])]
    panels.legend_above(figure, [*found, *styles])
    rule = RULE if is_shaded else "No row has a terminal phase, because in each some run has not fitted all samples."
    words = f"{rule} {convergence.words_of_nc1(records)}".strip()
    panels.caption(figure, convergence.caption(records, words))
    return figure


def _start(curves: Sequence[Curve]) -> float | None:
    """The start of the common terminal phase of all curves."""
    epochs = [convergence.zero_error_epoch(curve) for curve in curves]
    return None if None in epochs else max(epoch for epoch in epochs if epoch is not None)


def _known(records: Sequence[Record], keys: Sequence[str]) -> bool:
    return any(convergence.is_defined(record, key) for record in records for key in keys)


def _panel(ax: Axes, curves: Sequence[Curve], title: str, keys: Sequence[str]) -> None:
    drawn = []
    for key, style in zip(keys, STYLES, strict=False):
        key = convergence.telling(key, [record for curve in curves for record in curve.records])
        for curve in curves:
            if all(convergence.is_defined(record, key) for record in curve.records):
                panels.band(ax, curve.records, key, **curve.look | style)
                convergence.mark_times(ax, curve, key)
                drawn.append(key)
    is_other = bool(drawn) and not drawn[0].startswith("nc")
    ax.set_title(words_of(drawn[0]) if is_other else title)
    if drawn and title == "NC1":
        ax.set_title(convergence.NC1_WORDS[drawn[0]])
    if not drawn:
        panels.nothing_to_draw(ax)
        return
    panels.tidy_log(ax.yaxis)


def _linear_epochs(ax: Axes, end: float, start: float | None) -> None:
    """The axis from 0 to the end. start: of the terminal phase."""
    if not ax.has_data():
        return
    ax.set(xscale="linear", xlim=(0, end))
    ax.locator_params(axis="x", nbins=3)
    for line in ax.get_lines():
        looks.marked(line)  # evenly on this axis
    if start is not None:
        ax.axvspan(start, end, **SHADE)
