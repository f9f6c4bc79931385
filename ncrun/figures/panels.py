"""Panels that several figures share: axes in, axes out."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from math import ceil
from pathlib import Path
from types import MappingProxyType
from typing import Any
from weakref import WeakKeyDictionary

import matplotlib as mpl
import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import (
    LogFormatterSciNotation,
    LogLocator,
    NullFormatter,
    NullLocator,
)
from numpy.typing import NDArray

from ncrun.figures import looks, wording
from ncrun.figures.fitting import extent, fit
from ncrun.figures.ticks import one_kind
from ncrun.records.read import Record

STYLE = Path(__file__).with_name("ncrun.mplstyle")
PREDICTION: dict[str, Any] = {"color": "0.25", "linestyle": "--", "linewidth": 1.0}
BASELINE: dict[str, Any] = {"linestyle": ":", "linewidth": 1.0, "markerfacecolor": "white"}
ALONE: dict[str, Any] = {"linewidth": 0.7, "alpha": 0.7}
DASHED = Line2D([], [], color="0.4", linestyle="--", linewidth=1.0, label="predicted")
DOT = Line2D([], [], color="0.4", marker="o", markersize=4.5, linestyle="", alpha=0.75, label="measured")
# The papers' depths, so that a depth keeps its colour while others are still missing.
DEPTHS = (1, 3, 6, 9, 2, 4)
# All in inches, including tick labels and title: the narrowest panel with room for its type, the height of a journal's
# page, and the lowest panel, for pages with many rows.
NARROWEST_PANEL, LOWEST_PANEL, LOW_PANEL, HIGHEST_PANEL = 1.3, 1.1, 1.3, 2.2
PAGE_HEIGHT = 8.2
# Default aspect of a panel.
ASPECT = 0.85
# Least span of a log axis.
NARROWEST = 4.0
# From the start to the first measured time, in decades.
START_SPAN = 0.5
# Ticks within a decade of a log axis; as many as fit are used.
SUBS: tuple[tuple[float, ...], ...] = ((1.0, 2.0, 5.0), (1.0, 3.0), (1.0,))
# Every range of NARROWEST or more holds two of these.
FINE = (1.0, 2.0, 3.0, 5.0)
# Share of the page for a legend, because letters have other widths at other resolutions.
LEGEND_WIDTH = 0.97
# The end of a caption's first part, which is a sentence or a part of it; not at "et al." or "vs.".
FIRST_PART = re.compile(r"; |(?<!\bet al)(?<!\bvs)\. ")
# Inches of a panel for each tick on an axis of time.
TICK_ROOM = 0.4

Array = NDArray[np.float64]

# For every figure its caption, and the short form for a picture alone.
CAPTIONS: "WeakKeyDictionary[Figure, tuple[str, str]]" = WeakKeyDictionary()


def use_style(more: Mapping[str, Any] = MappingProxyType({})) -> None:
    """Sets drawing without a screen and the project's style. more: parameters of a page (page.Page.rc)."""
    mpl.use("Agg")
    style.use([STYLE, dict(more)])


def detached(draw: Callable[..., Figure], *arguments: object) -> Figure:
    """draw(*arguments) in the project's style, without changing the style of the user's program."""
    with style.context(STYLE):
        figure = draw(*arguments)
        fit(figure)
    return figure


def look_of(record: Record) -> dict[str, Any]:
    """One colour and marker per head depth, the same in every panel and figure."""
    depth = record.config["head"]["depth"]
    return looks.look(DEPTHS.index(depth) if depth in DEPTHS else depth % len(DEPTHS))


def line(ax: Axes, epochs: object, values: object, **style: object) -> None:
    """A line through the positive values."""
    y = np.array(values, dtype=float)  # None becomes nan
    looks.marked(*ax.plot(np.asarray(epochs), np.where(y > 0, y, np.nan), **style))  # type: ignore[arg-type]


def band(
    ax: Axes, records: Sequence[Record], key: str | Callable[[Any], Any], scale: str = "log", **style: object
) -> Axes:
    """A metric of runs that differ in their seed over epochs, on a log axis: the median as a line, and a band from the
    smallest to the largest, at epochs at which every run has a value that the scale can show. The other values of a run
    are a thin line.

    key: a metric, or a function of the data frame. scale: of the ordinate: log, linear or symlog.
    """
    epochs, values, single = seed_values(records, key, scale)
    ax.set_xscale("log")
    line = looks.marked(*ax.plot(epochs, middle(values, scale), **style))  # type: ignore[arg-type]
    colour = line.get_color()
    if len(records) > 1:
        ax.fill_between(
            epochs, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.25, linewidth=0, zorder=1.5
        )
    for own_epochs, own_values in single:
        ax.plot(own_epochs, own_values, color=colour, **ALONE)
    ax.set(xscale="log", yscale=scale, xlabel=wording.time_word(records))
    ax.set_xlim(left=min(record.metrics["epoch"][record.metrics["epoch"] > 0].min() for record in records))
    return ax


def middle(values: Array, scale: str = "log") -> Array:
    """The median (n,) of runs (runs, n). For an even number of runs the midpoint on the axis: on a log axis the
    geometric mean of the two, because the arithmetic one is dominated by the larger."""
    ordered = np.sort(values, axis=0)
    low: Array = ordered[(len(ordered) - 1) // 2]
    high: Array = ordered[len(ordered) // 2]
    geometric = np.sqrt(np.clip(low, 0, None)) * np.sqrt(np.clip(high, 0, None))
    between = np.where((low > 0) & (scale != "linear"), geometric, (low + high) / 2)
    return np.where(low == high, low, between)


def seed_values(
    records: Sequence[Record], key: str | Callable[[Any], Any], scale: str = "log"
) -> tuple[Array, Array, list[tuple[Array, Array]]]:
    """Epochs (n,) after the start that every run has measured, and values (runs, n) there, nan unless all can be shown
    (on a log axis: are positive); and for each run the other epochs and values, nan if a value cannot be shown."""
    series = []
    for record in records:
        frame = record.metrics[record.metrics["epoch"] > 0]
        found = np.array(key(frame) if callable(key) else frame[key], dtype=float)  # None becomes nan
        series.append(
            (frame["epoch"].to_numpy(dtype=float), np.where(found > 0, found, np.nan) if scale == "log" else found)
        )
    epochs = reduce(np.intersect1d, (own for own, _ in series))
    values = np.array([found[np.isin(own, epochs)] for own, found in series])
    whole = np.isfinite(values).all(axis=0)
    single = []
    for own, found in series:
        # Includes the last shared epoch, so that a line continues where the median ends.
        shared = np.isin(own, epochs[whole][:-1])
        inside = np.isin(own, epochs) | (own > max(epochs, default=0))
        rest = np.where(~shared & inside, found, np.nan)
        if np.isfinite(rest[~np.isin(own, epochs[whole])]).any():
            single.append((own, rest))
    return epochs, np.where(whole, values, np.nan), single


def from_start(ax: Axes, times: Array) -> None:
    """A logarithmic time axis with a place for the start: linear from 0 to the first measured time, and logarithmic
    after it. times: all shown times."""
    later = times[times > 0]
    if not len(later):
        return
    ax.set_xscale("symlog", linthresh=later.min(), linscale=START_SPAN)
    span = max(1.0, np.log10(later.max() / later.min()))
    powers = 10.0 ** np.arange(np.floor(np.log10(later.min())), np.floor(np.log10(later.max())) + 1)
    if len(powers) <= 2:
        powers = np.outer(powers, [1.0, 2.0, 5.0]).ravel()
    ticks = powers[(powers >= later.min()) & (powers <= later.max())]
    if not len(ticks):  # a single time, such as a run that is measured only at its end
        ticks = later[:1]
    most = max(2, int(room(ax) / TICK_ROOM))
    shown = [0.0, *ticks[:: ceil(len(ticks) / most)]]
    ax.set_xticks(shown)
    ax.xaxis.set_major_formatter(one_kind(shown))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlim(-0.03 * later.min(), later.max() * 10 ** (0.02 * span))


def widen(ax: Axes, least: float) -> None:
    """Gives the ordinate at least this span around its middle, so that rounding does not look like a result."""
    low, high = ax.get_ylim()
    if high - low < least:
        ax.set_ylim((low + high - least) / 2, (low + high + least) / 2)


def tidy_log(axis: Axis) -> None:
    """Sets the ticks of a log axis: powers of ten, and in a range below two decades multiples of them, too. A range too
    narrow for two ticks is widened, for all axes that share it."""
    low, high = sorted(axis.get_view_interval())
    if low > 0 and high / low < NARROWEST:
        widen = np.sqrt(NARROWEST * low / high)
        low, high = low / widen, high * widen
        set_limits = axis.axes.set_xlim if isinstance(axis, XAxis) else axis.axes.set_ylim
        set_limits(low, high, auto=None)
    if high / low >= 100:
        axis.set_major_locator(LogLocator(numticks=_ticks_of(axis)))
        axis.set_major_formatter(LogFormatterSciNotation())
    else:
        most = _ticks_of(axis)
        # Matplotlib skips decades, but not these ticks between them.
        subs = next((each for each in SUBS if len(each) * np.log10(high / low) + 1 <= most), SUBS[-1])
        if _ticks_within(subs, low, high) < 2:  # matplotlib would then choose its own ticks
            subs = FINE
        axis.set_major_locator(LogLocator(subs=subs, numticks=most))
        axis.set_major_formatter(one_kind([low, high]))
    axis.set_minor_formatter(NullFormatter())


def _ticks_within(subs: Sequence[float], low: float, high: float) -> int:
    """The number of ticks at multiples (subs) of powers of ten in a range."""
    powers = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    ticks = np.outer(powers, subs)
    return int(((ticks >= low) & (ticks <= high)).sum())


def _ticks_of(axis: Axis) -> int:
    """The number of ticks for which an axis has room."""
    return max(4, int(room(axis.axes) / TICK_ROOM)) if isinstance(axis, XAxis) else 6


def grid(
    rows: int,
    columns: int,
    height: float | None = None,
    sharex: bool | str = False,
    sharey: bool | str = False,
    narrowest: float = NARROWEST_PANEL,
    subplot_kw: dict[str, Any] | None = None,
) -> tuple[Figure, Any]:
    """Panels that fill the page's width, rcParams["figure.figsize"][0], and their axes as an array (rows, columns).

    If the page is too narrow for all columns, the first ones are drawn for every row, and the others below: panels of
    one column stay below one another, with one title and one abscissa. height: of a panel with its labels, in inches;
    default: in proportion to its width. sharex, sharey: as in plt.subplots, for rows and columns of the array.
    narrowest: least width of a panel.
    """
    width = mpl.rcParams["figure.figsize"][0]
    blocks = ceil(columns / max(1, int(width / narrowest)))
    across = ceil(columns / blocks)
    wanted = height or min(max(ASPECT * width / across, LOW_PANEL), HIGHEST_PANEL)
    fits = max(PAGE_HEIGHT / (rows * blocks), LOWEST_PANEL)
    figure = Figure(figsize=(width, min(wanted, fits) * rows * blocks), layout="constrained")
    FigureCanvasAgg(figure)  # without pyplot, which would keep the figure and may open a window
    places = figure.add_gridspec(rows * blocks, across)
    axes = np.empty((rows, columns), dtype=object)
    for row, column in np.ndindex(rows, columns):
        block, across_at = divmod(column, across)
        axes[row, column] = ax = figure.add_subplot(
            places[block * rows + row, across_at],
            sharex=_shared(sharex, axes, row, column),
            sharey=_shared(sharey, axes, row, column),
            **(subplot_kw or {}),
        )
        if sharex in (True, "all", "col") and row < rows - 1:
            ax.tick_params(axis="x", which="both", labelbottom=False)
        if sharey in (True, "all", "row") and across_at > 0:
            ax.tick_params(axis="y", which="both", labelleft=False)
    return figure, axes


def _shared(way: bool | str, axes: Any, row: int, column: int) -> Any:
    """The axes to share with: the first ones of all, of the row or of the column."""
    ways = {True: (0, 0), "all": (0, 0), "row": (row, 0), "col": (0, column)}
    place = ways.get(way)
    return None if place is None or place == (row, column) else axes[place]


def label_row(line: Sequence[Axes], label: str) -> None:
    """Writes a row's name beside its panels at the beginning of a line of the page, before the ordinate's label."""
    for ax in filter(begins_line, line):
        ax.set_ylabel("\n".join(filter(None, (label, ax.get_ylabel()))))


def begins_line(ax: Axes) -> bool:
    """Whether a panel is the first in a line of the page."""
    place = ax.get_subplotspec()
    return place is not None and place.colspan.start == 0


def room(ax: Axes) -> float:
    """A panel's width in inches, including its tick labels."""
    place, figure = ax.get_subplotspec(), ax.get_figure(root=True)
    assert place is not None
    assert figure is not None
    return float(figure.get_figwidth() / place.get_gridspec().ncols)


def legend_above(figure: Figure, handles: Sequence[Any]) -> None:
    """One legend for all panels, above them, in as many lines as needed; the figure grows accordingly."""
    if not handles:
        return
    for columns in range(len(handles), 0, -1):
        legend = figure.legend(handles=list(handles), loc="outside upper center", ncols=columns, columnspacing=1.2)
        box = extent(legend)
        if box.width <= LEGEND_WIDTH * figure.bbox.width or columns == 1:
            break
        legend.remove()
    figure.set_figheight(figure.get_figheight() + box.height / figure.dpi)


def legend_panel(ax: Axes, handles: Sequence[Any]) -> None:
    """A legend instead of a panel."""
    ax.set_axis_off()
    ax.legend(handles=list(handles), loc="center left", handlelength=1.2)


def nothing_to_draw(ax: Axes) -> None:
    """Marks an empty panel as not defined."""
    ax.text(0.5, 0.5, "not defined", transform=ax.transAxes, ha="center", va="center", color="0.4")
    ax.set(xticks=[], yticks=[])
    ax.minorticks_off()
    ax.grid(False)


def caption(figure: Figure, text: str, short: str = "") -> None:
    """Stores the caption with scale, data and epochs; `saving.save` writes it beside the picture. short: the words in
    the picture itself; default: the first part, scale and data, or for free features their problem.
    """
    CAPTIONS[figure] = text, short or FIRST_PART.split(text, maxsplit=1)[0].removesuffix(".")


def caption_of(figure: Figure) -> str:
    """The stored caption; "" if there is none."""
    return CAPTIONS.get(figure, ("", ""))[0]


def short_caption_of(figure: Figure) -> str:
    """The short caption for a picture alone."""
    return CAPTIONS.get(figure, ("", ""))[1]
