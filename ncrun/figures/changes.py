"""Marks drops of the learning rate, and where L-BFGS takes over, on every time axis, so that nobody takes their effect
for a phase transition."""

from collections.abc import Iterable, Sequence
from math import ceil
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.markers import CARETDOWNBASE, CARETUPBASE

from ncrun.records.read import Record

# A mark at the upper edge of a panel, with a thin line below it.
MARK: dict[str, Any] = {
    "marker": CARETDOWNBASE,
    "markersize": 3,
    "markeredgewidth": 0,
    "color": "0.55",
    "linestyle": "-",
    "linewidth": 0.4,
    "markevery": [1],
    "zorder": 1.2,
    "gid": "learning rate",
}
# The same from below, dark and dashed.
FINISH_MARK = MARK | {
    "marker": CARETUPBASE,
    "color": "0.2",
    "linestyle": (0, (4, 2)),
    "markevery": [0],
    "gid": "finish",
}
# A schedule with more drops is not marked; the legend mentions it.
MOST_MARKS = 8


def epochs_of(record: Record) -> list[int]:
    """The epochs after which the learning rate falls, up to the last measured one. A path of decays has no time."""
    schedule = record.config.get("schedule") or {}
    if "factor" in record.metrics or schedule.get("gamma", 1) == 1 or record.metrics.empty:
        return []
    epochs, every = record.config["epochs"], schedule.get("step")
    found = range(every, epochs, every) if every else (ceil(drop * epochs) for drop in schedule.get("drops") or ())
    last = record.metrics["epoch"].iloc[-1]
    return sorted({epoch for epoch in found if 0 < epoch < epochs and epoch <= last})


def finish_of(record: Record) -> int | None:
    """The last epoch of the schedule, if L-BFGS took steps after it."""
    epochs, metrics = record.config["epochs"], record.metrics
    begun = record.config.get("finish") and not metrics.empty and metrics["epoch"].iloc[-1] > epochs
    return epochs if begun else None


def times_of(record: Record, column: str = "epoch") -> list[float]:
    """The drops in a column of metrics.jsonl that grows with the epochs, such as step or seconds."""
    return [_in_column(record, epoch, column) for epoch in epochs_of(record)]


def _in_column(record: Record, epoch: int, column: str) -> float:
    return float(np.interp(epoch, record.metrics["epoch"], record.metrics[column]))


def marked(records: Sequence[Record], column: str = "epoch") -> list[float]:
    """The drops to mark for all of these runs; none if there are too many."""
    times = sorted({time for record in records for time in times_of(record, column)})
    return times if len(times) <= MOST_MARKS else []


def finishes(records: Sequence[Record], column: str = "epoch") -> list[float]:
    """Where L-BFGS takes over in any of these runs."""
    found = [(record, finish_of(record)) for record in records]
    return sorted({_in_column(record, epoch, column) for record, epoch in found if epoch is not None})


def mark(axes: Iterable[Axes], records: Sequence[Record], column: str = "epoch") -> None:
    """Marks the changes of these runs in every panel with a curve; axes: all over that column."""
    changes = [(time, MARK) for time in marked(records, column)]
    changes += [(time, FINISH_MARK) for time in finishes(records, column)]
    for ax in axes:
        for time, style in changes if ax.has_data() else ():
            ax.plot([time, time], [0, 1], transform=ax.get_xaxis_transform(), scalex=False, scaley=False, **style)


def handles(records: Sequence[Record]) -> list[Line2D]:
    """For a legend: the marks' meanings, or a note about many drops; empty for a constant rate and no finish."""
    words = _drop_words(records)
    if words and marked(records):
        found = [_handle(words, MARK)]
    else:
        found = [Line2D([], [], linestyle="", label=words)] if words else []
    return [*found, _handle("L-BFGS from here", FINISH_MARK)] if finishes(records) else found


def _drop_words(records: Sequence[Record]) -> str:
    """How the learning rate falls, and how often if that is not marked; empty for a constant rate."""
    dropped = [record for record in records if epochs_of(record)]
    if not dropped:
        return ""
    factors = {record.config["schedule"]["gamma"] for record in dropped}
    words = f"learning rate × {factors.pop():g}" if len(factors) == 1 else "learning rate falls"
    if marked(records):
        return words
    every = {record.config["schedule"].get("step") for record in dropped}
    return f"{words} every {every.pop()} epochs" if len(every) == 1 else f"{words} again and again"


def _handle(words: str, style: dict[str, Any]) -> Line2D:
    return Line2D([], [], label=words, **style | {"linestyle": "", "markevery": None, "markersize": 5})


def words_of(record: Record) -> str:
    """Words about one run: when its learning rate falls, and from when on L-BFGS takes the steps."""
    said, finish = [], finish_of(record)
    if words := _drop_words([record]):
        times = " and ".join(f"{time:g}" for time in marked([record]))
        said.append(f"{words[0].upper()}{words[1:]}{times and f' after epoch {times} (marked in the curves)'}.")
    if finish is not None:
        said.append(f"L-BFGS from epoch {finish} on.")
    return " ".join(said)
