"""Predicted and measured numbers of each class, for any set of finished runs: the points of the drawing `claim`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ncrun.figures import endings
from ncrun.figures.classes import alignment, cosines, predicted_values, scaled
from ncrun.records.read import Record
from ncrun.theory import predict
from ncrun.theory.report import as_json

Array = NDArray[np.float64]
Classes = NDArray[np.int64]
# Losses have single precision, and records may hold seven digits.
ROUNDING = 1e-6
# A run's loss compared with the claimed one; unknown if theory fixes shapes only.
STATES = ("reached", "above", "below", "unknown")
# A unit below this counts as zero: then everything is predicted to be zero.
NOTHING = 1e-12
# Points nearer to the diagonal than this are not outliers.
OUTLYING = 0.01


@dataclass(frozen=True)
class Standing:
    """A run at its last measured row. theory: as in theory.json, at the decays of that row. excess: its loss over the
    claimed one, minus 1; None if theory fixes shapes only, or claims nothing."""

    record: Record
    theory: dict[str, Any]
    excess: float | None

    @property
    def grade(self) -> str:
        """How far the claim can be trusted."""
        return str(self.theory["claim"])

    @property
    def state(self) -> str:
        """One of STATES."""
        if self.excess is None:
            return "unknown"
        if self.excess < -ROUNDING:
            return "below"
        return "reached" if self.excess <= endings.NEAR else "above"

    @property
    def name(self) -> str:
        """The name of the run's folder; for restarts with the folder above it."""
        parts = self.record.path.parts
        return "/".join(parts[-2:]) if parts[-1].startswith("seed-") else parts[-1]


@dataclass(frozen=True)
class Points:
    """predicted, measured: (P,), in a unit from the run itself. run: (P,), its number. classes: (P, 2), the pair of
    classes; a single class is repeated."""

    predicted: Array
    measured: Array
    run: Classes
    classes: Classes

    @property
    def distance(self) -> Array:
        """(P,): |measured - predicted|."""
        return np.abs(self.measured - self.predicted)

    def classes_in_words(self, place: int) -> str:
        first, second = self.classes[place]
        return f"class {first}" if first == second else f"classes {first} and {second}"


@dataclass(frozen=True)
class Outlier:
    """kind: of the points; place: among them."""

    kind: str
    place: int
    run: Standing
    classes: str


def standing(record: Record) -> Standing:
    """Along a path of decays the claim is that at the last one."""
    theory, last = record.theory, record.metrics.iloc[-1]
    if "factor" in record.metrics and last["factor"] != 1:
        theory = as_json(predict(record.problem.scaled(float(last["factor"]))))
    claimed = None if theory["scale_free"] or theory["claim"] == "none" else theory["objective"]
    return Standing(record, theory, float(last["loss"] / claimed - 1) if claimed else None)


def collected(runs: Sequence[Standing]) -> dict[str, Points]:
    """The points of every kind.

    norms: |w_k| and |h_k|, each over the root mean square over the classes of the predicted ones. margins: over the
    largest predicted one. cosines: of pairs of classifier rows, of pairs of class means, and of a row with the mean of
    its class. If theory fixes shapes only, measured norms and margins are relative to their own mean over the classes,
    too. Vectors that are zero, predicted or measured, have no cosines, and runs whose predictions are all zero have no
    norms and margins, because there is no unit.
    """
    kinds = {"norms": _norms, "margins": _margins, "cosines": _cosines}
    covered = [(number, run) for number, run in enumerate(runs) if run.grade != "none"]
    return {kind: _together([each for one in covered for each in of(*one)]) for kind, of in kinds.items()}


def outliers(points: dict[str, Points], runs: Sequence[Standing]) -> list[Outlier]:
    """For each kind and state, the point farthest from the diagonal, if it is OUTLYING."""
    found, state_of = [], np.array([run.state for run in runs])
    for kind, each in points.items():
        for state in STATES:
            distances = np.where(state_of[each.run] == state, each.distance, 0.0)
            if distances.max(initial=0.0) > OUTLYING:
                place = int(distances.argmax())
                found.append(Outlier(kind, place, runs[each.run[place]], each.classes_in_words(place)))
    return found


def _norms(number: int, run: Standing) -> Iterator[Points]:
    for entry in ("weight_norm_sq", "feature_norm_sq"):
        predicted, measured = (np.sqrt(np.maximum(each, 0)) for each in _both(run, entry))
        yield _by_class(number, predicted, measured, float(np.sqrt(np.mean(predicted**2))))


def _margins(number: int, run: Standing) -> Iterator[Points]:
    predicted, measured = _both(run, "margin")
    yield _by_class(number, predicted, measured, float(np.abs(predicted).max()))


def _both(run: Standing, entry: str) -> tuple[Array, Array]:
    """(K,) predicted and measured; nan where there is none."""
    record = replace(run.record, theory=run.theory)
    column = record.metrics.get(f"class.{entry}")
    measured = [None] * len(run.theory["classes"]) if column is None else column.iloc[-1]
    return scaled(record, predicted_values(record, entry)), scaled(record, np.array(measured, dtype=float))


def _by_class(number: int, predicted: Array, measured: Array, unit: float) -> Points:
    if not unit > NOTHING:  # nan, too
        unit = np.nan
    classes = np.repeat(np.arange(len(predicted)), 2).reshape(-1, 2)
    return _points(number, predicted / unit, measured / unit, classes)


def _cosines(number: int, run: Standing) -> Iterator[Points]:
    measured = run.record.measured
    if measured is None or run.theory["weight_gram"] is None or run.theory["logits"] is None:
        return
    K = len(run.theory["classes"])
    pairs = np.transpose(np.triu_indices(K, 1))
    for name in ("weight_gram", "feature_gram"):
        predicted, found = (cosines(each[name])[*pairs.T] for each in (run.theory, measured))
        yield _points(number, predicted, found, pairs)
    yield _points(number, alignment(run.theory), alignment(measured), np.repeat(np.arange(K), 2).reshape(-1, 2))


def _points(number: int, predicted: Array, measured: Array, classes: Classes) -> Points:
    known = np.isfinite(predicted) & np.isfinite(measured)
    run = np.full(int(known.sum()), number)
    return Points(predicted[known], measured[known], run, classes[known])


def _together(parts: Sequence[Points]) -> Points:
    none = np.zeros(0)
    every = [Points(none, none, none.astype(np.int64), np.zeros((0, 2), dtype=np.int64)), *parts]
    return Points(*(np.concatenate([getattr(each, name) for each in every]) for name in Points.__annotations__))
