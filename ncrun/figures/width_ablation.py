"""Deep unconstrained features over the width: the losses of restarts, and how many lost a class."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ncrun.figures import convergence, needs, panels
from ncrun.figures.layers import DNC, least
from ncrun.records.lost import lost
from ncrun.records.read import Record

# Excess losses and DNC below these are rounding; they are drawn at these values.
ROUNDING, DNC_ROUNDING = 1e-9, 1e-16
REACHED = ("global optimum", "at the claim", "lower than the claim")
ONE: dict[str, Any] = {"linestyle": "", "alpha": 0.5, "markersize": 3}
LOST: dict[str, Any] = {"marker": "x", "linestyle": "", "markersize": 3.5, "markeredgewidth": 0.8}
# Around the cross, its depth's marker.
AROUND: dict[str, Any] = {"linestyle": "", "markersize": 6.5, "markeredgewidth": 0.6, "markerfacecolor": "none"}
# Share of the panel's height below its upper edge, for the count of restarts that lost a class, for each depth.
FIRST_COUNT, NEXT_COUNT = 0.06, 0.11
# Share of the ordinate's span reserved for each depth.
COUNT_ROOM = 0.13
KEPT: dict[str, Any] = {"linestyle": ":", "markersize": 4, "markerfacecolor": "white"}


def width_ablation(records: Sequence[Record]) -> Figure:
    """Over the width: loss over the optimum; shares of restarts at the optimum, and that keep every class; and DNC1,
    DNC2 and DNC3 of the last layer at the end. Every restart is a mark, looks are depths, lines are medians of all
    restarts: one that lost a class has no deep neural collapse, whatever is measured of the others, counts as the worst
    in each median, and is counted at the upper edge."""
    needs.verdicts(records)
    for record in records:
        needs.columns(record, *(f"head.{record.config['head']['depth']}.{key}" for key, _, _ in DNC))
    by_depth = {depth: [r for r in records if _depth(r) == depth] for depth in sorted(set(map(_depth, records)))}
    figure, axes = panels.grid(1, 5)
    panel = axes[0]
    losing = [depth for depth, here in by_depth.items() if any(map(has_lost, here))]
    for depth, here in by_depth.items():
        look = panels.look_of(here[0])
        _excesses(panel[0], here, look)
        for share, style in ((_share_at_goal, {}), (_share_kept, KEPT)):
            panel[1].plot(_widths(here), _by_width(here, share), **look | style)
        for ax, (key, _, _) in zip(panel[2:], DNC, strict=True):
            place = losing.index(depth) if depth in losing else 0
            _collapse(ax, here, partial(_floored, key=f"head.{depth}.{key}"), look, place)
    claims = {record.theory["claim"] for record in records}
    goal = "optimum" if claims <= {"proven", "certified"} else "claimed value"
    titles = [f"loss / {goal} − 1", "share of restarts", *(title for _, title, _ in DNC)]
    for ax, title in zip(panel, titles, strict=True):
        ax.set(title=title, xlabel="width", xscale="log")
        ax.set_xticks(_widths(records), [str(width) for width in _widths(records)])
        ax.minorticks_off()
        if ax is not panel[1]:
            ax.set_yscale("log")
            if ax is not panel[0]:
                _room_above(ax, len(losing))
            panels.tidy_log(ax.yaxis)
    panel[1].set_ylim(-0.05, 1.05)
    panels.legend_above(figure, _handles(by_depth, goal))
    words = (
        "DNC is of the last layer. A restart that lost a class counts as the worst in every median of DNC, and is"
        f" counted at the upper edge. Excess losses below {ROUNDING:g} and DNC below {DNC_ROUNDING:g} are drawn at"
        " these values."
    )
    reached = ", ".join(dict.fromkeys(_verdict(record) for record in records if _verdict(record) in REACHED))
    words += f" At the {goal}: restarts with the verdict {reached}." if reached else f" No restart is at the {goal}."
    panels.caption(figure, convergence.caption(records, words, bands=False))
    return figure


def excess(record: Record) -> float:
    """Last loss over the predicted objective, minus 1; at least ROUNDING. nan without a prediction."""
    objective = record.theory["objective"]
    return max(float(record.metrics["loss"].iloc[-1]) / objective - 1, ROUNDING) if objective else np.nan


def has_lost(record: Record) -> bool:
    """Whether a class that the optimum keeps is lost at the end."""
    classes = record.theory["classes"]
    return any(not classes[k]["collapsed"] for k in lost(record.metrics["class.margin"].iloc[-1], classes))


def _excesses(ax: Axes, records: Sequence[Record], look: dict[str, Any]) -> None:
    for record in records:
        if has_lost(record):
            _lost(ax, _width(record), excess(record), look)
        else:
            ax.plot(_width(record), excess(record), **look | ONE)
    medians = _by_width(records, partial(_median, value=excess))
    ax.plot(_widths(records), medians, color=look["color"], linewidth=1.0)


def _lost(ax: Axes, width: float, height: float, look: dict[str, Any], **at: Any) -> None:
    for style in (AROUND, LOST):
        ax.plot(width, height, **look | style, **at)


def _collapse(
    ax: Axes, records: Sequence[Record], value: Callable[[Record], float], look: dict[str, Any], place: int
) -> None:
    """place: of the depth among those with lost restarts."""
    for record in records:
        if not has_lost(record):
            ax.plot(_width(record), value(record), **look | ONE)
    kept = partial(_median, value=lambda record: np.inf if has_lost(record) else value(record))
    medians = np.array(_by_width(records, kept))
    ax.plot(_widths(records), np.where(np.isfinite(medians), medians, np.nan), color=look["color"], linewidth=1.0)
    height = 1 - FIRST_COUNT - NEXT_COUNT * place
    for width in _widths(records):
        here = [record for record in records if _width(record) == width]
        number = sum(map(has_lost, here))
        if number:
            at: dict[str, Any] = {"transform": ax.get_xaxis_transform()}
            _lost(ax, width, height, look, **at)
            ax.text(width, height, f"  {number}", va="center", gid="lost", color=look["color"], **at)


def _median(records: Sequence[Record], value: Callable[[Record], float]) -> float:
    """The median on a log axis. A restart without a value counts as the worst, too."""
    values = [value(record) for record in records]
    return float(panels.middle(np.array([[np.inf if np.isnan(each) else each] for each in values]))[0])


def _room_above(ax: Axes, depths: int) -> None:
    low, high = ax.get_ylim()
    if depths:
        ax.set_ylim(low, high * (high / low) ** (COUNT_ROOM * depths))


def _by_width(records: Sequence[Record], value: Callable[[Sequence[Record]], float]) -> list[float]:
    return [value([record for record in records if _width(record) == width]) for width in _widths(records)]


def _share_at_goal(records: Sequence[Record]) -> float:
    return sum(_verdict(record) in REACHED for record in records) / len(records)


def _share_kept(records: Sequence[Record]) -> float:
    return sum(not has_lost(record) for record in records) / len(records)


def _verdict(record: Record) -> str:
    return str(record.manifest["verdict"]["word"])


def _widths(records: Sequence[Record]) -> list[int]:
    return sorted(set(map(_width, records)))


def _width(record: Record) -> int:
    return int(record.config["model"]["width"])


def _depth(record: Record) -> int:
    return int(record.config["head"]["depth"])


def _floored(record: Record, key: str) -> float:
    """A metric minus its least value at the last epoch, at least DNC_ROUNDING; nan if not defined."""
    value = record.metrics[key].iloc[-1]
    return np.nan if value is None or np.isnan(value) else max(float(value) - least(key), DNC_ROUNDING)


def _handles(by_depth: dict[int, list[Record]], goal: str) -> list[Line2D]:
    grey: dict[str, Any] = {"color": "0.4"}
    found = [
        Line2D([], [], linestyle="", label=f"L = {depth}, a restart", **panels.look_of(here[0]))
        for depth, here in by_depth.items()
    ]
    found.append(Line2D([], [], label="median of all restarts", **grey))
    if any(has_lost(record) for here in by_depth.values() for record in here):
        found.append(Line2D([], [], label="restarts that lost a class, and how many", **LOST, **grey))
    found.append(Line2D([], [], marker="o", markersize=3, label=f"share at the {goal}", **grey))
    return [*found, Line2D([], [], marker="o", label="share that keeps every class", **KEPT, **grey)]
