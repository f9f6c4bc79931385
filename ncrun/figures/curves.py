"""curves.png of one run: loss beside the optimum, errors or margins, and the collapse metrics against its prediction.

python -m ncrun.figures.curves RUN_DIRECTORY ...
"""

import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from ncrun.figures import panels, wording
from ncrun.figures.convergence import telling
from ncrun.figures.plot_predictions import along_path, bound_of
from ncrun.records.files import write_aside
from ncrun.records.read import Record, load_record

Array = NDArray[np.float64]

DISTANCES = {
    "nc2_w": "NC2 classifier",
    "nc2_h": "NC2 means",
    "nc3": "NC3",
    "balanced.nc2_w": "NC2 to balanced",
}
ETF_DISTANCES = {"etf_w": "classifier", "etf_h": "means"}
# What the objective of theory.json is called, by its claim.
OPTIMUM_WORDS = {
    "proven": "optimum, proven",
    "certified": "optimum, certified",
    "open": "claimed optimum, open",
    "refuted": "claimed optimum, refuted",
    "none": "lower bound",
}
# On a path of decays: where they fall again.
FALLING: dict[str, Any] = {"linestyle": "-.", "linewidth": 1.0}

# A start so many times below all that follows leaves the panel.
FAR_BELOW = 100

Piece = tuple[Any, dict[str, Any]]  # a data frame, and the style of its lines


def run_curves(record: Record) -> Figure:
    """Panels over epochs, from the start on: loss with the optimum as a line, the margin of each class, NC1, and
    distances to prediction and baseline; of a network also errors, and the test accuracy of each class. Of a path of
    decays the same over their factor, rising and falling."""
    if record.config["dataset"] is None:
        figure, (loss, margins, spread, distance) = plt.subplots(1, 4, figsize=(12, 3.8), layout="constrained")
    else:
        figure, axes = plt.subplots(2, 3, figsize=(9.6, 7.2), layout="constrained")
        (loss, errors, margins), (spread, distance, accuracies) = axes
        _errors(errors, record)
        _accuracies(accuracies, record)
    _lines(loss, record, {"loss": "measured"}, "loss")
    _optimum(loss, record)
    _margins(margins, record)
    _spread(spread, record)
    if record.theory["claim"] == "none":
        _lines(distance, record, ETF_DISTANCES, "distance to a simplex ETF")
    else:
        _lines(distance, record, DISTANCES, "distance to the prediction")
    panels.caption(figure, wording.setting_words(record))
    return figure


def _spreads(record: Record) -> dict[str, str]:
    """NC1 of both splits, and beside it the effective NC1 where that is another number."""
    if telling("nc1", [record]) == "nc1":
        return {"nc1": "train", "test.nc1": "test"}
    kinds = {"nc1": "all directions", "nc1_effective": "effective directions"}
    splits = {"": "train", "test.": "test"}
    return {f"{prefix}{key}": f"{split}, {words}" for key, words in kinds.items() for prefix, split in splits.items()}


def _spread(ax: Axes, record: Record) -> None:
    """NC1 of the features, and where there is a bound on NC1 before the head's last layer, that and the bound."""
    last = f"head.{record.config['head']['depth']}.nc1"
    bounded = bound_of(record, last)
    before = {last: "before the last layer"} if bounded else {}
    _lines(ax, record, _spreads(record) | before, "NC1: within-class spread")
    if bounded:
        panels.line(ax, record.metrics["epoch"], record.metrics[bounded], **panels.PREDICTION | {"label": "its bound"})
        _legend(ax)


def _is_path(record: Record) -> bool:
    return "factor" in record.metrics


def _pieces(record: Record) -> list[Piece]:
    """The metrics; of a path, cut where its factor turns, one turning point shared by two pieces."""
    frame = record.metrics
    if not _is_path(record) or len(frame) < 2:
        return [(frame, {})]
    rising = np.diff(frame["factor"]) > 0
    turns = [0, *(np.flatnonzero(np.diff(rising)) + 1), len(frame) - 1]
    return [(frame.iloc[a : b + 1], {} if rising[a] else FALLING) for a, b in pairwise(turns)]


def _draw(ax: Axes, record: Record, key: str, label: str | None, member: int | None = None, **style: Any) -> None:
    """One line, in pieces; the first has the label. member: of a metric that is a list, the class."""
    abscissa = "factor" if _is_path(record) else "epoch"
    for frame, way in _pieces(record):
        if member is None:
            panels.line(ax, frame[abscissa], frame[key], label=label, **way | style)
        else:
            ax.plot(frame[abscissa], [row[member] for row in frame[key]], label=label, **way | style)
        label = None


def _lines(ax: Axes, record: Record, keys: dict[str, str], title: str) -> None:
    for index, (key, label) in enumerate(keys.items()):
        baseline = key.startswith("balanced")
        if baseline and len(set(record.manifest["class_counts"])) == 1:
            continue  # it is the prediction itself
        if key in record.metrics and not record.metrics[key].isna().all():
            style = {"color": "C0", **panels.BASELINE} if baseline else {"color": f"C{index}"}
            _draw(ax, record, key, label, **style)
    ax.set(yscale="log", title=title)
    _finish(ax, record)
    _within_training(ax)


def _finish(ax: Axes, record: Record) -> None:
    """The axis of time, and a legend if there is a choice, or the word that there is nothing to draw."""
    if not _is_path(record):
        panels.from_start(ax, record.metrics["epoch"].to_numpy(dtype=float))
        ax.set(xlabel=wording.time_word([record]))
    else:
        ax.set(xlabel="factor on all decays", xlim=(0, 1.04 * record.metrics["factor"].max()))
    if len(ax.get_legend_handles_labels()[1]) > 1:
        _legend(ax)
    elif not ax.get_lines():
        ax.text(0.5, 0.5, "not defined", transform=ax.transAxes, ha="center", va="center", color="0.4")


def _within_training(ax: Axes) -> None:
    """An orthogonal start is at rounding from one of the predictions: it does not stretch the ordinate."""
    later = [y[(x > 0) & (y > 0)] for x, y in (np.transpose(line.get_xydata()) for line in ax.get_lines())]
    lowest = min((y.min() for y in later if len(y)), default=0.0)
    if ax.get_ylim()[0] < lowest / FAR_BELOW:
        ax.set_ylim(bottom=lowest / 2)


def _optimum(ax: Axes, record: Record) -> None:
    xs, objectives, _ = _predicted(record)
    theory = record.theory
    if np.isfinite(objectives).any():
        ax.plot(xs, objectives, label=OPTIMUM_WORDS.get(theory["claim"], theory["claim"]), **panels.PREDICTION)
    if theory.get("best_known") is not None and not _is_path(record):
        best = theory["best_known"]["objective"]
        # Not axhline: where it is the lowest, it would lie on the axis and be hidden by it.
        ax.plot(xs, np.full(len(xs), best), label="lowest value known", color="C1", **panels.BASELINE)
    if any(way is FALLING for _, way in _pieces(record)):
        ax.plot([], [], color="C0", label="decay falling", **FALLING)
    _legend(ax)


def _margins(ax: Axes, record: Record) -> None:
    """Of every class, with the predicted one as a dashed line."""
    xs, _, predicted = _predicted(record)
    counts = record.manifest["class_counts"]
    colours = panels.class_colours(counts)
    for k, colour in enumerate(colours):
        _draw(ax, record, "class.margin", None, member=k, color=colour)
        ax.plot(xs, predicted[:, k], **panels.PREDICTION | {"color": colour})
    ax.set_title("margin of each class")
    _finish(ax, record)
    handles = panels.class_handles(counts, colours)
    if np.isfinite(predicted).any():
        handles.append(Line2D([], [], label="predicted", **panels.PREDICTION))
    _legend(ax, handles)


def _predicted(record: Record) -> tuple[Array, Array, Array]:
    """Where to draw the predicted objective (n,) and margins (n, K); nan where there is none."""
    if not _is_path(record):
        ends = record.metrics["epoch"].iloc[[0, -1]].to_numpy(dtype=float)
        margins = np.array([entry["margin"] for entry in record.theory["classes"]], dtype=float)
        objective = np.array(record.theory["objective"], dtype=float)
        return ends, np.repeat(objective, 2), np.tile(margins, (2, 1))
    return along_path(record)


def _errors(ax: Axes, record: Record) -> None:
    frame = record.metrics
    for split in ("train", "test"):
        ax.plot(frame["epoch"], 1 - frame[f"{split}_accuracy"], label=split)
    ax.set(title="classification error", ylim=(0, None))
    _finish(ax, record)


def _accuracies(ax: Axes, record: Record) -> None:
    """Of every class, in the test split."""
    colours = panels.class_colours(record.manifest["class_counts"])
    key = "class.test_accuracy"
    rows = record.metrics[record.metrics[key].notna()] if key in record.metrics else record.metrics[:0]
    for k, colour in enumerate(colours if len(rows) else []):
        ax.plot(rows["epoch"], np.array([row[k] for row in rows[key]], dtype=float), color=colour)
    ax.set(title="test accuracy of each class", ylim=(-0.03, 1.03))
    _finish(ax, record)
    if len(rows):
        _legend(ax, panels.class_handles(record.manifest["class_counts"], colours))


def _legend(ax: Axes, handles: list[Line2D] | None = None) -> None:
    """Below the panel, where no curve is."""
    known = {} if handles is None else {"handles": handles}
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, columnspacing=1.2, **known)


if __name__ == "__main__":
    panels.use_style()
    for directory in map(Path, sys.argv[1:]):
        figure = run_curves(load_record(directory))
        write_aside(directory / "curves.png", lambda file: figure.savefig(file, format="png"))  # noqa: B023 - called here
        plt.close(figure)
