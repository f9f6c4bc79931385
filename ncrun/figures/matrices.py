"""Gram matrices and logits entry by entry: the prediction beside what was measured at the last epoch."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ncrun.errors import UserError
from ncrun.figures import arrangement, convergence, panels, wording
from ncrun.records.read import Record

Array = NDArray[np.float64]
TITLES = {"weight_gram": "$W W^T$", "feature_gram": "$\\bar{H}^T \\bar{H}$", "logits": "$W \\bar{H}$"}
COLOURS = "PuOr_r"
# With more rows, of each architecture and data set the deepest head only.
MOST_ROWS = 6
# With more classes their numbers would not be readable.
NUMBERED_CLASSES = 30


def matrices(records: Sequence[Record]) -> Figure:
    """W W^T, the class means' Gram matrix and W Hbar as heat maps, a row for each network. Colours of a prediction and
    of what was measured beside it are on one scale; their largest difference is below.

    Raises UserError if no run has both.
    """
    shown = _shown(records)
    figure, axes = panels.grid(len(shown), 2 * len(TITLES))
    for (label, record), line in zip(shown, axes, strict=True):
        for pair, name in zip(line.reshape(-1, 2), TITLES, strict=True):
            _pair(figure, pair, record, name)
        panels.label_row(line, arrangement.broken("\n".join(filter(None, (label, "class")))))
    for pair, title in zip(axes[0].reshape(-1, 2), TITLES.values(), strict=True):
        for ax, word in zip(pair, ("predicted", "measured"), strict=True):
            ax.set_title(f"{title} {word}")
    panels.caption(figure, convergence.caption([record for _, record in shown], _words(shown)))
    return figure


def both(record: Record, name: str) -> tuple[Array, Array]:
    """The predicted and the measured (K, K) matrix; where theory fixes shapes only, each over its Frobenius norm."""
    assert record.measured is not None
    found = [np.array(source[name], dtype=float) for source in (record.theory, record.measured)]
    if record.theory["scale_free"]:
        found = [matrix / np.linalg.norm(matrix) for matrix in found]
    return found[0], found[1]


def _shown(records: Sequence[Record]) -> list[tuple[str, Record]]:
    """The first seed of every curve that has a prediction and a measurement, with what tells it from the others."""
    rows = arrangement.arrange(records)
    deepest = sum(len(row.curves) for row in rows) > MOST_ROWS
    found = []
    for row in rows:
        curves = row.curves
        if deepest:
            depth = max(curve.records[0].config["head"]["depth"] for curve in curves)
            curves = tuple(curve for curve in curves if curve.records[0].config["head"]["depth"] == depth)
        for curve in curves:
            record = curve.records[0]
            if record.measured is not None and all(record.theory[name] is not None for name in TITLES):
                several = len(curves) > 1 or len(rows) == 1 < len(row.curves)
                found.append(("\n".join(filter(None, (row.label, curve.label if several else ""))), record))
    if not found:
        raise UserError(
            "no run has both predicted and measured matrices: theory determines none there, or more than 200 classes"
        )
    return found


def _pair(figure: Figure, axes: Sequence[Axes], record: Record, name: str) -> None:
    predicted, measured = both(record, name)
    extent = float(np.abs([predicted, measured]).max()) or 1.0
    for ax, matrix in zip(axes, (predicted, measured), strict=True):
        drawn = ax.imshow(matrix, cmap=COLOURS, vmin=-extent, vmax=extent)
        class_ticks(ax, len(matrix))
    axes[1].set_yticklabels([])
    axes[1].set_xlabel(f"largest diff. {np.abs(predicted - measured).max():.2g}")
    bar = figure.colorbar(drawn, ax=list(axes), shrink=0.75, aspect=14, pad=0.02)
    bar.locator = MaxNLocator(nbins=3, symmetric=True)
    bar.update_ticks()


def class_ticks(ax: Axes, num_classes: int) -> None:
    """Along both sides of a (K, K) matrix the numbers of some classes."""
    ax.grid(False)
    step = -(-num_classes // 6)  # up to six numbers
    places = range(0, num_classes, step) if num_classes <= NUMBERED_CLASSES else ()
    ax.set(xticks=places, yticks=places)


def _words(shown: Sequence[tuple[str, Record]]) -> str:
    words = "Matrices of the first seed at the last epoch."
    if any(record.theory["scale_free"] for _, record in shown):
        words += " Each is divided by its Frobenius norm, for theory fixes shapes only."
    if any(wording.centres_means(record) for _, record in shown):
        words += " With a bias the class means are centred."
    sizes = {tuple(record.manifest["class_counts"]) for _, record in shown}
    if len(sizes) == 1 and len(set(*sizes)) > 1 and len(min(sizes)) <= NUMBERED_CLASSES:
        words += f" Class sizes {', '.join(map(str, *sizes))}."
    return words
