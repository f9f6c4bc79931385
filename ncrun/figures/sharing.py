"""Which classes have orthogonal features, share directions, or are lost, over imbalance ratio and decay, with a bias
and non-negative features: predicted regions, trained runs as dots."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray

from ncrun.errors import UserError
from ncrun.figures import needs, panels, regions, wording
from ncrun.figures.classes import Array, cosines
from ncrun.records.lost import lost
from ncrun.records.read import Record
from ncrun.theory import Problem, predict
from ncrun.theory.convex_problem import ConvexProblem
from ncrun.theory.polar import polar
from ncrun.theory.relu_features_bias import imbalance_of_sharing

# In the order of `Borders.region`: colour and hatch of predicted regions, marker of trained runs.
PHASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "orthogonal": ({"facecolor": "#F4FAF4", "hatch": ""}, {"marker": "o", "markersize": 5}),
    "rare classes share": ({"facecolor": "#DCEBFA", "hatch": "//"}, {"marker": "s", "markersize": 5}),
    "rare classes lost": ({"facecolor": "#FFF3D6", "hatch": ".."}, {"marker": "x", "markersize": 6}),
    "all lost": ({"facecolor": "#F3E1E6", "hatch": "xx"}, {"marker": "+", "markersize": 7}),
}
# Short names inside the regions.
NAMES = ("orthogonal", "rare share", "rare lost", "all lost")
AT_OPTIMUM: dict[str, Any] = {"color": "0.1", "markerfacecolor": "0.1"}
ELSEWHERE: dict[str, Any] = {"color": "C1", "markerfacecolor": "none"}
LEAST_COSINE = 1e-4  # cosine of trained class means below which they count as orthogonal
BORDER_POINTS = 12
BISECTIONS = 10
GRID = 240
LEFT = 0.87  # end of the axis; equal classes are at 1


def sharing_phases(records: Sequence[Record]) -> Figure:
    """A panel for each loss. Raises UserError unless all runs are free features with a bias, two class counts and equal
    decays."""
    needs.verdicts(records)
    for record in records:
        _check(record)
    losses = list(dict.fromkeys(record.problem.loss for record in records))
    figure, axes = panels.grid(1, len(losses), sharey=True, narrowest=regions.NARROWEST)
    found: dict[tuple[str, bool], int] = {}
    shown: dict[str, tuple[list[Record], Borders]] = {}
    for ax, loss in zip(axes[0], losses, strict=True):
        here = [record for record in records if record.problem.loss == loss]
        ax.set_title(wording.loss_words(here[0]))
        for kind in _panel(ax, here, borders_here := _borders_of(here)):
            found[kind] = found.get(kind, 0) + 1
        shown[loss] = here, borders_here
    panels.label_row(axes[0], "decay on weights and features")
    panels.legend_above(figure, _handles(found))
    figure.draw_without_rendering()  # the words need the size of the panels
    for ax, loss in zip(axes[0], losses, strict=True):
        _name_regions(ax, *shown[loss])
    few, large = _small_classes(records[0].problem), max(records[0].problem.counts)
    panels.caption(
        figure,
        f"Non-negative free features, one linear layer with a bias; {records[0].problem.num_classes - few}"
        f" classes of {large:g} samples and {few} of {large:g} / ratio. {len(records)} runs of L-BFGS, one start each.",
    )
    return figure


@dataclass(frozen=True)
class Borders:
    """Boundaries of the regions for large and rare classes.

    ratios: (n,), with the decays above which the rare (rare_lost) and all classes (all_lost) have no margin. decays:
    (m,), with the ratio above which rare classes share directions; beyond all ratios if they never do.
    """

    ratios: Array
    rare_lost: Array
    all_lost: Array
    decays: Array
    shared: Array

    def region(self, ratio: Array, decay: Array) -> NDArray[np.int64]:
        """The place in PHASES of every point."""
        place = np.where(ratio >= np.interp(decay, self.decays, self.shared), 1, 0)
        place = np.where(decay >= np.interp(ratio, self.ratios, self.rare_lost), 2, place)
        return np.where(decay >= np.interp(ratio, self.ratios, self.all_lost), 3, place)


def borders(problem: Problem, ratios: tuple[float, float], decays: tuple[float, float]) -> Borders:
    """problem: with two class counts. ratios, decays: the smallest and the largest on the axes."""
    across = np.geomspace(*ratios, num=BORDER_POINTS)
    posed = [_at(problem, float(ratio), 1.0) for ratio in across]
    all_lost = np.array([_decay_without_weights(each) for each in posed])
    rare_lost = np.array([_decay_without_margin(each, end) for each, end in zip(posed, all_lost, strict=True)])
    up = np.geomspace(*decays, num=BORDER_POINTS)
    shared = [imbalance_of_sharing(_at(problem, 10.0, float(decay))) for decay in up]
    beyond = 10 * ratios[1]
    return Borders(across, rare_lost, all_lost, up, np.array([1 / each if each else beyond for each in shared]))


def _at(problem: Problem, ratio: float, decay: float) -> Problem:
    """The same problem with this ratio of class counts and this decay on weights and features."""
    few, large = _small_classes(problem), max(problem.counts)
    counts = (large,) * (problem.num_classes - few) + (large / ratio,) * few
    return replace(problem, counts=counts, weight_decays=(decay,), feature_decay=decay)


def _small_classes(problem: Problem) -> int:
    """The number of rare classes; with equal counts, half."""
    return sum(count < max(problem.counts) for count in problem.counts) or problem.num_classes // 2


def _decay_without_weights(problem: Problem) -> float:
    """The decay above which all weights are zero; then only the bias is nonzero, and gives the shares of the
    classes."""
    posed = ConvexProblem.of(problem)
    errors = posed.shares[:, None] - np.eye(problem.num_classes)
    return polar(posed.slopes(errors)).value


def _decay_without_margin(problem: Problem, end: float) -> float:
    """The decay above which the last class, a rare one, has no margin. end: the decay above which none has."""
    low, high = np.log(end) - np.log(1e3), np.log(end)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        decay = float(np.exp(middle))
        gone = predict(replace(problem, weight_decays=(decay,), feature_decay=decay)).collapsed()[-1]
        low, high = (low, middle) if gone else (middle, high)
    return float(np.exp((low + high) / 2))


def _panel(ax: Axes, records: Sequence[Record], found: Borders) -> list[tuple[str, bool]]:
    """Draws regions and dots; returns each run's phase, and whether it is at the optimum."""
    ratios, decays = _places(records)
    shown = _shown(records)
    across, up = np.geomspace(LEFT, shown[0][1], num=GRID), np.geomspace(*shown[1], num=GRID)
    region = found.region(*np.meshgrid(across, up))
    styles = [style for style, _ in PHASES.values()]
    with mpl.rc_context({"hatch.color": "0.75", "hatch.linewidth": 0.6}):
        ax.contourf(
            across,
            up,
            region,
            levels=np.arange(-0.5, len(PHASES)),
            colors=[style["facecolor"] for style in styles],
            hatches=[style["hatch"] for style in styles],
        )
    alive = found.decays < np.interp(found.shared, found.ratios, found.rare_lost)
    for line in (
        (found.ratios, found.rare_lost),
        (found.ratios, found.all_lost),
        (found.shared[alive], found.decays[alive]),
    ):
        ax.plot(*line, color="0.2", linewidth=1.0)
    kinds = [(phase_of(record), record.manifest["verdict"]["word"] == "global optimum") for record in records]
    for ratio, decay, (phase, optimal) in zip(ratios, decays, kinds, strict=True):
        ax.plot(ratio, decay, linestyle="", **PHASES[phase][1], **(AT_OPTIMUM if optimal else ELSEWHERE))
    ax.set(xscale="log", yscale="log", xlabel="imbalance ratio $n_\\mathrm{max} / n_\\mathrm{min}$")
    ax.set(xlim=(LEFT, shown[0][1]), ylim=shown[1])
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())
    panels.tidy_log(ax.yaxis)
    ax.grid(False)
    return kinds


def _places(records: Sequence[Record]) -> tuple[Array, Array]:
    """Imbalance ratios and decays, (n,) each."""
    ratios = np.array([max(record.problem.counts) / min(record.problem.counts) for record in records])
    return ratios, np.array([record.problem.weight_decays[0] for record in records])


def _shown(records: Sequence[Record]) -> tuple[tuple[float, float], tuple[float, float]]:
    """The ratios and the decays of the axes, from smallest to largest."""
    ratios, decays = _places(records)
    return (1.0, float(ratios.max()) * 1.4), (float(decays.min()) * 0.7, float(decays.max()) * 2.2)


def _borders_of(records: Sequence[Record]) -> Borders:
    return borders(records[0].problem, *_shown(records))


def _name_regions(ax: Axes, records: Sequence[Record], found: Borders) -> None:
    """Writes the prediction into each region."""
    across, up = (np.geomspace(*limits, num=regions.PLACES) for limits in (ax.get_xlim(), ax.get_ylim()))
    regions.named(ax, found.region(*np.meshgrid(across, up)), NAMES, _places(records))


def phase_of(record: Record) -> str:
    """The phase of a run, from its measured end."""
    K = record.problem.num_classes
    gone = lost(record.metrics["class.margin"].iloc[-1], record.theory["classes"])
    if gone:
        return "all lost" if len(gone) == K else "rare classes lost"
    assert record.measured is not None
    between = cosines(record.measured["feature_gram"])[np.triu_indices(K, 1)]
    return "rare classes share" if np.nanmax(between) > LEAST_COSINE else "orthogonal"


def _check(record: Record) -> None:
    problem = record.problem
    standard = problem.bias and problem.depth == 1 and problem.feature_sign == "nonnegative"
    if not standard or len(set(problem.counts)) > 2 or problem.feature_decay != problem.weight_decays[0]:
        raise UserError(
            f"{record.path}: this drawing needs runs of features >= 0 with a bias, one layer, two class counts and one"
            " decay"
        )
    if record.measured is None:
        raise UserError(f"{record.path}: has no measured matrices (geometry.json), which this drawing needs")


def _handles(found: dict[tuple[str, bool], int]) -> list[Line2D]:
    handles = []
    for phase, (_, marker) in PHASES.items():
        for optimal, style in ((True, AT_OPTIMUM), (False, ELSEWHERE)):
            if number := found.get((phase, optimal)):
                words = f"trained: {phase} ({number})" + ("" if optimal else ", not at the optimum")
                handles.append(Line2D([], [], linestyle="", label=words, **marker, **style))
    return handles
