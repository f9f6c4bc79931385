"""The class means' rank over training and their singular values at the end, at every layer of each network."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ncrun.errors import UserError
from ncrun.figures import arrangement, changes, convergence, looks, panels, wording
from ncrun.figures.arrangement import Curve
from ncrun.figures.layers import layer_handles, layer_looks, layer_names
from ncrun.metrics.effective import GAP, SMALLEST_SHARE, num_effective
from ncrun.records.read import Record

Array = NDArray[np.float64]
Network = tuple[str, Curve]
# Singular values below this share of the largest are drawn at it.
FLOOR = 1e-9
# With more networks than this, only the deepest head of each architecture.
MOST_CURVES = 6
# Lines of layers with equal rank are offset by this share of the axis, in total by less than a rank.
APART, MOST_APART = 0.018, 0.6
SEED: dict[str, Any] = {"linewidth": 0.9, "drawstyle": "steps-post"}
AGAIN: dict[str, Any] = {"marker": "x", "linestyle": "", "clip_on": False, "zorder": 3, "gid": "again"}
SINGULAR_MARK: dict[str, Any] = {"color": "0.25", "marker": "_", "linestyle": "", "markersize": 7}


def ranks(records: Sequence[Record]) -> Figure:
    """For the class means at every layer: the numerical rank over epochs, a step line for each seed, dashed: predicted;
    and the singular values at the end, over the layer's largest (if records have them).

    Raises UserError if the records hold no rank.
    """
    shown = _networks(records)
    every = [record for _, curve in shown for record in curve.records]
    complete = all(_singular(record) for record in every)
    rows = 1 + complete
    figure, axes = panels.grid(rows, len(shown), sharey="row") if len(shown) > 1 else panels.grid(1, rows)
    axes = axes.reshape(rows, len(shown))
    known = _looks(every)
    for (label, curve), column in zip(shown, axes.T, strict=True):
        _rank_over_epochs(column[0], curve, known)
        changes.mark(column[:1], curve.records)
        column[0].set_title(arrangement.broken(label))
        if complete:
            _singular_values(column[1], curve, known)
    panels.label_row(axes[0], "rank of the class means")
    if complete:
        panels.tidy_log(axes[1, 0].yaxis)
        panels.label_row(axes[1], "singular value / largest")
    panels.legend_above(figure, [*layer_handles(known), *_handles(every, complete)])
    panels.caption(figure, convergence.caption(every, _words(every, complete), bands=False))
    return figure


def _networks(records: Sequence[Record]) -> list[Network]:
    rows = arrangement.arrange([record for record in records if _ranked(record)])
    if not rows:
        raise UserError("the records hold no rank of the class means (head.1.rank); they are from an older version")
    found = arrangement.networks(rows)
    if len(found) > MOST_CURVES:
        deepest = max(curve.records[0].config["head"]["depth"] for _, curve in found)
        found = [(label, curve) for label, curve in found if curve.records[0].config["head"]["depth"] == deepest]
    return found


def _ranked(record: Record) -> list[str]:
    """The layers whose rank is recorded."""
    return [name for name in layer_names(record) if f"{name}.rank" in record.metrics]


def _singular(record: Record) -> dict[str, Array]:
    """The class means' singular values at each layer, the largest first; empty for old records."""
    found = (record.measured or {}).get("singular_values", {})
    return {name: np.array(values, dtype=float) for name, values in found.items()}


def _looks(records: Sequence[Record]) -> dict[str, dict[str, Any]]:
    """Colours of all layers, from dark (the first) to light."""
    names = dict.fromkeys(name for record in records for name in layer_names(record))
    return layer_looks(sorted(names, key=lambda name: name.startswith("head.")))  # taps come before the head


def predicted_rank(record: Record) -> int | None:
    """The predicted rank of the class means at the head's layers; None if theory has no Gram matrix of them."""
    gram = record.theory["feature_gram"]
    if gram is None:
        return None
    return num_effective(np.sqrt(np.clip(np.linalg.eigvalsh(np.array(gram))[::-1], 0, None)))


def _predicted_singular(record: Record) -> Array | None:
    """The predicted singular values at the head's input; None if theory has none, or only centred ones."""
    gram = record.theory["feature_gram"]
    if gram is None or wording.centres_means(record) or wording.is_relu_head(record):
        return None
    values: Array = np.sqrt(np.clip(np.linalg.eigvalsh(np.array(gram))[::-1], 0, None))
    return values if values[0] > 0 else None


def _rank_over_epochs(ax: Axes, curve: Curve, known: dict[str, dict[str, Any]]) -> None:
    K = len(curve.records[0].manifest["class_counts"])
    names = _ranked(curve.records[0])
    step = min(APART * K, MOST_APART / max(1, len(names) - 1))
    old = any(map(_counts_otherwise, curve.records))
    ax.set_xscale("log")
    for place, name in enumerate(names):
        shift = step * (place - (len(names) - 1) / 2)
        for record in curve.records:
            frame = record.metrics[record.metrics["epoch"] > 0]
            looks.marked(*ax.plot(frame["epoch"], frame[f"{name}.rank"] + shift, **SEED | known[name]))
            if old and name in _singular(record):
                again = num_effective(_singular(record)[name])
                ax.plot(frame["epoch"].iloc[-1:], [again + shift], color=known[name]["color"], **AGAIN)
    predicted = predicted_rank(curve.records[0])
    if predicted is not None:
        ax.axhline(predicted, **panels.PREDICTION)
    ax.set(xlabel=wording.time_word(curve.records), ylim=(0, K + 0.7))
    ax.set_xlim(left=1)
    ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    panels.tidy_log(ax.xaxis)


def _counts_otherwise(record: Record) -> bool:
    """Whether its last ranks were counted by an earlier rule."""
    last = record.metrics.iloc[-1]
    return any(last[f"{name}.rank"] != num_effective(values) for name, values in _singular(record).items())


def _singular_values(ax: Axes, curve: Curve, known: dict[str, dict[str, Any]]) -> None:
    for record in curve.records:
        for name, values in _singular(record).items():
            ax.plot(*_shares(values), linewidth=0.8, markersize=2.5, alpha=0.8, **known[name])
    predicted = _predicted_singular(curve.records[0])
    if predicted is not None:
        ax.plot(*_shares(predicted), **SINGULAR_MARK)
    ax.set(yscale="log", xlabel="singular value")
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))


def _shares(values: Array) -> tuple[Array, Array]:
    """Numbers from 1 and singular values over the largest, at least FLOOR."""
    return np.arange(1.0, len(values) + 1), np.clip(values / (values[0] or 1.0), FLOOR, None)


def _handles(records: Sequence[Record], complete: bool) -> list[Line2D]:
    found = []
    if any(predicted_rank(record) is not None for record in records):
        found.append(Line2D([], [], label="predicted rank", **panels.PREDICTION))
    if any(map(_counts_otherwise, records)):
        found.append(Line2D([], [], color="0.4", label="rank by today's rule", **AGAIN))
    if complete and any(_predicted_singular(record) is not None for record in records):
        found.append(Line2D([], [], label="predicted at the head's input", **SINGULAR_MARK))
    return found + changes.handles(records)


def _words(records: Sequence[Record], complete: bool) -> str:
    words = (
        "Class means are not centred. Each seed is a line; layers of equal rank are offset. The rank counts singular"
        f" values above {SMALLEST_SHARE:g} of the largest"
    )
    if any(map(_counts_otherwise, records)):
        words += f"; the current rule stops at the first gap of {GAP}, these records did not."
    else:
        words += f" and before the first gap of {GAP}."
    if complete:
        words += f" Singular values: every seed at the last epoch; values below {FLOOR:g} are drawn at it."
    return words
