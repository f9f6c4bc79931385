"""Where the simplex ETF is not optimal under cross-entropy: over the number of classes, the head's depth and decay.

From theory alone, without runs: the claimed value compared with the best groups (ncrun.theory.group_structures,
mixture_families).
"""

from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ncrun.figures import panels, regions
from ncrun.theory.group_structures import best_gain, best_structures, collapse_penalty, simplex_block
from ncrun.theory.mixed_groups import Posed
from ncrun.theory.mixture_families import best_mixture
from ncrun.theory.prediction import STRICTLY, Array

DEPTHS = (2, 3, 4, 6)
CLASSES = tuple(range(3, 21))
DECAYS = np.geomspace(1e-5, 0.3, 60)
SAMPLES = 100
OPEN: dict[str, Any] = {"facecolor": "#CFE8DC", "hatch": "..."}
ZERO: dict[str, Any] = {"facecolor": "#F2F2F2", "hatch": "////"}
# The regions' names in the panels.
NAMES = ("ETF", "groups", "zero")
# From nearly equal to half of the claimed value.
REFUTED = LinearSegmentedColormap.from_list("refuted", ["#FBE3C0", "#D55E00", "#5A2600"])


def etf_map() -> Figure:
    """A panel for each depth: the lowest known value over the simplex' value."""
    figure, axes = panels.grid(1, len(DEPTHS), height=1.8, sharey=True)
    places = []
    for ax, depth in zip(axes[0], DEPTHS, strict=True):
        ratio, zero = _ratios(depth)
        edges = np.append(np.array(CLASSES) - 0.5, CLASSES[-1] + 0.5)
        steps = np.sqrt(DECAYS[1:] * DECAYS[:-1])
        heights = np.concatenate([[DECAYS[0]], steps, [DECAYS[-1]]])
        lowest = np.array([heights[np.argmax(column)] for column in zero.T])  # for decays at which zero is best
        for (bottom, top), style in (((heights[0], lowest), OPEN), ((lowest, heights[-1]), ZERO)):
            ax.bar(CLASSES, top - bottom, bottom=bottom, width=1.0, **style, **regions.FILLED)
        drawn = ax.pcolormesh(
            edges, heights, np.where(ratio < 1 - 1e-9, ratio, np.nan), cmap=REFUTED.reversed(), vmin=0.5, vmax=1
        )
        borders = [_border(num_classes, depth) for num_classes in CLASSES]
        ax.step(np.repeat(edges, 2)[1:-1], np.repeat(borders, 2), color="0.15", linewidth=1.0)
        ax.set(title=f"M = {depth}", xlabel="classes K", yscale="log", xticks=(3, 5, 10, 15, 20))
        ax.set(xlim=edges[[0, -1]], ylim=heights[[0, -1]])
        ax.grid(False)
        places.append(np.where(zero, 2, np.where(ratio < 1 - 1e-9, 1, 0)))
    panels.label_row(axes[0], "decay on all layers and features")
    figure.colorbar(drawn, ax=list(axes[0]), label="lowest known / ETF", pad=0.01, extend="min")
    handles = [
        Patch(label="ETF: nothing lower known", **OPEN, **regions.FILLED),
        Patch(facecolor=REFUTED(0.5), label="a structure of groups or circles is lower"),
        Patch(label="zero is the lowest known", **ZERO, **regions.FILLED),
        Line2D([], [], color="0.15", label="above: zero is lower than the ETF"),
    ]
    panels.legend_above(figure, handles)
    figure.draw_without_rendering()  # the words need the size of the panels
    for ax, region in zip(axes[0], places, strict=True):
        regions.named(ax, region, NAMES)
    panels.caption(
        figure,
        f"Cross-entropy, balanced classes of {SAMPLES} samples, M linear layers on free features, equal decays, no"
        " bias. From theory alone. At M = 1 the ETF is optimal everywhere below the threshold.",
    )
    return figure


def _ratios(depth: int) -> tuple[Array, Array]:
    """Over (decays, classes): the lowest known value / the simplex' value; and whether the lowest has zero logits.

    Groups with a coupled class are tried only if no other groups are lower: they take a hundred times as long."""
    penalties = (depth + 1) / 2 * DECAYS
    ratios, zeros = [], []
    for num_classes in CLASSES:
        claimed = best_gain(simplex_block(num_classes, num_classes), num_classes, SAMPLES, penalties, depth)[1]
        best = best_structures(num_classes, SAMPLES, penalties, depth)
        lowest = np.array([structure.value for structure in best])
        zero = np.array([all(kind == "silent" for kind, _ in structure.blocks) for structure in best])
        for i in np.flatnonzero((lowest > claimed * (1 - STRICTLY)) & ~zero):
            mixed = best_mixture(Posed(num_classes, SAMPLES, float(penalties[i]), depth, bias=False))
            lowest[i] = min(lowest[i], mixed.objective or np.inf)
        ratios.append(lowest / claimed)
        zeros.append(zero)
    return np.array(ratios).T, np.array(zeros).T


def _border(num_classes: int, depth: int) -> float:
    """The decay above which the simplex is worse than zero."""
    block = simplex_block(num_classes, num_classes)
    return collapse_penalty(block, num_classes, SAMPLES, depth) / ((depth + 1) / 2)
