"""A figure of users' own runs: metrics over time or over a configuration value, seeds as a band."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import NDArray

from ncrun.errors import UserError
from ncrun.figures import panels
from ncrun.records.groups import (
    differing_keys,
    key_of,
    naming_keys,
    settings_of,
    split,
    unknown_metric,
    words,
)
from ncrun.records.read import Record

Array = NDArray[np.float64]

TIMES = {"epoch": "epoch", "step": "optimiser steps", "seconds": "seconds", "factor": "factor on all decays"}
# More curves than this nobody can tell apart.
MOST_HUES = 12
STYLES: tuple[Any, ...] = ("-", "--", ":", "-.")
# Panels side by side, before a new row begins.
COLUMNS = 3
# Values that span more than this factor are drawn on a log axis.
WIDE = 10.0
# So many classes have a name in a legend; of more, some.
NAMED_CLASSES = 8
SEED_ALPHA = 0.25
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
    "optimizer.name",
    "optimizer.lr",
    "batch_size",
    "epochs",
)


@dataclass(frozen=True)
class Request:
    """What to draw. y: metrics, a panel each. x: of TIMES, or a configuration key. hue, style: configuration keys
    that choose colour and line style; hue None: those that tell the runs apart. logx, logy: None decides by the values.
    """

    y: tuple[str, ...]
    x: str = "epoch"
    hue: tuple[str, ...] | None = None
    style: tuple[str, ...] = ()
    logx: bool | None = None
    logy: bool | None = None


@dataclass
class Curve:
    """What one line shows. values: (runs, points). loose: runs drawn by themselves, as x and y, not in the band."""

    hue: tuple[Any, ...]
    style: tuple[Any, ...]
    x: Array
    values: Array
    loose: list[tuple[Array, Array]] = field(default_factory=list)


def plot_runs(records: Sequence[Record], request: Request, say: Callable[[str], None]) -> Figure:
    """The figure. say: is told, line by line, what a reader has to know of single runs.

    Raises UserError for a metric or key that these runs do not have, and for more curves than can be told apart.
    """
    plan = _Plan(_measured(records, say), request, say)
    drawings = [drawing for metric in request.y for drawing in plan.panels(metric)]
    columns = min(len(drawings), COLUMNS)
    rows = math.ceil(len(drawings) / columns)
    size = (max(5.2, 4.0 * columns), 3.7 * rows + 0.4)
    figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
    for ax, drawing in zip(axes.flat, drawings, strict=False):
        plan.draw(ax, *drawing)
    for ax in axes.flat[len(drawings) :]:
        ax.set_axis_off()
    plan.legend(figure)
    panels.caption(figure, plan.caption())
    return figure


def _measured(records: Sequence[Record], say: Callable[[str], None]) -> list[Record]:
    """Those with a measured epoch; what is not finished, or failed, is named."""
    found = []
    for record in records:
        state = record.manifest["state"]
        if record.metrics.empty:
            say(f"{record.path}: is {state}, and no epoch of it is measured; left out")
            continue
        if state != "done":
            say(f"{record.path}: is not finished ({state}); drawn up to epoch {record.metrics['epoch'].iloc[-1]}")
        found.append(record)
    if not found:
        raise UserError("no epoch is measured in any of these runs")
    return found


class _Plan:
    """Checks a request against the runs, and draws it."""

    def __init__(self, records: Sequence[Record], request: Request, say: Callable[[str], None]) -> None:
        self.records, self.request, self.say = records, request, say
        self.known = list(dict.fromkeys(key for record in records for key in record.metrics))
        for metric in request.y:
            self._check_metric(metric)
        self.over_time = request.x in TIMES
        self.x = request.x if self.over_time else key_of(request.x, "x", records)
        if self.over_time and request.x not in self.known:
            raise UserError(f"x={request.x}: these runs have none; it is for runs with path=[...]")
        self.style = tuple(key_of(key, "style", records) for key in request.style)
        if request.hue is None:
            self.hue = tuple(naming_keys(records, given=(*self.style, *self._on_axis)))
        else:
            self.hue = tuple(key_of(key, "hue", records) for key in request.hue)
        self.hues = list(split(records, self.hue))
        self.styles = list(split(records, self.style))
        self._check_number_of_curves()
        self.groups = self._groups()
        self.notes: list[str] = []

    def _check_metric(self, metric: str) -> None:
        if metric not in self.known:
            raise unknown_metric("y", metric, self.known)
        without = [record for record in self.records if metric not in record.metrics or _is_null(record, metric)]
        if len(without) == len(self.records):
            raise UserError(f"y={metric}: is null in every one of these runs: it is not determined in their setting")
        for record in without:
            self.say(f"{record.path}: has no {metric} (null); not drawn in that panel")

    @property
    def _on_axis(self) -> tuple[str, ...]:
        return () if self.over_time else (self.x,)

    def _check_number_of_curves(self) -> None:
        if len(self.hues) > MOST_HUES:
            names = ",".join(self.hue)
            asked = f"hue={names}: " if self.request.hue is not None else f"the runs differ in {names}, which "
            verb = "has" if self.request.hue is not None else "have"
            raise UserError(
                f"{asked}{verb} {len(self.hues)} values here, and more than {MOST_HUES} colours cannot be told apart;"
                f" name fewer runs, other keys with hue=, or put one on the axis with x="
            )
        if len(self.styles) > len(STYLES):
            raise UserError(
                f"style={','.join(self.style)}: has {len(self.styles)} values here; there are {len(STYLES)} line styles"
            )

    def _groups(self) -> list[list[Record]]:
        """Runs that one line is made of: over time one configuration, over a key all its values."""
        # Over a key, another that follows it, such as a second decay, makes no lines of its own.
        apart = differing_keys(self.records) if self.over_time else naming_keys(self.records, given=self._on_axis)
        groups = list(split(self.records, [*apart, *self.hue, *self.style]).values())
        lines = len(split(self.records, [*self.hue, *self.style]))
        if len(groups) > lines:
            others = naming_keys(self.records, given=(*self._on_axis, *self.hue, *self.style))
            self.say(f"lines that look alike differ in {', '.join(others)}; tell them apart with hue= or style=")
        return groups

    def panels(self, metric: str) -> Iterator[tuple[str, tuple[Any, ...] | None]]:
        """A metric's panels: one, or where it is a list for each class one for each hue, which is None otherwise."""
        if any(_is_list(record, metric) for record in self.records):
            yield from ((metric, hue) for hue in self.hues)
        else:
            yield metric, None

    def draw(self, ax: Axes, metric: str, hue: tuple[Any, ...] | None) -> None:
        """One panel."""
        if hue is None:
            curves = [(self._colour(curve.hue), curve) for curve in self._curves(metric, None)]
        else:
            here = [record for record in self.records if next(iter(split([record], self.hue))) == hue]
            number = max(len(values) for record in here for values in _column(record, metric) if values is not None)
            curves = [
                (_class_colour(k, number), curve)
                for k in range(number)
                for curve in self._curves(metric, k)
                if curve.hue == hue
            ]
            _class_legend(ax, number)
        logx, logy = self._log_axes(metric, [curve for _, curve in curves])
        for colour, curve in curves:
            self._draw_curve(ax, curve, colour, logx, logy)
        title = panels.LABELS.get(metric, "" if hue is None else metric)
        if hue:
            title = f"{title}, {', '.join(f'{k}={words(v)}' for k, v in zip(self.hue, hue, strict=True))}"
        free = self.records[0].config["dataset"] is None
        xlabel = TIMES[self.x] if self.over_time else self.x
        ax.set(xlabel="iteration" if self.x == "epoch" and free else xlabel, ylabel=metric)
        ax.set_title(title, wrap=True)
        _scale(ax, logx, logy)
        if not self.over_time:
            _tick_values(ax, curves, logx)

    def _curves(self, metric: str, member: int | None) -> list[Curve]:
        found = []
        for group in self.groups:
            have = [r for r in group if metric in r.metrics and not _is_null(r, metric)]
            if have:
                found.append(
                    self._over_time(have, metric, member) if self.over_time else self._over_key(have, metric, member)
                )
        return found

    def _place(self, record: Record) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        return next(iter(split([record], self.hue))), next(iter(split([record], self.style)))

    def _over_time(self, group: Sequence[Record], metric: str, member: int | None) -> Curve:
        """The finished seeds at the epochs that all of them measured; others by themselves."""
        hue, style = self._place(group[0])
        finished = [record for record in group if record.manifest["state"] == "done"]
        loose = [record for record in group if record not in finished]
        epochs = [set(record.metrics["epoch"]) for record in finished]
        common = sorted(set.intersection(*epochs)) if epochs else []
        if len(finished) > 1 and any(len(each) != len(common) for each in epochs):
            name = f"{finished[0].path} and its other seeds"
            if len(common) < 3:
                self._note(f"{name} share {len(common)} measured epochs; each is drawn by itself, without a band")
                finished, loose = [], [*finished, *loose]
            else:
                self._note(f"{name} are measured at different epochs; their band is over the {len(common)} common ones")
        kept = [record.metrics[record.metrics["epoch"].isin(common)] for record in finished]
        xs = [frame[self.x].to_numpy(dtype=float) for frame in kept]
        ys = [_numbers(frame[metric], member) for frame in kept]
        alone = [(r.metrics[self.x].to_numpy(dtype=float), _numbers(r.metrics[metric], member)) for r in loose]
        if not kept:
            return Curve(hue, style, np.empty(0), np.empty((0, 0)), alone)
        return Curve(hue, style, np.mean(xs, axis=0), np.array(ys), alone)

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)
            self.say(text)

    def _over_key(self, group: Sequence[Record], metric: str, member: int | None) -> Curve:
        """The last measured value over a configuration value."""
        hue, style = self._place(group[0])
        seeds: dict[float, list[float]] = {}
        loose = []
        for record in group:
            value = settings_of(record).get(self.x)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise UserError(
                    f"x={self.x}: is {words(value)} in {record.path}; only numbers can be an axis, so use it as hue="
                )
            last = float(_numbers(record.metrics[metric].iloc[-1:], member)[0])
            if record.manifest["state"] == "done":
                seeds.setdefault(float(value), []).append(last)
            else:
                loose.append((np.array([float(value)]), np.array([last])))
        xs = sorted(seeds)
        most = max((len(found) for found in seeds.values()), default=0)
        values = np.full((most, len(xs)), np.nan)
        for j, x in enumerate(xs):
            values[: len(seeds[x]), j] = seeds[x]
        return Curve(hue, style, np.array(xs), values, loose)

    def _log_axes(self, metric: str, curves: Sequence[Curve]) -> tuple[bool, bool]:
        xs = np.concatenate([part for c in curves for part in (c.x, *(x for x, _ in c.loose))])
        ys = np.concatenate([part for c in curves for part in (c.values.ravel(), *(y for _, y in c.loose))])
        ys = ys[np.isfinite(ys)]
        if self.over_time:
            xs = xs[xs > 0]  # the start itself, which a log axis leaves out
        share = metric.endswith("accuracy")  # read from the top, not as a ratio
        logx = _spans(xs) if self.request.logx is None else self.request.logx
        logy = (_spans(ys) and not share) if self.request.logy is None else self.request.logy
        if self.request.logx and not (xs > 0).any():
            raise UserError(f"logx=true: {self.x} has no positive value in these runs")
        if self.request.logy and not (ys > 0).any():
            raise UserError(f"logy=true: {metric} has no positive value in these runs")
        return logx, logy

    def _draw_curve(self, ax: Axes, curve: Curve, colour: Any, logx: bool, logy: bool) -> None:
        line = STYLES[self.styles.index(curve.style)]
        marker = None if self.over_time else "o"

        def shown(x: Array, y: Array) -> Array:
            y = np.where(x > 0, y, np.nan) if logx else y
            return np.where(y > 0, y, np.nan) if logy else y

        if curve.values.size:
            mean = _over_seeds(np.mean, curve.values)
            low, high = _over_seeds(np.min, curve.values), _over_seeds(np.max, curve.values)
            ax.plot(curve.x, shown(curve.x, mean), color=colour, linestyle=line, marker=marker)
            if len(curve.values) > 1 and self.over_time:
                ax.fill_between(
                    curve.x,
                    shown(curve.x, low),
                    shown(curve.x, high),
                    color=colour,
                    alpha=SEED_ALPHA,
                    linewidth=0,
                    zorder=1.5,
                )
            elif len(curve.values) > 1:
                middle = shown(curve.x, mean)
                bottom = np.where(np.isfinite(shown(curve.x, low)), low, mean)  # a log axis has no place for zero
                ax.errorbar(curve.x, middle, yerr=[mean - bottom, high - mean], color=colour, fmt="none", capsize=3)
        for x, y in curve.loose:
            ax.plot(x, shown(x, y), color=colour, linestyle=line, linewidth=0.8)
            ax.plot(x[-1:], shown(x, y)[-1:], "o", color=colour, fillstyle="none")

    def _colour(self, hue: tuple[Any, ...]) -> Any:
        cycle = plt.rcParams["axes.prop_cycle"].by_key()["color"]
        if len(self.hues) <= len(cycle):
            return cycle[self.hues.index(hue)]
        return colormaps["viridis"](self.hues.index(hue) / len(self.hues))

    def legend(self, figure: Figure) -> None:
        """One for all panels, beside them: colours, then line styles."""
        in_titles = all(any(_is_list(record, metric) for record in self.records) for metric in self.request.y)
        handles = []
        if len(self.hues) > 1 and not in_titles:
            handles.append(Line2D([], [], linestyle="none", label=",\n".join(self.hue)))
            handles += [Line2D([], [], color=self._colour(hue), label=_values(hue)) for hue in self.hues]
        if len(self.styles) > 1:
            handles.append(Line2D([], [], linestyle="none", label=",\n".join(self.style)))
            handles += [
                Line2D([], [], color="0.25", linestyle=line, label=_values(values))
                for line, values in zip(STYLES, self.styles, strict=False)
            ]
        if any(record.manifest["state"] != "done" for record in self.records):
            handles.append(
                Line2D([], [], color="0.25", linewidth=0.8, marker="o", fillstyle="none", label="unfinished")
            )
        if handles:
            figure.legend(handles=handles, loc="outside right upper")

    def caption(self) -> str:
        """What differs and what is common."""
        records = self.records
        different = naming_keys(records)
        common = {key: value for key, value in settings_of(records[0]).items() if key not in differing_keys(records)}
        kept = [f"{key}={words(common[key])}" for key in IN_CAPTION if common.get(key) is not None]
        seeds = sorted({record.config["seed"] for record in records})
        seed_words = ", ".join(map(str, seeds))
        if len(seeds) > 2 and seeds == list(range(seeds[0], seeds[-1] + 1)):
            seed_words = f"{seeds[0]} to {seeds[-1]}"
        parts = [f"{len(records)} run{'s' if len(records) > 1 else ''}"]
        if different:
            parts[0] += f", which differ in {', '.join(different)}"
        parts.append(f"{'Common: ' if len(records) > 1 else ''}{', '.join(kept)}")
        alike = split(records, [*differing_keys(records), *self._on_axis, *self.hue, *self.style]).values()
        if all(len(group) == 1 for group in alike):
            parts.append(f"Seed{'s' if len(seeds) > 1 else ''} {seed_words}")
        else:
            way = "band" if self.over_time else "bars"
            parts.append(f"Seeds {seed_words}: line the mean, {way} from the smallest to the largest")
        if not self.over_time:
            parts.append("Of every run the last measured epoch")
        unfinished = sum(record.manifest["state"] != "done" for record in records)
        if unfinished:
            parts.append(
                f"{unfinished} of the runs {'is' if unfinished == 1 else 'are'} unfinished: thin, to a hollow dot"
            )
        return ". ".join(parts) + "."


def _values(values: tuple[Any, ...]) -> str:
    return ", ".join(map(words, values))


def _column(record: Record, metric: str) -> Any:
    return record.metrics[metric]


def _is_list(record: Record, metric: str) -> bool:
    return metric in record.metrics and any(isinstance(value, list) for value in record.metrics[metric])


def _is_null(record: Record, metric: str) -> bool:
    return bool(record.metrics[metric].isna().all())


def _numbers(column: Any, member: int | None) -> Array:
    """A column of metrics, or of lists in it the entry of one class, nan for null."""
    if member is not None:
        column = [value[member] if isinstance(value, list) and member < len(value) else None for value in column]
    return np.array(column, dtype=float)


def _over_seeds(reduce: Callable[..., Any], values: Array) -> Array:
    """A statistic over the seeds that have a number, point by point; nan where none has."""
    columns = [column[np.isfinite(column)] for column in values.T]
    return np.array([reduce(column) if len(column) else math.nan for column in columns])


def _spans(values: Array) -> bool:
    """Whether a log axis suits: all positive, over more than a factor of WIDE."""
    return bool(len(values) and values.min() > 0 and values.max() > WIDE * values.min())


def _scale(ax: Axes, logx: bool, logy: bool) -> None:
    if logx:
        ax.set_xscale("log")
    if logy:
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(numticks=8))


def _tick_values(ax: Axes, curves: Sequence[tuple[Any, Curve]], logx: bool) -> None:
    """Of few values of a key, each is a tick."""
    values = sorted({float(x) for _, curve in curves for x in curve.x})
    if len(values) < 2:
        return
    places = np.log(values) if logx else np.array(values)
    if min(np.diff(places)) > (places[-1] - places[0]) / 7:
        ax.set_xticks(values, [f"{value:g}" for value in values])
        ax.xaxis.set_minor_formatter(NullFormatter())


def _class_colour(k: int, number: int) -> Any:
    cycle = plt.rcParams["axes.prop_cycle"].by_key()["color"]
    return cycle[k] if number <= len(cycle) else colormaps["viridis"](k / number)


def _class_legend(ax: Axes, number: int) -> None:
    shown = range(number) if number <= NAMED_CLASSES else np.linspace(0, number - 1, 5).astype(int)
    handles = [Line2D([], [], color=_class_colour(int(k), number), label=f"class {k}") for k in shown]
    ax.legend(handles=handles, loc="best")
