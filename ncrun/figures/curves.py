"""curves.png of one run: loss beside the optimum, errors or margins, and the collapse metrics against its prediction.

`ncrun plot RUN kind=curves` draws them as a PDF, too. Training does not, because that takes as long again.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation
from numpy.typing import NDArray

from ncrun.errors import UserError
from ncrun.figures import beside_claim, changes, endings, fitting, looks, panels, saving, wording
from ncrun.figures.run_panels import Line, Panel, abscissa, is_path, panels_of
from ncrun.records.files import write_aside
from ncrun.records.read import Record, load_record

Array = NDArray[np.float64]

# Height of a panel with its legend below, in inches.
HEIGHT, NARROWEST = 2.3, 2.5

# Height of an axis' numbers and label, in inches.
BELOW = 0.31

# The part of a path of decays where they fall again.
FALLING: dict[str, Any] = {"linestyle": "-.", "linewidth": 1.0}

# A first value this many times below all others is not shown.
FAR_BELOW = 100

Piece = tuple[Any, dict[str, Any]]  # a data frame, and the style of its lines


def run_curves(record: Record) -> Figure:
    """The panels of the run (run_panels.py), from the start. On a path of decays the factor rises and falls."""
    shown = panels_of(record)
    figure, axes = panels.grid(1, len(shown), height=HEIGHT, narrowest=NARROWEST)
    for ax, panel in zip(axes[0], shown, strict=True):
        _panel(ax, record, panel)
    changes.mark(axes.flat, [record])
    beside = (beside_claim.words_of([record]), changes.words_of(record), endings.words_of([record]))
    panels.caption(figure, " ".join(filter(None, (wording.setting_words(record), *beside))))
    return figure


def write_curves(directory: Path) -> None:
    """curves.png of a run, in the project's style, independent of the program's style. Raises UserError, OSError."""
    with style.context(panels.STYLE, after_reset=True):
        figure = run_curves(load_record(directory))
        fitting.lay_out(figure)
        with saving.words_below(figure, panels.caption_of(figure)) as area:
            write_aside(directory / "curves.png", lambda file: figure.savefig(file, format="png", bbox_inches=area))


def only_curves(records: Sequence[Record]) -> Figure:
    """The curves of one run. Raises UserError for several runs, or fewer than two measured epochs."""
    if len(records) > 1:
        raise UserError(f"kind=curves shows one run, not {len(records)}; y=METRIC compares several")
    if len(records[0].metrics) < 2:
        raise UserError(f"{records[0].path}: has {len(records[0].metrics)} measured epochs; curves need two or more")
    return run_curves(records[0])


def _pieces(record: Record) -> list[Piece]:
    """The metrics; for a path, in pieces that share the points where its factor turns."""
    frame = record.metrics
    if not is_path(record) or len(frame) < 2:
        return [(frame, {})]
    rising = np.diff(frame["factor"]) > 0
    turns = [0, *(np.flatnonzero(np.diff(rising)) + 1), len(frame) - 1]
    return [(frame.iloc[a : b + 1], {} if rising[a] else FALLING) for a, b in pairwise(turns)]


def _panel(ax: Axes, record: Record, panel: Panel) -> None:
    """Lines, dashed predictions and a legend below."""
    counts = record.manifest["class_counts"]
    classes = looks.class_looks(counts) if panel.of_classes else None
    for line in panel.lines:
        look = looks.look(line.colour) if classes is None else classes[line.colour]
        _draw(ax, record, line, look, line.label if classes is None else None)
        for level in panel.levels:
            if level.member is not None and level.member == line.member:
                ax.plot(level.x, level.y, **panels.PREDICTION | {"color": look["color"]})
    ax.set(title=panel.title, ylabel=panel.axis, yscale="log" if panel.log else "linear")
    if panel.is_share:
        ax.set_ylim(-0.03, 1.03)
    elif any(line.is_error for line in panel.lines):
        ax.set_ylim(bottom=0)
    _finish(ax, record)
    if panel.log:
        _within_training(ax)
        panels.tidy_log(ax.yaxis)
    if classes is not None and panel.lines:
        handles = looks.class_key(ax, counts, sized=True, location="bottom", shrink=0.9, pad=0.03)
        if any(np.isfinite(level.y).any() for level in panel.levels):
            handles.append(Line2D([], [], label="predicted", **panels.PREDICTION))
        _legend(ax, handles)
    elif panel.levels:
        _levels(ax, record, panel)


def _draw(ax: Axes, record: Record, line: Line, look: dict[str, Any], label: str | None) -> None:
    """One line, in pieces; the first one has the label. Classes have a separate legend."""
    style = look | (panels.BASELINE if line.is_baseline else {})
    if line.is_bound:
        style = panels.PREDICTION
    for frame, way in _pieces(record):
        known = frame[frame[line.column].notna()]
        x, y = known[abscissa(record)], known[line.column]
        if line.member is not None:
            ax.plot(x, np.array([row[line.member] for row in y], dtype=float), label=label, **way | style)
        elif line.is_error:
            ax.plot(x, 1 - y, label=label, **way | style)
        else:
            panels.line(ax, x, y, label=label, **way | style)
        label = None


def _levels(ax: Axes, record: Record, panel: Panel) -> None:
    """Predictions for the whole run. Not axhline: the axis would hide the lowest one."""
    if any(level.member is not None for level in panel.levels):
        ax.plot([], [], label="predicted", **panels.PREDICTION)
    for level in panel.levels:
        if level.member is not None:
            continue
        style = {"color": "C1", **panels.BASELINE} if level.is_rival else panels.PREDICTION
        ax.plot(level.x, level.y, label=level.label, **style)
    if any(way is FALLING for _, way in _pieces(record)):
        ax.plot([], [], color="C0", label="decay falling", **FALLING)
    _legend(ax)


def _finish(ax: Axes, record: Record) -> None:
    """The time axis, markers, and a legend if there are several lines, or a note that there is nothing to draw."""
    if not is_path(record):
        panels.from_start(ax, record.metrics["epoch"].to_numpy(dtype=float))
        ax.set(xlabel=wording.time_word([record]))
    else:
        ax.set(xlabel="factor on all decays", xlim=(0, 1.04 * record.metrics["factor"].max()))
    for line in ax.get_lines():
        looks.marked(line)
    if len(ax.get_legend_handles_labels()[1]) > 1:
        _legend(ax)
    elif not ax.get_lines():
        ax.text(0.5, 0.5, "not defined", transform=ax.transAxes, ha="center", va="center", color="0.4")


def _within_training(ax: Axes) -> None:
    """An orthogonal start is within rounding of one prediction; it must not stretch the ordinate."""
    later = [y[(x > 0) & (y > 0)] for x, y in (np.transpose(line.get_xydata()) for line in ax.get_lines())]
    lowest = min((y.min() for y in later if len(y)), default=0.0)
    if ax.get_ylim()[0] < lowest / FAR_BELOW:
        ax.set_ylim(bottom=lowest / 2)


def _legend(ax: Axes, handles: list[Line2D] | None = None) -> None:
    """A legend below the panel, where it hides no curve."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    place = ax.transAxes + ScaledTranslation(0, -BELOW, figure.dpi_scale_trans)
    style: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "bbox_transform": place}
    if handles is not None:
        style["handles"] = handles
    ax.legend(ncols=2, columnspacing=1.2, borderaxespad=0, **style)
