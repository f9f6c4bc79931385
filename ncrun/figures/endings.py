"""Whether runs have converged at their end: the others are marked where their curves end, and named."""

from collections.abc import Sequence
from typing import Any

from matplotlib.lines import Line2D

from ncrun.figures import arrangement
from ncrun.records.read import Record
from ncrun.records.verdict import SETTLED

# A run has reached an optimum, or a claimed loss, if its relative excess is at most this. A network with BatchNorm may
# stay about a percent above the optimum.
NEAR = 0.01
MARK: dict[str, Any] = {
    "marker": ">",
    "markersize": 4.5,
    "markerfacecolor": "white",
    "linestyle": "",
    "zorder": 4,
    "gid": "not converged",
}


def is_unconverged(record: Record) -> bool:
    """Whether the run is known not to have converged: free features by the verdict, a network by a loss more than NEAR
    above a known and attainable optimum. For others nothing is known."""
    verdict = record.manifest.get("verdict")
    if verdict:
        return bool(verdict["word"] == "not converged")
    gap = _gap(record)
    return bool(record.theory["attainable"]) and gap is not None and gap > NEAR


def handles(records: Sequence[Record]) -> list[Line2D]:
    """For a legend: the arrow's meaning; empty if there is none."""
    found = any(map(is_unconverged, records))
    return [Line2D([], [], color="0.4", label="not converged at the end", **MARK)] if found else []


def words_of(records: Sequence[Record]) -> str:
    """For a caption: the rule, the runs, and their distances from the optimum; "" if all have converged."""
    found = [record for record in records if is_unconverged(record)]
    if not found:
        return ""
    rules = []
    if not all(record.manifest.get("verdict") for record in found):
        rules.append(f"loss more than {100 * NEAR:g} % above the optimum")
    if any(record.manifest.get("verdict") for record in found):
        rules.append(f"an expected further decrease of more than {SETTLED:g} of the loss")
    gaps = [gap for record in found if (gap := _gap(record)) is not None]
    which = [arrangement.in_words(found, records)]
    if gaps:
        percent = dict.fromkeys(f"{100 * gap:.2g}" if gap < 1 else f"{100 * gap:.0f}" for gap in (min(gaps), max(gaps)))
        which.append(f"{' to '.join(percent)} % above the optimum")
    named = ", ".join(filter(None, which))
    return f"Not converged at the end ({' or '.join(rules)}){named and f': {named}'}."


def _gap(record: Record) -> float | None:
    gap = record.metrics["gap"].iloc[-1] if "gap" in record.metrics and len(record.metrics) else None
    return None if gap is None or gap != gap else float(gap)
