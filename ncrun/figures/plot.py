"""A figure of users' own runs: metrics over time or over a configuration value, seeds as a band."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from ncrun.errors import UserError
from ncrun.figures import convergence, drops, panels, wording
from ncrun.figures.plot_lines import TIMES, Array, Curve, Lines, Request, Say, Values, is_finished
from ncrun.figures.plot_predictions import bound_of
from ncrun.metrics import words_of
from ncrun.records.groups import differing_keys, naming_keys, settings_of, split, words
from ncrun.records.read import Record

# Dashed is predicted, and dotted the balanced baseline.
STYLES: tuple[Any, ...] = ("-", "-.", (0, (6, 1, 1, 1, 1, 1)), (0, (10, 1.5)))
# Of a panel, in inches: some hold a legend.
NARROWEST = 1.8
# Values that span more than this factor are drawn on a log axis.
WIDE = 10.0
SEED_ALPHA = 0.25
# Of a prediction's colour, from that of what was measured.
DARKER = 0.5
BOUND = Line2D([], [], **panels.PREDICTION, label="its proven bound")
# What a caption names of the configuration, as far as the runs have it in common.
IN_CAPTION = (
    "experiment",
    "scale",
    "dataset.name",
    "imbalance",
    "imbalance_profile",
    "counts",
    "model.name",
    "model.depth",
    "model.width",
    "head.depth",
    "head.bias",
    "loss",
    "decay.mode",
    "decay.weight",
    "decay.feature",
    "decay.bias",
    "optimizer.name",
    "optimizer.lr",
    "batch_size",
    "epochs",
)


def plot_runs(records: Sequence[Record], request: Request, say: Say) -> Figure:
    """The figure. say: is told, line by line, what a reader has to know of single runs.

    A metric has a panel; one with a number for each class has one for each hue, and a colour for each class. Dashed is
    what theory predicts, or a bound that holds of these very networks, dotted the distance to its prediction for equal
    counts. Raises UserError for a metric or key that these runs do not have, and for more curves than can be told
    apart.
    """
    lines = Lines(records, request, say)
    drawings = [(y, hue) for y in request.y for hue in (lines.hues if lines.is_list(y) else (None,))]
    figure, axes = panels.grid(1, len(drawings), narrowest=NARROWEST)
    beside: dict[str, Line2D] = {}
    for ax, (metric, hue) in zip(axes[0], drawings, strict=True):
        beside |= _panel(ax, lines, request, metric, hue)
        if lines.over_time:
            drops.mark([ax], [r for r in lines.records if hue in (None, *split([r], lines.hue))], lines.x)
    handles = [*_handles(lines, coloured=any(hue is None for _, hue in drawings)), *beside.values()]
    handles += drops.handles(lines.records) if lines.over_time else []
    panels.legend_above(figure, handles)
    panels.caption(figure, _caption(lines))
    return figure


def _panel(ax: Axes, lines: Lines, request: Request, metric: str, hue: Values | None) -> dict[str, Line2D]:
    """hue: the one whose classes are drawn, None for a metric that is one number. Returns what a legend has to say of
    predictions and baselines, if there are any."""
    title = words_of(metric)
    baselines: list[tuple[Any, Curve]] = []
    if hue is None:
        curves, baselines = (
            [(_colour(lines.hues.index(curve.hue), len(lines.hues)), curve) for curve in found]
            for found in (lines.curves(metric), lines.baselines(metric))
        )
    else:
        number = lines.num_classes(metric, hue)
        curves = [(_colour(k, number), curve) for k in range(number) for curve in lines.curves(metric, hue, k)]
        handles = panels.class_handles(None, [_colour(k, number) for k in range(number)])
        ax.legend(handles=handles, loc="best")
        title = ", ".join(
            [title or metric, *(f"{key}={words(value)}" for key, value in zip(lines.hue, hue, strict=True))]
        )
    shown = [curve for _, curve in curves]
    logx, logy = _log_axes(lines, request, metric, shown)
    times = _abscissae(shown)
    has_start = lines.over_time and bool((times == 0).any())
    for colour, curve in curves:
        style: dict[str, Any] = {"color": colour, "linestyle": STYLES[lines.styles.index(curve.style)]}
        _draw(ax, curve, lines.over_time, logx and not has_start, logy, **style)
    for colour, curve in baselines:
        _draw(ax, curve, lines.over_time, logx and not has_start, logy, **panels.BASELINE | {"color": colour})
    for colour, curve in curves:
        for x, y in curve.predicted:
            ax.plot(x, y, **panels.PREDICTION | {"color": _darker(colour), "zorder": 3})
    xlabel = TIMES[lines.x] if lines.over_time else lines.x
    ax.set(xlabel=wording.time_word(lines.records) if lines.x == "epoch" else xlabel, ylabel=metric)
    ax.set_title(title, wrap=True)
    if logx and has_start:
        panels.from_start(ax, times)
    elif logx:
        ax.set_xscale("log")
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
    """Whether abscissa and ordinate are logarithmic: as asked, else as their values are."""
    xs = _abscissae(curves)
    ys = np.concatenate(
        [part for c in curves for part in (c.points["low"], c.points["high"], *(y for _, y in c.alone))]
    )
    ys = ys[np.isfinite(ys)]
    if lines.over_time:
        xs = xs[xs > 0]  # the start itself has a place of its own
    share = metric.endswith("accuracy")  # read from the top, not as a ratio
    for option, name, values in (("logx", lines.x, xs), ("logy", metric, ys)):
        if getattr(request, option) and not (values > 0).any():
            raise UserError(f"{option}=true: {name} has no positive value in these runs")
    logx = _spans(xs) if request.logx is None else request.logx
    return logx, (_spans(ys) and not share) if request.logy is None else request.logy


def _spans(values: Array) -> bool:
    """Whether a log axis suits: all positive, over more than a factor of WIDE."""
    return bool(len(values) and values.min() > 0 and values.max() > WIDE * values.min())


def _draw(ax: Axes, curve: Curve, over_time: bool, logx: bool, logy: bool, **style: Any) -> None:
    """Finished runs as their median and a band (over a key: bars) from the smallest to the largest; the others thinly,
    to a hollow dot."""

    def shown(x: Array, y: Array) -> Array:
        """What the axes have a place for."""
        return np.where(((x > 0) | (not logx)) & ((y > 0) | (not logy)), y, np.nan)

    colour = style["color"]
    x, low, below, above, high = (curve.points[name].to_numpy() for name in ("x", "low", "below", "above", "high"))
    middle = panels.middle(np.array([below, above]), "log" if logy else "linear")
    if len(x):
        ax.plot(x, shown(x, middle), marker=None if over_time else "o", **style)
    if curve.several and over_time:
        band = {"color": colour, "alpha": SEED_ALPHA, "linewidth": 0, "zorder": 1.5}
        ax.fill_between(x, shown(x, low), shown(x, high), **band)
    elif curve.several:
        bottom = np.where(np.isfinite(shown(x, low)), low, middle)  # a log axis has no place for zero
        ax.errorbar(x, shown(x, middle), yerr=[middle - bottom, high - middle], color=colour, fmt="none", capsize=3)
    for own_x, own_y in curve.alone:
        ax.plot(own_x, shown(own_x, own_y), linewidth=0.8, **style)
        ax.plot(own_x[-1:], shown(own_x, own_y)[-1:], "o", color=colour, fillstyle="none")


def _darker(colour: Any) -> tuple[float, ...]:
    """Of a prediction, which is seen where the measured line lies under it, too."""
    return tuple(DARKER * part for part in to_rgb(colour))


def _tick_values(ax: Axes, values: Array, logx: bool) -> None:
    """Of few values of a key, each is a tick."""
    if len(values) < 2:
        return
    places = np.log(values) if logx else values
    if min(np.diff(places)) > (places[-1] - places[0]) / 7:
        ax.set_xticks(values, [f"{value:g}" for value in values])
        ax.xaxis.set_minor_formatter(NullFormatter())


def _colour(index: int, number: int) -> Any:
    """One of so many: of the palette while it lasts, else of an ordered scale."""
    cycle = plt.rcParams["axes.prop_cycle"].by_key()["color"]
    return cycle[index] if number <= len(cycle) else colormaps["viridis"](index / number)


def _handles(lines: Lines, coloured: bool) -> list[Line2D]:
    """For one legend of all panels: colours, unless none has the hues', then line styles, each below its keys."""
    handles = []
    if len(lines.hues) > 1 and coloured:
        looks = [{"color": _colour(index, len(lines.hues))} for index in range(len(lines.hues))]
        handles += _choices(lines.hue, lines.hues, looks)
    if len(lines.styles) > 1:
        handles += _choices(lines.style, lines.styles, [{"color": "0.25", "linestyle": each} for each in STYLES])
    if not all(map(is_finished, lines.records)):
        unfinished: dict[str, Any] = {"color": "0.25", "linewidth": 0.8, "marker": "o", "fillstyle": "none"}
        handles.append(Line2D([], [], label="unfinished", **unfinished))
    return handles


def _choices(keys: Sequence[str], values: Sequence[Values], looks: Sequence[dict[str, Any]]) -> list[Line2D]:
    """A line without a mark that names the keys, and one for each of their values."""
    named = [(", ".join(map(words, value)), look) for value, look in zip(values, looks, strict=False)]
    return [Line2D([], [], linestyle="none", label=",\n".join(keys))] + [
        Line2D([], [], label=label, **look) for label, look in named
    ]


def _caption(lines: Lines) -> str:
    """What differs and what is common."""
    records = lines.records
    differing, several = differing_keys(records), len(records) > 1
    settings = settings_of(records[0])
    common = [key for key in IN_CAPTION if settings.get(key) is not None and key not in differing]
    runs = f"{len(records)} run{'s' if several else ''}"
    if naming := naming_keys(records):
        runs += f", which differ in {', '.join(naming)}"
    parts = [runs, f"{'Common: ' if several else ''}{', '.join(f'{key}={words(settings[key])}' for key in common)}"]
    seeds = sorted({record.config["seed"] for record in records})
    seed_words = ", ".join(map(str, seeds))
    if len(seeds) > 2 and seeds == list(range(seeds[0], seeds[-1] + 1)):
        seed_words = f"{seeds[0]} to {seeds[-1]}"
    if all(len(alike) == 1 for alike in split(records, [*differing, *lines.chosen]).values()):
        parts.append(f"Seed{'s' if len(seeds) > 1 else ''} {seed_words}")
    else:
        way = "band" if lines.over_time else "bars"
        parts.append(f"Seeds {seed_words}: line the median, {way} from the smallest to the largest")
    if not lines.over_time:
        parts.append("Of every run the last measured epoch")
    if unfinished := sum(not is_finished(record) for record in records):
        parts.append(f"{unfinished} of the runs {'is' if unfinished == 1 else 'are'} unfinished: thin, to a hollow dot")
    return ". ".join(parts) + "."
