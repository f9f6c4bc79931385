"""The panels of one run with their lines and predictions, for curves.png and for the report."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ncrun.figures import directions
from ncrun.figures.beside_claim import is_unproven, lowest_known
from ncrun.figures.convergence import telling
from ncrun.figures.plot_predictions import along_path, bound_of
from ncrun.metrics import METRICS
from ncrun.records.read import Record

Array = NDArray[np.float64]

# Columns of metrics.jsonl with their labels, in the order of their colours.
DISTANCES = {
    "nc2_w": "NC2(W)",
    "nc2_h": "NC2(H)",
    "nc3": "NC3",
    "balanced.nc2_w": "NC2(W) to balanced",
}
ON_TARGETS = {"nc2_w": "classifier", "nc2_h": "features", "nc3": "outputs"}
BESIDE_NC1 = {"nc1_effective": "effective directions", "nc1_trace": "ratio of traces"}
ETF_DISTANCES = {"etf_w": "classifier", "etf_h": "means"}
# Labels of theory.json's objective, by its claim.
OPTIMUM_WORDS = {
    "proven": "optimum, proven",
    "certified": "optimum, certified",
    "open": "claimed optimum, open",
    "refuted": "claimed optimum, refuted",
    "none": "lower bound",
}


# The most principal directions of targets; the strongest are drawn.
MOST_DIRECTIONS = 6


@dataclass(frozen=True)
class Line:
    """column: of metrics.jsonl. colour: its place in the palette. member: the class, for a column of lists. is_error:
    draw 1 - value. is_baseline: whether it is a distance to the balanced prediction. is_bound: whether it is a bound at
    every epoch, drawn like a prediction. over: divisor of the value."""

    column: str
    label: str
    colour: int = 0
    member: int | None = None
    is_error: bool = False
    is_baseline: bool = False
    is_bound: bool = False
    over: float = 1.0


@dataclass(frozen=True)
class Level:
    """A prediction at x (n,): y (n,), nan if there is none. member: the class. is_rival: whether it is a known value
    below the predicted one."""

    label: str
    x: Array
    y: Array
    member: int | None = None
    is_rival: bool = False


@dataclass(frozen=True)
class Panel:
    """lines, levels: empty if nothing is defined. of_classes: whether there is a coloured line for each class.
    is_share: whether values are from 0 to 1. axis: label of the ordinate, if the title does not say it."""

    title: str
    lines: tuple[Line, ...]
    levels: tuple[Level, ...] = ()
    log: bool = False
    of_classes: bool = False
    is_share: bool = False
    axis: str = ""


def is_path(record: Record) -> bool:
    """Whether the run follows a path of decays."""
    return "factor" in record.metrics


def abscissa(record: Record) -> str:
    """The column on the abscissa: epochs, or the factor on all decays."""
    return "factor" if is_path(record) else "epoch"


def panels_of(record: Record) -> tuple[Panel, ...]:
    """Over epochs, or over the factor of a path of decays: loss with the optimum, errors, the margin of each class with
    the predicted one, NC1, distances to prediction and baseline, and the test accuracy of each class (no errors and
    accuracies for free features). For a run on targets: loss, regression collapse, distances, squared error, and the
    shares of each principal direction in classifier and outputs. A record without a measured epoch has no panels."""
    if record.metrics.empty:
        return ()
    xs, objectives, margins = predictions(record)
    classes = range(len(record.manifest["class_counts"]))
    loss = Panel("loss", (Line("loss", "measured"),), tuple(_optimum(record, xs, objectives)), log=True)
    if record.on_targets:
        return loss, *_on_targets(record, xs)
    margin = Panel(
        "margin of each class",
        tuple(Line("class.margin", f"class {k}", k, k) for k in classes),
        tuple(Level("predicted", xs, margins[:, k], k) for k in classes),
        of_classes=True,
    )
    spread = Panel(METRICS["nc1"].name, tuple(_spread(record)), log=True)
    is_none = record.theory["claim"] == "none"
    distance = Panel(
        "distance to a simplex ETF" if is_none else "distance to the prediction",
        tuple(_lines(record, ETF_DISTANCES if is_none else DISTANCES)),
        log=True,
        axis=METRICS["nc2_w"].axis,
    )
    if record.is_free:
        return loss, margin, spread, distance
    splits = enumerate(("train", "test"))
    error = Panel(
        "classification error",
        tuple(Line(f"{split}_accuracy", split, n, is_error=True) for n, split in splits),
    )
    return loss, error, margin, spread, distance, _accuracies(record)


def predictions(record: Record) -> tuple[Array, Array, Array]:
    """The abscissae of predictions, with the predicted objective (n,) and margins (n, K); nan if there is none."""
    if is_path(record):
        return along_path(record)
    ends = record.metrics["epoch"].iloc[[0, -1]].to_numpy(dtype=float)
    margins = np.array([entry["margin"] for entry in record.theory["classes"]], dtype=float)
    objective = np.array(record.theory["objective"], dtype=float)
    return ends, np.repeat(objective, 2), np.tile(margins, (2, 1))


def _on_targets(record: Record, xs: Array) -> Iterator[Panel]:
    collapse = {f"nrc{i}": f"NRC{i}" for i in (1, 2, 3)}
    yield Panel("neural regression collapse", tuple(_lines(record, collapse)), log=True)
    known = {key: words for key, words in ON_TARGETS.items() if (record.metrics[key] > 0).any()}
    yield Panel("distance to the prediction", tuple(_lines(record, known)), log=True, axis=METRICS["nc2_w"].axis)
    yield Panel("mean squared error", tuple(_lines(record, {"mse": "train", "test.mse": "test"})), log=True)
    for key, entry, title in (
        ("direction.weight_norm_sq", "weight_norm_sq", "squared norm of W by direction"),
        ("direction.kept", "kept", "share of each direction in the outputs"),
    ):
        measured, predicted = directions.measured(record, key), directions.predicted(record, entry)
        number = 0 if measured is None else min(len(predicted), MOST_DIRECTIONS)
        yield Panel(
            title,
            tuple(Line(key, f"direction {i}", i, i) for i in range(number)),
            tuple(Level("predicted", xs, np.repeat(predicted[i], len(xs)), i) for i in range(number)),
        )


def _optimum(record: Record, xs: Array, objectives: Array) -> Iterator[Level]:
    theory = record.theory
    is_between = theory["claim"] == "open" and bool(theory.get("lower_bound"))
    if np.isfinite(objectives).any():
        words = "lowest value found" if is_between else OPTIMUM_WORDS.get(theory["claim"], theory["claim"])
        yield Level(words, xs, objectives)
    if is_between and not is_path(record):
        yield Level("lower bound, proven", xs, np.full(len(xs), theory["lower_bound"]), is_rival=True)
    if not is_path(record) and is_unproven(record) and (lowest := lowest_known(record)) is not None:
        yield Level("lowest value known", xs, np.full(len(xs), lowest), is_rival=True)


def _spread(record: Record) -> Iterator[Line]:
    """NC1 of both splits; if different, the effective NC1, or for an older record the ratio of traces; and NC1 before
    the head's last layer with its bound, if there is one."""
    keys = {"nc1": "train", "test.nc1": "test"}
    beside = telling("nc1", [record])
    if beside != "nc1":
        kinds = {"nc1": "all directions", beside: BESIDE_NC1[beside]}
        splits = {"": "train", "test.": "test"}
        keys = {
            f"{prefix}{key}": f"{split}, {words}" for key, words in kinds.items() for prefix, split in splits.items()
        }
    last = f"head.{record.config['head']['depth']}.nc1"
    bound = bound_of(record, last)
    yield from _lines(record, keys | ({last: "before the last layer"} if bound else {}))
    if bound:
        yield Line(bound, "its bound", is_bound=True)


def _lines(record: Record, keys: Mapping[str, str]) -> Iterator[Line]:
    """The lines that the record has; the balanced baseline only if it differs from the prediction."""
    balanced = len(set(record.manifest["class_counts"])) == 1
    for n, (key, label) in enumerate(keys.items()):
        is_baseline = key.startswith("balanced")
        if key in record.metrics and not record.metrics[key].isna().all() and not (is_baseline and balanced):
            yield Line(key, label, 0 if is_baseline else n, is_baseline=is_baseline)


def _accuracies(record: Record) -> Panel:
    key, classes = "class.test_accuracy", range(len(record.manifest["class_counts"]))
    known = key in record.metrics and bool(record.metrics[key].notna().any())
    lines = tuple(Line(key, f"class {k}", k, k) for k in classes) if known else ()
    return Panel("test accuracy of each class", lines, of_classes=True, is_share=True)
