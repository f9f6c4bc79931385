"""All predictions in one figure: measured over predicted numbers of every class of every run, with a diagonal."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ncrun.errors import UserError
from ncrun.figures import convergence, diagonal_points, endings, panels
from ncrun.figures.diagonal_points import Outlier, Points, Standing
from ncrun.records.read import Record

# Colour and marker of each grade, readable in grey, too.
GRADES = {"proven": "o", "certified": "s", "open": "^", "refuted": "X", "transferred": "D"}
TITLES = {"norms": "norms $|w_k|$, $|h_k|$", "margins": "margins", "cosines": "cosines"}
ABSCISSAE = {"norms": "predicted / r.m.s.", "margins": "predicted / largest", "cosines": "predicted"}
# Line style of a distribution, by the state of the run.
LINES: dict[str, Any] = {"reached": "-", "above": "--", "below": ":", "unknown": "-."}
STATE_WORDS = {
    "reached": f"at the claimed loss (to {100 * endings.NEAR:g} %)",
    "above": "above the claimed loss",
    "below": "below the claimed loss",
    "unknown": "no loss claimed",
}
CLOSE = (0.01, 0.1)
FARTHEST = 1e-7
# From this many points on they are rasterised, also in a PDF.
MOST_VECTORS = 500
MARK = 2.8
# For an outlier's number, in shares of a panel: the distance from its point, and its height.
LABEL_DISTANCE, LABEL_HEIGHT = 0.09, 0.1
# Settings of more runs than this are not listed.
MOST_RUNS = 12


def claim(records: Sequence[Record]) -> Figure:
    """Above, measured over predicted norms, margins and cosines; below, the share of points within a distance from the
    diagonal. Filled marks: runs at the claimed loss; hollow marks: runs above it.

    Raises UserError if theory predicts no number for any run.
    """
    runs = [diagonal_points.standing(record) for record in records]
    points = diagonal_points.collected(runs)
    if not any(len(each.run) for each in points.values()):
        raise UserError("theory predicts no norm, margin or cosine for any of these runs")
    named = diagonal_points.outliers(points, runs)
    figure, axes = panels.grid(2, len(points), height=1.8)
    for column, (kind, each) in zip(axes.T, points.items(), strict=True):
        diagonal(column[0], each, runs)
        shares(column[1], each, runs)
        column[0].set(title=TITLES[kind], xlabel=ABSCISSAE[kind])
        mark(column[0], each, [outlier for outlier in named if outlier.kind == kind], _numbers(named))
    panels.label_row(axes[0], "measured")
    panels.label_row(axes[1], "share of points within")
    panels.legend_above(figure, _legend(runs))
    panels.caption(figure, caption(runs, points, named))
    return figure


def diagonal(ax: Axes, points: Points, runs: Sequence[Standing]) -> None:
    """Measured over predicted; runs above the claimed loss are drawn below the others."""
    low, high = _limits(points)
    ends = np.array([low, high])
    ax.fill_between(ends, ends - CLOSE[1], ends + CLOSE[1], color="0.92", linewidth=0, zorder=0.5)
    ax.plot(ends, ends, color="0.6", linewidth=0.8, zorder=0.8)
    for grade, state, chosen in _groups(points, runs):
        ax.plot(
            points.predicted[chosen],
            points.measured[chosen],
            linestyle="",
            rasterized=len(points.run) > MOST_VECTORS,
            **_style(grade, state),
        )
    ax.set(xlim=(low, max(points.predicted.max(initial=0.0) + 0.1, 1.1)), ylim=(low, high))


def shares(ax: Axes, points: Points, runs: Sequence[Standing]) -> None:
    """For each grade and state, the share of its points within a distance from the diagonal, over that distance."""
    for grade, state, chosen in _groups(points, runs):
        distances = np.sort(points.distance[chosen])
        share = np.arange(1, len(distances) + 1) / len(distances)
        x, y = np.append(np.maximum(distances, FARTHEST), 20.0), np.append(share, 1.0)
        style = _style(grade, state) | {"linestyle": LINES[state], "linewidth": 1.1, "alpha": 1.0}
        ax.step(x, y, where="post", markevery=(0.1, 0.35), **style)
    for tolerance in CLOSE:
        ax.axvline(tolerance, color="0.6", linewidth=0.8, zorder=0.8)
    ax.set(xscale="log", xlim=(FARTHEST, 20.0), ylim=(-0.03, 1.03), xlabel="distance from the diagonal")
    ax.set_xticks([1e-6, 1e-4, 1e-2, 1])
    ax.minorticks_off()


def _groups(points: Points, runs: Sequence[Standing]) -> list[tuple[str, str, Any]]:
    """(grade, state, mask of points) if there are points; runs at or below the claimed loss come last, on top."""
    grade = np.array([run.grade for run in runs])[points.run]
    state = np.array([run.state for run in runs])[points.run]
    groups = [(g, s, (grade == g) & (state == s)) for s in ("above", "unknown", "reached", "below") for g in GRADES]
    return [group for group in groups if group[2].any()]


def _style(grade: str, state: str) -> dict[str, Any]:
    colour = f"C{list(GRADES).index(grade)}"
    hollow = state in ("above", "unknown")
    return {
        "marker": GRADES[grade],
        "color": colour,
        "markerfacecolor": "white" if hollow else colour,
        "markeredgecolor": colour,
        "markeredgewidth": 0.6,
        "markersize": MARK,
    }


def _limits(points: Points) -> tuple[float, float]:
    every = np.concatenate((points.predicted, points.measured, [0.0, 1.0]))
    margin = 0.07 * (every.max() - every.min())
    return float(every.min() - margin), float(every.max() + margin)


def mark(ax: Axes, points: Points, named: Sequence[Outlier], numbers: dict[str, int]) -> None:
    """The numbers of outliers beside their points, stacked if they would overlap."""
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    before = -np.inf
    for outlier in sorted(named, key=lambda each: float(points.measured[each.place])):
        x, y = points.predicted[outlier.place], points.measured[outlier.place]
        before = float(np.clip(y, before + LABEL_HEIGHT * (high - low), high))
        aside = LABEL_DISTANCE * (right - left) * (-1 if x > (left + right) / 2 else 1)
        ax.annotate(
            str(numbers[outlier.run.name]),
            (x, y),
            xytext=(x + aside, before),
            ha="center",
            va="center",
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.6},
            arrowprops={"arrowstyle": "-", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 0},
        )


def _numbers(named: Sequence[Outlier]) -> dict[str, int]:
    """A run has one number in all panels, by its name."""
    return {name: i for i, name in enumerate(dict.fromkeys(each.run.name for each in named), start=1)}


def _legend(runs: Sequence[Standing]) -> list[Line2D]:
    grades, states = (set(found) for found in zip(*((r.grade, r.state) for r in runs), strict=True))
    found = [
        Line2D([], [], label=grade, linestyle="", **_style(grade, "reached")) for grade in GRADES if grade in grades
    ]
    grey: dict[str, Any] = {"marker": "o", "color": "0.3", "markeredgecolor": "0.3", "markersize": MARK}
    for state, words in STATE_WORDS.items():
        if state in states:
            face = "white" if state in ("above", "unknown") else "0.3"
            found.append(Line2D([], [], label=words, linestyle=LINES[state], markerfacecolor=face, **grey))
    return found


def caption(runs: Sequence[Standing], points: dict[str, Points], named: Sequence[Outlier]) -> str:
    """The caption: the runs, the unit of every panel, the numbers of points near the diagonal, the outliers, and the
    runs that are not shown."""
    parts = [
        runs_in_words(runs),
        "Norms are relative to the root mean square of the predicted ones of a run, margins to the largest predicted;"
        " cosines are of pairs of classifier rows, of pairs of class means, and of both of a class.",
        _near_in_words(points, runs),
        "Hollow marks: the loss is above the claimed one, so the run has not converged or is in another minimum, and"
        f" is no evidence about the claim. Shaded: within {CLOSE[1]:g}.",
        _without_place_in_words(runs, points),
        _named_in_words(named),
    ]
    words = " ".join(filter(None, parts))
    return words if len(runs) > MOST_RUNS else convergence.caption([run.record for run in runs], words)


def runs_in_words(runs: Sequence[Standing]) -> str:
    """The numbers of runs by grade."""
    experiments = {run.record.manifest["experiment"] or run.name for run in runs}
    grades = Counter(run.grade for run in runs)
    of = f" of {len(experiments)} experiments" if len(experiments) > 1 else ""
    said = ", ".join(f"{grades[grade]} {grade}" for grade in GRADES if grades[grade])
    return f"{len(runs)} finished runs{of}, by the grade of the claim: {said}."


def near(points: Points, runs: Sequence[Standing], states: Sequence[str]) -> tuple[int, list[float]]:
    """The number of points of runs in these states, and the shares within each of CLOSE."""
    distances = points.distance[np.isin([run.state for run in runs], states)[points.run]]
    return len(distances), [float(np.mean(distances <= tolerance)) if len(distances) else np.nan for tolerance in CLOSE]


def percent(share: float) -> str:
    """Rounded down: 100 % are all."""
    return f"{np.floor(1000 * share) / 10:g} %"


def _near_in_words(points: dict[str, Points], runs: Sequence[Standing]) -> str:
    found = []
    for kind, each in points.items():
        number, shares_within = near(each, runs, ("reached",))
        if number:
            found.append(f"{kind} {' and '.join(map(percent, shares_within))} of {number:,}")
    return f"Of runs at the claimed loss, within 0.01 and 0.1: {'; '.join(found)}." if found else ""


def without_place(runs: Sequence[Standing], points: dict[str, Points]) -> dict[str, int]:
    """The runs that are not shown, with reasons and numbers."""
    placed = {number for each in points.values() for number in each.run.tolist()}
    reasons: Counter[str] = Counter()
    for number, run in enumerate(runs):
        if run.grade == "none":
            reasons["that no theory covers"] += 1
        elif number not in placed:
            zero = all(entry["weight_norm_sq"] == 0 for entry in run.theory["classes"])
            reasons["for which zero is predicted" if zero else "of which no number is determined"] += 1
    return dict(reasons)


def _without_place_in_words(runs: Sequence[Standing], points: dict[str, Points]) -> str:
    reasons = without_place(runs, points)
    return (
        f"Not on the diagonal: {', '.join(f'{number} {reason}' for reason, number in reasons.items())}."
        if reasons
        else ""
    )


def _named_in_words(named: Sequence[Outlier]) -> str:
    if not named:
        return ""
    told = []
    for name, number in _numbers(named).items():
        of_run = [each for each in named if each.run.name == name]
        classes = "; ".join(f"{each.classes} ({each.kind})" for each in of_run)
        told.append(f"({number}) {name} ({loss_in_words(of_run[0].run)}): {classes}")
    rule = (
        "Numbered: in each panel and state the point farthest from the diagonal, if its distance exceeds"
        f" {diagonal_points.OUTLYING:g}."
    )
    return f"{rule} {'. '.join(told)}."


def loss_in_words(run: Standing) -> str:
    """The grade, and the loss relative to the claimed one."""
    if run.excess is None:
        return run.grade
    percent = 100 * run.excess
    return f"{run.grade}, loss {percent:{'+.2g' if abs(percent) < 10 else '+,.0f'}} %"
