"""A decay that is swept up and down on a free-feature problem, each point from the last solution."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ncrun.figures import looks, needs, panels
from ncrun.records.read import Record
from ncrun.theory.products import mean_decay
from ncrun.theory.squared_loss import existence_border, global_border, shrinkage_strength

# Beside the look of a class.
RISING: dict[str, Any] = {"markersize": 3}
FALLING: dict[str, Any] = {"markersize": 4.5, "markerfacecolor": "none"}


def hysteresis(records: Sequence[Record]) -> Figure:
    """A panel for each head depth: the margin of every class against decay, going up and coming down."""
    needs.metrics(records, "factor", "class.margin")
    figure, axes = panels.grid(1, len(records), sharey=True)
    for ax, record in zip(axes[0], records, strict=True):
        _sweep(ax, record)
    panels.label_row(axes[0], "margin of the class")
    counts = records[0].manifest["class_counts"]
    handles = [
        Line2D([], [], linestyle="", label=f"class of {count}", **looks.look(k) | RISING)
        for k, count in enumerate(counts)
    ]
    grey: dict[str, Any] = {"color": "0.3"}
    handles += [
        Line2D([], [], marker="o", linestyle="", label="trained, decay rising", **grey | RISING),
        Line2D([], [], marker="o", linestyle="", label="trained, decay falling", **grey | FALLING),
        Line2D([], [], linestyle="-", label="predicted optimum", **grey),
        Line2D([], [], linestyle=":", label="predicted local minimum", **grey),
        Line2D([], [], linestyle="--", linewidth=0.7, label="zero is lower from here", **grey),
    ]
    panels.legend_above(figure, handles)
    panels.caption(
        figure,
        f"Free features, squared loss, no bias, {', '.join(map(str, counts))} samples per class, decays 0.01 times"
        " the factor; L-BFGS at each decay from the last solution. Dotted verticals: where a local minimum ends."
        " Smaller classes are lost earlier. With M > 1 no class comes back as the decay falls, because zero stays a"
        " local minimum.",
    )
    return figure


def _sweep(ax: Axes, record: Record) -> None:
    """Trained points, the branch of the optimum, and its continuation as a local minimum."""
    frame, problem = record.metrics, record.problem
    factors = frame["factor"].to_numpy(dtype=float)
    margins = np.array(frame["class.margin"].tolist(), dtype=float)
    top = int(factors.argmax())
    counts = np.array(problem.counts)
    M = problem.depth
    start = shrinkage_strength(np.sqrt(counts), counts.sum(), M, mean_decay(problem))
    for k in range(len(counts)):
        look = looks.look(k)
        colour = look["color"]
        # Interleaved, so that classes at zero do not hide one another.
        turn = (k, len(counts))
        for part, style in ((slice(top + 1), RISING), (slice(top, None), FALLING)):
            ax.plot(factors[part], margins[part, k], linestyle="", markevery=turn, **look | style)
        # The branch by its gain a: the factor there is (1-a) a^p / kappa.
        lowest = (M - 1) / (2 * M)
        gain = np.linspace(lowest, 1, 400)
        reached = (1 - gain) * gain ** ((M - 1) / (M + 1)) / start[k]
        border, last = global_border(M) / start[k], existence_border(M) / start[k]
        best = reached <= border
        ax.plot(reached[best], gain[best], "-", color=colour, linewidth=1.0)
        ax.plot(reached[~best], gain[~best], ":", color=colour, linewidth=1.0)
        ax.axvline(border, color=colour, linestyle="--", linewidth=0.7)
        if M > 1:
            ax.axvline(last, color=colour, linestyle=":", linewidth=0.7)
    right = factors.max() * 1.05
    ax.set(title=f"M = {M}", xlabel="factor on all decays", xlim=(0, right), ylim=(-0.03, 1.03))
