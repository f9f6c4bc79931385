"""The lines of `ncrun plot`: their runs and their numbers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ncrun.errors import UserError
from ncrun.figures.plot_predictions import along_path, bound_of, has_baseline, prediction_of
from ncrun.records.groups import differing_keys, key_of, naming_keys, settings_of, split, unknown_metric, words
from ncrun.records.read import Record
from ncrun.records.whole import OF_BINS

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]
Say = Callable[[str], None]
# For each finished run (3, points): common place, x, and y; then x and y of each run drawn alone.
Found = tuple[list[Array], list[tuple[Array, Array]]]
Values = tuple[Any, ...]

TIMES = {"epoch": "epoch", "step": "optimiser steps", "seconds": "seconds", "factor": "factor on all decays"}
# The most distinguishable colours, and the number of line styles.
MOST_HUES, MOST_STYLES = 12, 4
# With fewer common epochs than this, runs are drawn alone.
FEWEST_COMMON = 3


@dataclass(frozen=True)
class Request:
    """What to draw. y: metrics, a panel each. x: one of TIMES, or a configuration key. hue, style: configuration keys
    that choose colour and line style; hue None: those in which the runs differ. logx, logy: None decides by the values.
    """

    y: tuple[str, ...]
    x: str = "epoch"
    hue: tuple[str, ...] | None = None
    style: tuple[str, ...] = ()
    logx: bool | None = None
    logy: bool | None = None


@dataclass(frozen=True)
class Curve:
    """The content of one line. hue, style: values of their keys.

    points: for finished runs that differ in their seed, x, and at each x the smallest (low), the largest (high) and the
    two middle values (below, above; equal for an odd number). several: whether a point has several runs. alone: x and y
    of each run that is unfinished, or was measured at other epochs. predicted: x and y of the prediction for these
    runs.
    """

    hue: Values
    style: Values
    points: "pd.DataFrame"
    several: bool
    alone: list[tuple[Array, Array]]
    predicted: list[tuple[Array, Array]]


class Lines:
    """A request, checked against the runs.

    say: called with each line about single runs. Raises UserError for an unknown metric or key, and for too many
    curves.
    """

    def __init__(self, records: Sequence[Record], request: Request, say: Say) -> None:
        self.records = _measured(records, say)
        self._say, self._said = say, set[str]()
        known = list(dict.fromkeys(key for record in self.records for key in record.metrics))
        for metric in request.y:
            self._check_metric(metric, known)
        self.over_time = request.x in TIMES
        self.x = request.x if self.over_time else key_of(request.x, "x", records)
        if self.over_time and request.x not in known:
            raise UserError(f"x={request.x}: only runs with path=[...] have it")
        on_axis = () if self.over_time else (self.x,)
        self.style = tuple(key_of(key, "style", records) for key in request.style)
        if request.hue is None:
            self.hue = tuple(naming_keys(self.records, given=(*self.style, *on_axis)))
        else:
            self.hue = tuple(key_of(key, "hue", records) for key in request.hue)
        self.chosen = (*on_axis, *self.hue, *self.style)
        self.hues = list(split(self.records, self.hue))
        self.styles = list(split(self.records, self.style))
        self._check_numbers(named=request.hue is not None)
        self._groups = self._grouped()

    def _check_metric(self, metric: str, known: Sequence[str]) -> None:
        if metric not in known:
            raise unknown_metric("y", metric, known)
        if metric.startswith(OF_BINS):
            raise UserError(f"y={metric}: is a histogram at each epoch; kind=cosines draws it")
        without = [record for record in self.records if not _has(record, metric)]
        if len(without) == len(self.records):
            raise UserError(f"y={metric}: is null in all of these runs: it is not determined for them")
        for record in without:
            self._say(f"{record.path}: has no {metric} (null); not drawn in that panel")

    def _check_numbers(self, named: bool) -> None:
        if len(self.hues) > MOST_HUES:
            keys = ",".join(self.hue)
            asked = f"hue={keys}: has" if named else f"the runs differ in {keys}, which have"
            raise UserError(
                f"{asked} {len(self.hues)} values here, but at most {MOST_HUES} colours can be distinguished; give"
                " fewer runs, other keys with hue=, or put one on the axis with x="
            )
        if len(self.styles) > MOST_STYLES:
            raise UserError(
                f"style={','.join(self.style)}: has {len(self.styles)} values here, but there are {MOST_STYLES} line"
                " styles"
            )

    def _grouped(self) -> list[list[Record]]:
        """The runs of one line: over time one configuration, over a key all its values."""
        # Over a key, another key that changes with it, such as a second decay, does not make separate lines.
        apart = differing_keys(self.records) if self.over_time else naming_keys(self.records, given=(self.x,))
        groups = list(split(self.records, [*apart, *self.hue, *self.style]).values())
        if len(groups) > len(split(self.records, [*self.hue, *self.style])):
            others = ", ".join(naming_keys(self.records, given=self.chosen))
            self._say(f"lines that look alike differ in {others}; distinguish them by hue= or style=")
        return groups

    def curves(self, metric: str, hue: Values | None = None, k: int | None = None) -> list[Curve]:
        """The lines of a metric, for every hue or one. k: the class, for a metric by class."""
        return self._curves(self._groups, metric, hue, k)

    def baselines(self, metric: str) -> list[Curve]:
        """The lines of the distance to the balanced prediction, if that differs."""
        groups = [[record for record in group if has_baseline(record, metric)] for group in self._groups]
        return self._curves(groups, f"balanced.{metric}", None, None)

    def _curves(
        self, groups: Sequence[Sequence[Record]], metric: str, hue: Values | None, k: int | None
    ) -> list[Curve]:
        build = self._over_time if self.over_time else self._over_key
        found = []
        for group in groups:
            having = [record for record in group if _has(record, metric)]
            if not having:
                continue
            its_hue, style = (next(iter(split(having, keys))) for keys in (self.hue, self.style))
            if hue in (None, its_hue):
                together, alone = build(having, metric, k)
                found.append(Curve(its_hue, style, *_over_runs(together), alone, self._predicted(having, metric, k)))
        return found

    def _predicted(self, group: Sequence[Record], metric: str, k: int | None) -> list[tuple[Array, Array]]:
        """Over time a level for each prediction among the runs; over a key, or along a path of decays, one line; for
        bounds, each run's measured bound."""
        if self.over_time and (bounded := [r for r in group if bound_of(r, metric)]):
            return [
                (r.metrics[self.x].to_numpy(dtype=float), _numbers(r.metrics[bound_of(r, metric)], None))
                for r in bounded
            ]
        if self.x == "factor":
            factors, objectives, margins = along_path(group[0])
            along = {"loss": objectives, "class.margin": None if k is None else margins[:, k]}.get(metric)
            return [] if along is None else [(factors, along)]
        values = np.array([prediction_of(record, metric, k) for record in group])
        if not np.isfinite(values).any():
            return []
        if self.over_time:
            times = np.concatenate([record.metrics[self.x].to_numpy(dtype=float) for record in group])
            ends = np.array([times.min(), times.max()])
            return [(ends, np.array([value, value])) for value in dict.fromkeys(values[np.isfinite(values)])]
        xs = np.array([float(settings_of(record)[self.x]) for record in group])
        order = np.argsort(xs, kind="stable")
        return [(xs[order], values[order])]

    def num_classes(self, metric: str, hue: Values) -> int:
        """The number of entries of a metric by class in the runs of this hue; 0 if none has it."""
        here = split(self.records, self.hue)[hue]
        lists = [value for record in here if metric in record.metrics for value in record.metrics[metric]]
        return max((len(value) for value in lists if isinstance(value, list)), default=0)

    def is_list(self, metric: str) -> bool:
        """Whether the metric has a number for each class."""
        return any(
            isinstance(value, list)
            for record in self.records
            if metric in record.metrics
            for value in record.metrics[metric]
        )

    def _over_time(self, group: Sequence[Record], metric: str, k: int | None) -> Found:
        """The finished runs at their common epochs; others alone."""
        together = [record for record in group if is_finished(record)]
        alone = [record for record in group if not is_finished(record)]
        epochs = [set(record.metrics["epoch"]) for record in together]
        common = set.intersection(*epochs) if epochs else set()
        if any(len(each) != len(common) for each in epochs):
            name = f"{together[0].path} and its other seeds"
            if len(common) < FEWEST_COMMON:
                self._say_once(f"{name} share {len(common)} measured epochs; each is drawn alone, without a band")
                together, alone = [], [*together, *alone]
            else:
                self._say_once(
                    f"{name} are measured at different epochs; their band covers the {len(common)} common ones"
                )
        frames = [record.metrics[record.metrics["epoch"].isin(common)] for record in together]
        points = [
            np.array([frame["epoch"], frame[self.x], _numbers(frame[metric], k)], dtype=float) for frame in frames
        ]
        return points, [(r.metrics[self.x].to_numpy(dtype=float), _numbers(r.metrics[metric], k)) for r in alone]

    def _over_key(self, group: Sequence[Record], metric: str, k: int | None) -> Found:
        """The last measured value over a configuration value."""
        together, alone = [], []
        for record in group:
            value = settings_of(record).get(self.x)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise UserError(
                    f"x={self.x}: is {words(value)} in {record.path}; an axis needs numbers, so use it as hue="
                )
            x, last = np.array([value], dtype=float), _numbers(record.metrics[metric].iloc[-1:], k)
            if is_finished(record):
                together.append(np.array([x, x, last]))
            else:
                alone.append((x, last))
        return together, alone

    def _say_once(self, text: str) -> None:
        """Only once for all panels."""
        if text not in self._said:
            self._said.add(text)
            self._say(text)


def _over_runs(together: Sequence[Array]) -> tuple["pd.DataFrame", bool]:
    """Statistics over the runs with a number, and whether there are several."""
    import pandas as pd

    every = pd.DataFrame(np.hstack([np.empty((3, 0)), *together]).T, columns=["at", "x", "y"])
    parts = every.groupby("at")
    below, above = (partial(pd.Series.quantile, q=0.5, interpolation=end) for end in ("lower", "higher"))
    points = parts.agg(x=("x", "mean"), low=("y", "min"), below=("y", below), above=("y", above), high=("y", "max"))
    return points, bool((parts.size() > 1).any())


def is_finished(record: Record) -> bool:
    return bool(record.manifest["state"] == "done")


def _measured(records: Sequence[Record], say: Say) -> list[Record]:
    """The runs with a measured epoch; unfinished and failed ones are reported."""
    found = []
    for record in records:
        state = record.manifest["state"]
        if record.metrics.empty:
            say(f"{record.path}: is {state}, and no epoch of it is measured; skipped")
            continue
        if not is_finished(record):
            say(f"{record.path}: is not finished ({state}); drawn up to epoch {record.metrics['epoch'].iloc[-1]}")
        found.append(record)
    if not found:
        raise UserError("none of these runs has a measured epoch")
    return found


def _has(record: Record, metric: str) -> bool:
    return metric in record.metrics and not record.metrics[metric].isna().all()


def _numbers(column: Any, k: int | None) -> Array:
    """A column of metrics, or the entry of class k in a column of lists; nan for null."""
    if k is not None:
        column = [value[k] if isinstance(value, list) and k < len(value) else None for value in column]
    return np.array(column, dtype=float)
