"""Minority-collapse phase diagrams: which classes are kept, over imbalance ratio and decay, predicted and trained."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ncrun.figures import needs, panels, regions
from ncrun.records.read import Record
from ncrun.theory import Problem, predict
from ncrun.theory.squared_loss import existence_border, global_border

# Predicted regions, from small to large decay, and their hatches.
REGIONS: dict[str, dict[str, Any]] = {
    "all classes kept": {"facecolor": "#F4FAF4"},
    "small classes lost": {"facecolor": "#FFF3D6", "hatch": "///"},
    "all classes lost": {"facecolor": "#F3E1E6", "hatch": "xxx"},
}
KINDS: dict[str, dict[str, Any]] = {
    "as predicted": {"marker": "o", "color": "0.15"},
    "metastable": {"marker": "D", "color": "C1", "markerfacecolor": "white"},
    "stuck without a class": {"marker": "x", "color": "C1"},
    "otherwise wrong": {"marker": "*", "color": "C3", "markersize": 9},
}


def squared_loss(records: Sequence[Record]) -> Figure:
    """Squared loss without bias, a panel for each head depth."""
    depths = sorted({record.config["head"]["depth"] for record in records})
    groups = {f"M = {M}": [r for r in records if r.config["head"]["depth"] == M] for M in depths}
    return _diagrams(
        groups, "Free features, squared loss, linear head of depth M, no bias; two large and two small classes"
    )


def relu_features(records: Sequence[Record]) -> Figure:
    """Cross-entropy with non-negative features."""
    words = "Free non-negative features, cross-entropy, one linear layer; two large and two small classes"
    return _diagrams({"cross-entropy, features ≥ 0": list(records)}, words)


def relu_head(records: Sequence[Record]) -> Figure:
    """Squared loss with ReLUs between the layers; the boundaries for unequal counts are not proven."""
    depth = records[0].config["head"]["depth"]
    words = "Free features, squared loss, ReLU between the layers; one large and one small class"
    return _diagrams({f"ReLU head, L = {depth} (boundaries proven at ratio 1 only)": list(records)}, words)


def _diagrams(groups: dict[str, list[Record]], words: str) -> Figure:
    for records in groups.values():
        needs.verdicts(records)
    figure, axes = panels.grid(1, len(groups), sharex=True, sharey=True, narrowest=regions.NARROWEST)
    found: dict[str, int] = dict.fromkeys(KINDS, 0)
    for ax, (title, records) in zip(axes[0], groups.items(), strict=True):
        for kind, count in _panel(ax, records).items():
            found[kind] += count
        ax.set_title(title)
    handles = [Line2D([], [], color="0.2", label="threshold of the optimum")]
    panels.label_row(axes[0], "decay on weights and features")
    if any(record.problem.depth > 1 for records in groups.values() for record in records):
        handles.append(Line2D([], [], color="0.2", linestyle=":", label="threshold of existence"))
    handles += [
        Line2D([], [], linestyle="", label=f"trained: {kind} ({found[kind]})", **style)
        for kind, style in KINDS.items()
        if found[kind]
    ]
    panels.legend_above(figure, handles)
    figure.draw_without_rendering()  # the words need the size of the panels
    for ax, records in zip(axes[0], groups.values(), strict=True):
        _name_regions(ax, records)
    total = sum(found.values())
    panels.caption(figure, f"{words} (100 and 100 / ratio samples). {total} runs of L-BFGS, one start each.")
    return figure


def _panel(ax: Axes, records: Sequence[Record]) -> dict[str, int]:
    """Draws regions, boundaries and dots; returns the number of dots of each kind."""
    problem = records[0].problem
    ratios, decays = (np.array(values) for values in zip(*map(_place, records), strict=True))
    grid = np.geomspace(ratios.min() * 0.8, ratios.max() * 1.4, 200)
    borders = np.array([_borders(problem, max(ratio, 1.0)) for ratio in grid])  # (200, 2): small and large classes
    bottom, top = decays.min() * 0.7, decays.max() * 2.2
    ends = [np.full(len(grid), bottom), *borders.T, np.full(len(grid), top)]
    for (low, high), style in zip(pairwise(ends), REGIONS.values(), strict=True):
        ax.fill_between(grid, low, high, **style, **regions.FILLED)
    M = problem.depth
    for border in borders.T:
        ax.plot(grid, border, color="0.2", linewidth=1.2)
        if M > 1:
            ax.plot(grid, border * existence_border(M) / global_border(M), color="0.2", linestyle=":", linewidth=1.0)
    kinds = [_kind(record) for record in records]
    for kind, style in KINDS.items():
        here = np.array([k == kind for k in kinds])
        ax.plot(ratios[here], decays[here], linestyle="", **style)
    ax.set(xscale="log", yscale="log", xlabel="imbalance ratio $n_\\mathrm{max} / n_\\mathrm{min}$")
    ax.set(xlim=(grid[0], grid[-1]), ylim=(bottom, top))
    ax.xaxis.set_major_formatter("{x:g}")
    panels.tidy_log(ax.yaxis)
    ax.grid(False)
    return {kind: kinds.count(kind) for kind in KINDS}


def _name_regions(ax: Axes, records: Sequence[Record]) -> None:
    """Writes the prediction into each region."""
    across, up = (np.geomspace(*limits, num=regions.PLACES) for limits in (ax.get_xlim(), ax.get_ylim()))
    borders = np.array([_borders(records[0].problem, max(ratio, 1.0)) for ratio in across])
    ratios, decays = (np.array(values) for values in zip(*map(_place, records), strict=True))
    regions.named(ax, (up[:, None, None] > borders).sum(axis=2), list(REGIONS), (ratios, decays))


def _place(record: Record) -> tuple[float, float]:
    """Its imbalance ratio and decay."""
    counts = record.problem.counts
    return max(counts) / min(counts), record.problem.weight_decays[0]


def _borders(problem: Problem, ratio: float) -> tuple[float, float]:
    """The common decays above which the small and the large classes are lost."""
    largest, small, M = max(problem.counts), problem.num_classes // 2, problem.depth
    counts = (largest,) * (problem.num_classes - small) + (largest / ratio,) * small
    here = replace(problem, counts=counts, weight_decays=(1e-3,) * M, feature_decay=1e-3)
    factors = predict(here).decay_to_collapse
    assert factors is not None
    return 1e-3 * float(factors[-1]), 1e-3 * float(factors[0])


def _kind(record: Record) -> str:
    """The comparison of a run's end with its prediction."""
    word = record.manifest["verdict"]["word"]
    if word in ("global optimum", "at the claim"):
        return "as predicted"
    if word in ("missing classes", "dead"):
        return "stuck without a class"
    return "metastable" if word == "local optimum" and record.theory["metastable"] else "otherwise wrong"
