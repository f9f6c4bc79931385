"""Gram matrices and logits: predicted beside measured at the last epoch."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from ncrun.errors import UserError
from ncrun.figures import arrangement, convergence, heat_map, panels, wording
from ncrun.records.read import Record

Array = NDArray[np.float64]
TITLES = {"weight_gram": "$W W^T$", "feature_gram": "$\\bar{H}^T \\bar{H}$", "logits": "$W \\bar{H}$"}
# The most networks; with more, those farthest from their predictions are drawn.
MOST_ROWS = 3
STEPS = Line2D([], [], color="0.1", linewidth=0.8, label="below the steps measured, above them predicted")


def matrices(records: Sequence[Record]) -> Figure:
    """W W^T, the class means' Gram matrix and W Hbar as heat maps, a row for each network: in one map the measured
    entries up to the diagonal and the predicted ones from the diagonal on, with the largest difference of all entries
    below.

    Raises UserError if no run has both.
    """
    found = _with_both(records)
    shown = sorted(found, key=lambda each: -_farthest(each[1]))[:MOST_ROWS]
    shown = [each for each in found if any(each is one for one in shown)]
    figure, axes = panels.grid(len(shown), len(TITLES))
    for (label, record), line in zip(shown, axes, strict=True):
        for ax, name in zip(line, TITLES, strict=True):
            _panel(ax, record, name)
        for ax in line:
            ax.set_ylabel(heat_map.class_axis(record.manifest["class_counts"]))
        panels.label_row(line, arrangement.broken(label))
    panels.legend_above(figure, [STEPS])
    panels.caption(figure, convergence.caption([record for _, record in shown], _words(shown, found)))
    return figure


def both(record: Record, name: str) -> tuple[Array, Array]:
    """The predicted and the measured (K, K) matrix; if theory fixes shapes only, each over its Frobenius norm."""
    assert record.measured is not None
    found = [np.array(source[name], dtype=float) for source in (record.theory, record.measured)]
    if record.theory["scale_free"]:
        found = [matrix / np.linalg.norm(matrix) for matrix in found]
    return found[0], found[1]


def difference(record: Record, name: str) -> float:
    """The largest difference of all entries, over the largest entry."""
    predicted, measured = both(record, name)
    largest = float(np.abs([predicted, measured]).max())
    return float(np.abs(predicted - measured).max()) / largest if largest else 0.0


def beside(measured: Array, predicted: Array) -> Array:
    """(K, K + 1): the first one's entries up to its diagonal, then the second one's from its diagonal on."""
    K = len(measured)
    found = np.zeros((K, K + 1))
    found[:, :K] = np.tril(measured)
    found[:, 1:] += np.triu(predicted)
    return found


def _farthest(record: Record) -> float:
    return max(difference(record, name) for name in TITLES)


def _with_both(records: Sequence[Record]) -> list[tuple[str, Record]]:
    """The first seed of every curve with a prediction and a measurement, with its label."""
    rows = arrangement.arrange(records)
    found = []
    for row in rows:
        for curve in row.curves:
            record = curve.records[0]
            if record.measured is not None and all(record.theory[name] is not None for name in TITLES):
                several = len(row.curves) > 1
                found.append(("\n".join(filter(None, (row.label, curve.label if several else ""))), record))
    if not found:
        raise UserError(
            "no run has both predicted and measured matrices: theory determines none, or there are more than 200"
            " classes"
        )
    return found


def _panel(ax: Axes, record: Record, name: str) -> None:
    predicted, measured = both(record, name)
    scale = heat_map.scale_of(measured, predicted)
    heat_map.draw(ax, beside(measured, predicted), scale, record.manifest["class_counts"])
    K = len(predicted)
    steps = np.repeat(np.arange(K + 1), 2) - 0.5
    ax.plot(steps[1:] + 1, steps[:-1], color=STEPS.get_color(), linewidth=STEPS.get_linewidth())
    ax.set(xlim=(-0.5, K + 0.5), ylim=(K - 0.5, -0.5))
    ax.set(title=TITLES[name], xlabel=f"{100 * difference(record, name):.2g} % apart")


def _words(shown: Sequence[tuple[str, Record]], found: Sequence[tuple[str, Record]]) -> str:
    words = "Matrices of the first seed at the last epoch. Below each: the largest difference of two entries over the"
    words += " largest entry."
    if left := [record for label, record in found if not any(record is each for _, each in shown)]:
        words += (
            f" Shown: the {len(shown)} of {len(found)} networks farthest from their predictions; in the others no entry"
            f" differs by more than {max(map(_farthest, left)):.2g} of the largest."
        )
    if any(record.theory["scale_free"] for _, record in shown):
        words += " Each is divided by its Frobenius norm, because theory fixes shapes only."
    if any(wording.centres_means(record) for _, record in shown):
        words += " With a bias, class means are centred."
    return words
