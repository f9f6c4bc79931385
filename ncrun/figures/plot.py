"""A figure of users' own runs: metrics over time or over a configuration key, seeds as a band."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from ncrun.errors import UserError
from ncrun.figures import changes, convergence, looks, panels, wording
from ncrun.figures.plot_lines import TIMES, Array, Curve, Lines, Request, Say, Values, is_finished
from ncrun.figures.plot_predictions import bound_of
from ncrun.metrics import heading_of
from ncrun.records.groups import differing_keys, naming_keys, split
from ncrun.records.read import Record

# Dashed: predicted; dotted: the balanced prediction.
STYLES: tuple[Any, ...] = ("-", "-.", (0, (6, 1, 1, 1, 1, 1)), (0, (10, 1.5)))
# Height of a panel, in inches; some contain a legend.
NARROWEST = 1.8
# Values that span more than this factor are drawn on a log axis.
WIDE = 10.0
SEED_ALPHA = 0.25
# Factor that darkens a measured line's colour for its prediction.
DARKER = 0.5
BOUND = Line2D([], [], **panels.PREDICTION, label="its proven bound")


def plot_runs(records: Sequence[Record], request: Request, say: Say) -> Figure:
    """Draws the figure. say: called with each line about single runs.

    Each metric has a panel; a metric by class has one for each hue, and a colour for each class. Dashed: the
    prediction, or a bound for these networks; dotted: the distance to the balanced prediction. Raises UserError for an
    unknown metric or key, and for too many curves.
    """
    lines = Lines(records, request, say)
    drawings = [(y, hue) for y in request.y for hue in (lines.hues if lines.is_list(y) else (None,))]
    figure, axes = panels.grid(1, len(drawings), narrowest=NARROWEST)
    beside: dict[str, Line2D] = {}
    for ax, (metric, hue) in zip(axes[0], drawings, strict=True):
        beside |= _panel(ax, lines, request, metric, hue)
        if lines.over_time:
            changes.mark([ax], [r for r in lines.records if hue in (None, *split([r], lines.hue))], lines.x)
    handles = [*_handles(lines, coloured=any(hue is None for _, hue in drawings)), *beside.values()]
    handles += changes.handles(lines.records) if lines.over_time else []
    panels.legend_above(figure, handles)
    words = _caption(lines)
    panels.caption(figure, words, short=". ".join(words.split(". ")[:2]))
    return figure


def _panel(ax: Axes, lines: Lines, request: Request, metric: str, hue: Values | None) -> dict[str, Line2D]:
    """hue: the one whose classes are drawn; None for a metric that is one number. Returns the legend's words about
    predictions and baselines, if there are any."""
    title, axis = heading_of(metric)
    baselines: list[tuple[Any, Curve]] = []
    if hue is None:
        curves, baselines = (
            [(looks.ordered_look(lines.hues.index(curve.hue), len(lines.hues)), curve) for curve in found]
            for found in (lines.curves(metric), lines.baselines(metric))
        )
    else:
        number = lines.num_classes(metric, hue)
        classes = looks.class_looks([1.0] * number)
        curves = [(look, curve) for k, look in enumerate(classes) for curve in lines.curves(metric, hue, k)]
        if handles := looks.class_key(ax, [1.0] * number, sized=False):
            ax.legend(handles=handles, loc="best")
        title = ", ".join(
            [title, *(f"{key}={wording.value_words(key, value)}" for key, value in zip(lines.hue, hue, strict=True))]
        )
    shown = [curve for _, curve in curves]
    logx, logy = _log_axes(lines, request, metric, shown)
    times = _abscissae(shown)
    has_start = lines.over_time and bool((times == 0).any())
    for look, curve in curves:
        style: dict[str, Any] = look | {"linestyle": STYLES[lines.styles.index(curve.style)]}
        _draw(ax, curve, lines.over_time, logx and not has_start, logy, **style)
    for look, curve in baselines:
        _draw(ax, curve, lines.over_time, logx and not has_start, logy, **panels.BASELINE | look)
    for look, curve in curves:
        for x, y in curve.predicted:
            ax.plot(x, y, **panels.PREDICTION | {"color": _darker(look["color"]), "zorder": 3})
    xlabel = TIMES[lines.x] if lines.over_time else lines.x
    ax.set(xlabel=wording.time_word(lines.records) if lines.x == "epoch" else xlabel, ylabel=axis)
    ax.set_title(title, wrap=True)
    if logx and has_start:
        panels.from_start(ax, times)
    elif logx:
        ax.set_xscale("log")
    for line in ax.get_lines() if lines.over_time else ():
        looks.marked(line)
    if logy:
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(numticks=8))
    if not lines.over_time:
        _tick_values(ax, np.unique(np.concatenate([curve.points["x"] for _, curve in curves])), logx)
    dashed = (
        {"bound": BOUND} if any(bound_of(record, metric) for record in lines.records) else {"predicted": panels.DASHED}
    )
    predicted = dashed if any(curve.predicted for curve in shown) else {}
    return predicted | ({"balanced": convergence.DOTTED} if baselines else {})


def _abscissae(curves: Sequence[Curve]) -> Array:
    return np.concatenate([part for c in curves for part in (c.points["x"], *(x for x, _ in c.alone))])


def _log_axes(lines: Lines, request: Request, metric: str, curves: Sequence[Curve]) -> tuple[bool, bool]:
    """Whether abscissa and ordinate are logarithmic: as given, else by their values."""
    xs = _abscissae(curves)
    ys = np.concatenate(
        [part for c in curves for part in (c.points["low"], c.points["high"], *(y for _, y in c.alone))]
    )
    ys = ys[np.isfinite(ys)]
    if lines.over_time:
        xs = xs[xs > 0]  # the start has its own place
    share = metric.endswith("accuracy")  # its distance to 1 matters, not its ratios
    for option, name, values in (("logx", lines.x, xs), ("logy", metric, ys)):
        if getattr(request, option) and not (values > 0).any():
            raise UserError(f"{option}=true: {name} has no positive value in these runs")
    logx = _spans(xs) if request.logx is None else request.logx
    return logx, (_spans(ys) and not share) if request.logy is None else request.logy


def _spans(values: Array) -> bool:
    """Whether a log axis fits: all positive, over more than a factor of WIDE."""
    return bool(len(values) and values.min() > 0 and values.max() > WIDE * values.min())


def _draw(ax: Axes, curve: Curve, over_time: bool, logx: bool, logy: bool, **style: Any) -> None:
    """Finished runs as median and band (over a key: bars) from the smallest to the largest; unfinished ones as thin
    lines to a hollow dot."""

    def shown(x: Array, y: Array) -> Array:
        """The points that the axes can show."""
        return np.where(((x > 0) | (not logx)) & ((y > 0) | (not logy)), y, np.nan)

    colour = style["color"]
    x, low, below, above, high = (curve.points[name].to_numpy() for name in ("x", "low", "below", "above", "high"))
    middle = panels.middle(np.array([below, above]), "log" if logy else "linear")
    if len(x):
        ax.plot(x, shown(x, middle), **style)
    if curve.several and over_time:
        band = {"color": colour, "alpha": SEED_ALPHA, "linewidth": 0, "zorder": 1.5}
        ax.fill_between(x, shown(x, low), shown(x, high), **band)
    elif curve.several:
        bottom = np.where(np.isfinite(shown(x, low)), low, middle)  # a log axis has no place for zero
        ax.errorbar(x, shown(x, middle), yerr=[middle - bottom, high - middle], color=colour, fmt="none", capsize=3)
    for own_x, own_y in curve.alone:
        ax.plot(own_x, shown(own_x, own_y), **style | {"linewidth": 0.8})
        ax.plot(own_x[-1:], shown(own_x, own_y)[-1:], "o", color=colour, fillstyle="none")


def _darker(colour: Any) -> tuple[float, ...]:
    """A prediction's colour, which is visible on top of the measured line, too."""
    return tuple(DARKER * part for part in to_rgb(colour))


def _tick_values(ax: Axes, values: Array, logx: bool) -> None:
    """With few values of a key, each is a tick."""
    if len(values) < 2:
        return
    places = np.log(values) if logx else values
    if min(np.diff(places)) > (places[-1] - places[0]) / 7:
        ax.set_xticks(values, [f"{value:g}" for value in values])
        ax.xaxis.set_minor_formatter(NullFormatter())


def _handles(lines: Lines, coloured: bool) -> list[Line2D]:
    """The legend of all panels: colours, unless no panel uses the hues, then line styles, each below its keys."""
    handles = []
    if len(lines.hues) > 1 and coloured:
        number = len(lines.hues)
        found = [looks.ordered_look(place, number) | {"markersize": looks.SIZE} for place in range(number)]
        handles += _choices(lines.hue, lines.hues, found)
    if len(lines.styles) > 1:
        handles += _choices(lines.style, lines.styles, [{"color": "0.25", "linestyle": each} for each in STYLES])
    if not all(map(is_finished, lines.records)):
        unfinished: dict[str, Any] = {"color": "0.25", "linewidth": 0.8, "marker": "o", "fillstyle": "none"}
        handles.append(Line2D([], [], label="unfinished", **unfinished))
    return handles


def _choices(keys: Sequence[str], values: Sequence[Values], styles: Sequence[dict[str, Any]]) -> list[Line2D]:
    """A line without a mark that names the keys, and one for each of their values."""
    named = [
        (", ".join(map(wording.value_words, keys, value)), style) for value, style in zip(values, styles, strict=False)
    ]
    return [Line2D([], [], linestyle="none", label=",\n".join(keys))] + [
        Line2D([], [], label=label, **style) for label, style in named
    ]


def _caption(lines: Lines) -> str:
    """Words about the differing keys and the common setting."""
    records = lines.records
    runs = f"{len(records)} run{'s' if len(records) > 1 else ''}"
    if naming := naming_keys(records):
        runs += f", which differ in {', '.join(naming)}"
    parts = [runs, wording.setting_words(*records).removesuffix(".")]
    if any(len(alike) > 1 for alike in split(records, [*differing_keys(records), *lines.chosen]).values()):
        way = "band" if lines.over_time else "bars"
        parts.append(f"Line: the median of the seeds; {way}: from the smallest to the largest")
    if not lines.over_time:
        parts.append("Every run at its last measured epoch")
    if unfinished := sum(not is_finished(record) for record in records):
        parts.append(f"{unfinished} of the runs {'is' if unfinished == 1 else 'are'} unfinished: thin, to a hollow dot")
    return ". ".join(parts) + "."
