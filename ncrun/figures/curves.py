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
from numpy.typing import NDArray

from ncrun.figures import panels, wording
from ncrun.records.files import write_aside
from ncrun.records.read import Record, load_record
from ncrun.theory import predict

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
# With more classes their names would fill the panel.
NAMED_CLASSES = 6

Piece = tuple[Any, dict[str, Any]]  # a data frame, and the style of its lines


def run_curves(record: Record) -> Figure:
    """Four panels over epochs: loss with the optimum as a line, errors (of free features, margins), NC1, and distances
    to prediction and baseline. Of a path of decays the same over their factor, rising and falling."""
    figure, axes = plt.subplots(1, 4, figsize=(12, 3.8), layout="constrained")
    _lines(axes[0], record, {"loss": "measured"}, "loss")
    _optimum(axes[0], record)
    if record.config["dataset"] is None:
        _margins(axes[1], record)
    else:
        _errors(axes[1], record)
    _lines(axes[2], record, {"nc1": "train", "test.nc1": "test"}, "NC1: within-class spread")
    if record.theory["claim"] == "none":
        _lines(axes[3], record, ETF_DISTANCES, "distance to a simplex ETF")
    else:
        _lines(axes[3], record, DISTANCES, "distance to the prediction")
    panels.caption(figure, wording.setting_words(record))
    return figure


def _is_path(record: Record) -> bool:
    return "factor" in record.metrics


def _pieces(record: Record) -> list[Piece]:
    """The metrics after the start; of a path, cut where its factor turns, one turning point shared by two pieces."""
    frame = record.metrics
    if not _is_path(record) or len(frame) < 2:
        return [(frame[frame["epoch"] > 0], {})]
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


def _finish(ax: Axes, record: Record) -> None:
    """The axis of time, and a legend if there is a choice, or the word that there is nothing to draw."""
    if not _is_path(record):
        ax.set(xscale="log", xlabel=wording.time_word([record]))
    else:
        ax.set(xlabel="factor on all decays", xlim=(0, 1.04 * record.metrics["factor"].max()))
    if len(ax.get_legend_handles_labels()[1]) > 1:
        _legend(ax)
    elif not ax.get_lines():
        ax.text(0.5, 0.5, "not defined", transform=ax.transAxes, ha="center", va="center", color="0.4")


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
    for k, count in enumerate(counts):
        label = f"class {k} ({count})" if len(counts) <= NAMED_CLASSES else None
        _draw(ax, record, "class.margin", label, member=k, color=f"C{k}")
        ax.plot(xs, predicted[:, k], **panels.PREDICTION | {"color": f"C{k}"})
    ax.plot([], [], label="predicted", **panels.PREDICTION)
    ax.set_title("margin of each class")
    _finish(ax, record)


def _predicted(record: Record) -> tuple[Array, Array, Array]:
    """Where to draw the predicted objective (n,) and margins (n, K); nan where there is none."""
    if not _is_path(record):
        ends = record.metrics["epoch"].iloc[[1, -1]].to_numpy(dtype=float)
        margins = np.array([entry["margin"] for entry in record.theory["classes"]], dtype=float)
        objective = np.array(record.theory["objective"], dtype=float)
        return ends, np.repeat(objective, 2), np.tile(margins, (2, 1))
    factors = np.unique(record.metrics["factor"].to_numpy(dtype=float))
    geometries = [predict(record.problem.scaled(factor)) for factor in factors]
    none = np.full(record.problem.num_classes, np.nan)
    found = [geometry.margins() for geometry in geometries]
    objectives = np.array([geometry.objective for geometry in geometries], dtype=float)
    return factors, objectives, np.array([none if margin is None else margin for margin in found])


def _errors(ax: Axes, record: Record) -> None:
    frame = record.metrics[record.metrics["epoch"] > 0]
    for split in ("train", "test"):
        ax.plot(frame["epoch"], 1 - frame[f"{split}_accuracy"], label=split)
    ax.set(xscale="log", xlabel="epoch", title="classification error", ylim=(0, None))
    _legend(ax)


def _legend(ax: Axes) -> None:
    """Below the panel, where no curve is."""
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, columnspacing=1.2)


if __name__ == "__main__":
    panels.use_style()
    for directory in map(Path, sys.argv[1:]):
        figure = run_curves(load_record(directory))
        write_aside(directory / "curves.png", lambda file: figure.savefig(file, format="png"))  # noqa: B023 - called here
        plt.close(figure)
