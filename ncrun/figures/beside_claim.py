"""The loss beside an unproven claim: the drawing shows if a run ends below the claim."""

from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import NDArray

from ncrun.errors import UserError
from ncrun.figures import arrangement, panels, wording
from ncrun.figures.arrangement import Curve
from ncrun.problem import Problem
from ncrun.records.read import Record
from ncrun.theory import predict

TITLE = "loss / claim − 1"
UNPROVEN = ("open", "refuted")
# Other known values of the optimum and their line styles, drawn in the colour of their runs.
LOWEST: dict[str, Any] = {"linestyle": (0, (6, 1.5, 1, 1.5)), "linewidth": 1.2}
BOUND: dict[str, Any] = {"linestyle": (0, (1, 1)), "linewidth": 1.2}
# The axis is linear from zero to this excess.
LEAST = 1e-6
# The most powers of ten with a number beside the axis.
MOST_TICKS = 3


def is_unproven(record: Record) -> bool:
    """Whether the claimed optimum is neither proven nor certified."""
    return record.theory["claim"] in UNPROVEN and bool(record.theory["objective"])


def lowest_known(record: Record) -> float | None:
    """The lowest known value below the claimed one, from today's theory, which may be lower than at the time of the
    run; None if there is none."""
    held = record.theory.get("best_known")
    try:
        today = _known_today(record.problem)
    except UserError:  # for an older record that does not hold its problem
        today = None
    return min((value for value in (held and held["objective"], today) if value is not None), default=None)


@cache
def _known_today(problem: Problem) -> float | None:
    best = predict(problem).best_known
    return None if best is None else best.objective


def excess(record: Record, frame: Any) -> Any:
    """Loss over the claimed value minus 1, over training; for a run with an optimum, its gap."""
    objective = record.theory["objective"]
    return frame["loss"] / objective - 1 if objective and _has_value(record) else [None] * len(frame)


def _has_value(record: Record) -> bool:
    return record.theory["claim"] in (*UNPROVEN, "proven", "certified")


def against_claim(ax: Axes, curves: Sequence[Curve], **style: Any) -> None:
    """Loss over the claimed value (for a proven claim, the optimum) minus 1, a band for each curve, on a symmetric log
    axis; dashed: the claim, dash-dotted: the lowest known value, dotted: a proven lower bound."""
    known = [curve for curve in curves if _has_value(curve.records[0]) and curve.records[0].theory["objective"]]
    for curve in known:
        panels.band(ax, curve.records, partial(excess, curve.records[0]), "symlog", **curve.look, **style)
        for value, look in _levels(curve.records[0]):
            ax.axhline(value, color=curve.colour, **look)
    ax.axhline(0, **panels.PREDICTION)
    ends = [abs(excess(r, r.metrics.iloc[-1:]).iloc[0]) for curve in known for r in curve.records]
    ends += [abs(value) for curve in known for value, _ in _levels(curve.records[0])]
    least = 10 ** np.floor(np.log10(max(LEAST, min((end for end in ends if end), default=LEAST))))
    _both_ways(ax, least)
    ax.set_title(TITLE)


def _levels(record: Record) -> list[tuple[float, dict[str, Any]]]:
    if not is_unproven(record):
        return []
    values = ((lowest_known(record), LOWEST), (record.theory.get("lower_bound"), BOUND))
    return [(value / record.theory["objective"] - 1, look) for value, look in values if value]


def _both_ways(ax: Axes, least: float) -> None:
    """An ordinate that is logarithmic beyond `least` in both directions, and linear in between."""
    shown = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in ax.get_lines()])
    low, high = np.nanmin(shown), np.nanmax(shown)
    ax.set_yscale("symlog", linthresh=least, linscale=0.5)
    ax.set_ylim(low * 2 if low < 0 else -least / 2, high * 2 if high > 0 else least / 2)
    up, down = (_powers(least, end) for end in (high, -low))
    ax.yaxis.set_major_locator(FixedLocator([*(-down[::-1]), 0.0, *up]))
    ax.yaxis.set_major_formatter(FuncFormatter(_words))
    ax.yaxis.set_minor_locator(NullLocator())


def _powers(least: float, end: float) -> NDArray[np.float64]:
    """Of ten, from `least` to `end`, few enough for their numbers."""
    if end < least:
        return np.empty(0)
    exponents = np.arange(round(np.log10(least)), np.floor(np.log10(end)) + 1)
    exponents = exponents[len(exponents) > 1 :]  # the smallest would stand on the zero
    powers: NDArray[np.float64] = 10.0 ** exponents[:: -int(np.ceil(len(exponents) / MOST_TICKS))][::-1]
    return powers


def _words(value: float, _: int) -> str:
    return f"${'-' if value < 0 else ''}10^{{{np.log10(abs(value)):.0f}}}$" if value else "0"


def handles(curves: Sequence[Curve]) -> list[Line2D]:
    """For a legend, if an unproven claim is drawn: the lines beside it, and their runs."""
    unproven = [curve for curve in curves if is_unproven(curve.records[0])]
    if not unproven:
        return []
    found = [Line2D([], [], label="claimed value", **panels.PREDICTION)]
    for look, name in ((LOWEST, "lowest value known"), (BOUND, "proven lower bound")):
        of = [curve for curve in unproven if any(known is look for _, known in _levels(curve.records[0]))]
        labels = dict.fromkeys(curve.label.replace("\n", ", ") for curve in of)
        which = f" ({', '.join(labels)})" if of and len(of) < len(curves) else ""
        colours = {curve.colour for curve in of}
        if of:
            found.append(
                Line2D([], [], color=colours.pop() if len(colours) == 1 else "0.4", label=name + which, **look)
            )
    return found


def words_of(records: Sequence[Record]) -> str:
    """For a caption: the grade of each prediction and its runs, and where runs end compared with an unproven claim."""
    claims = dict.fromkeys(record.theory["claim"] for record in records)
    parts = []
    for claim in claims:
        if claim not in wording.CLAIM_WORDS:
            continue
        here = [record for record in records if record.theory["claim"] == claim]
        which = arrangement.in_words(here, records)
        parts.append(wording.CLAIM_WORDS[claim] + (f" ({which})" if which else "") + _ends(here))
    return f"Prediction: {'; '.join(parts)}." if parts else ""


def _ends(records: Sequence[Record]) -> str:
    """For runs with one claim: their last losses compared with it, and with the lowest known value."""
    unproven = [record for record in records if is_unproven(record) and not record.metrics.empty]
    if not unproven:
        return ""
    losses = [(float(record.metrics["loss"].iloc[-1]), record) for record in unproven]
    words = f", loss at the end {_span([loss / record.theory['objective'] - 1 for loss, record in losses])} the claim"
    known = [(loss, low) for loss, record in losses if (low := lowest_known(record)) is not None]
    if known:
        words += f" and {_span([loss / low - 1 for loss, low in known])} the lowest value known"
    return words


def _span(shares: Sequence[float]) -> str:
    """-0.21 and -0.2: "20 to 21 % below"."""
    low, high = min(shares), max(shares)
    if low < 0 < high:
        return f"from {-100 * low:.2g} % below to {100 * high:.2g} % above"
    percent = dict.fromkeys(f"{100 * abs(share):.2g}" for share in sorted((low, high), key=abs))
    return f"{' to '.join(percent)} % {'below' if high <= 0 else 'above'}"
