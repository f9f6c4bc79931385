"""A prediction alone: its matrices as heat maps, and the margin of each class."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ncrun.errors import UserError
from ncrun.figures import heat_map, panels
from ncrun.figures.matrices import TITLES
from ncrun.losses import described
from ncrun.theory import Prediction
from ncrun.theory.prediction import CLAIMS

# With more classes than this, only the smallest and the largest count are named.
NAMED_COUNTS = 12


def predicted(prediction: Prediction) -> Figure:
    """W W^T, the class means' Gram matrix, W Hbar, and the margins; a prediction up to scale is divided by its
    Frobenius norm. Raises UserError if no matrix is predicted."""
    if prediction.problem.targets is not None:
        raise UserError("targets have no classes to draw; table() shows the prediction's directions")
    if not prediction.layers or prediction.tie is not None or prediction.logits is None:
        reason = prediction.note or "more classes of one count than the narrowest layer can hold"
        raise UserError(f"no matrices to draw (claim {prediction.claim}): {reason}")
    first, margins = prediction.layers[0], prediction.margins()
    shown = (first.weight_gram, first.feature_gram, prediction.logits)
    figure, axes = panels.grid(1, len(shown) + (margins is not None))
    for ax, title, matrix in zip(axes[0], TITLES.values(), shown, strict=False):
        drawn = matrix / np.linalg.norm(matrix) if prediction.scale_free else matrix
        heat_map.draw(ax, drawn, heat_map.scale_of(drawn), prediction.problem.counts)
        ax.set_title(title)
    axes[0, 0].set_ylabel(heat_map.class_axis(prediction.problem.counts))
    if margins is not None:
        _margins(axes[0, -1], margins)
    panels.caption(figure, _words(prediction))
    return figure


def _margins(ax: Axes, margins: NDArray[np.float64]) -> None:
    ax.bar(np.arange(len(margins)), margins, color="C0")
    ax.set_axisbelow(True)
    ax.axhline(0, color="0.25", linewidth=0.8)
    ax.set(title="margin", xlabel="class")
    ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))


def _words(prediction: Prediction) -> str:
    problem = prediction.problem
    counts = problem.counts[:1] if problem.is_balanced else problem.counts
    sizes = ", ".join(f"{count:g}" for count in counts)
    if len(counts) > NAMED_COUNTS:
        sizes = f"{min(counts):g} to {max(counts):g}"
    words = f"Predicted for {problem.num_classes} classes of {sizes} samples, {described(problem)}, "
    words += f"{problem.head if problem.head == 'linear' else 'ReLU'} head of depth {problem.depth}"
    words += " with bias" if problem.bias else ""
    words += ", non-negative features" if problem.feature_sign == "nonnegative" else ""
    words += f". Claim: {prediction.claim}, {CLAIMS[prediction.claim]}."
    if prediction.scale_free:
        words += " Each matrix is divided by its Frobenius norm, because theory fixes shapes only."
    return words
