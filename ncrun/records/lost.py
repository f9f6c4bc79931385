"""Which classes a run has lost (minority collapse): whose margin, the right score over the largest other one, is
nothing."""

from collections.abc import Mapping, Sequence
from typing import Any

# Training approaches zero, it does not reach it: below this share of the largest margin, and below ...
SHARE_OF_TOP = 0.05
# ... half of what is predicted, where the optimum keeps the class.
SHARE_OF_PREDICTED = 0.5
# A margin of nothing, where the scores of a fitted class are of order 1; at an optimum of zero the largest is one, too.
ZERO_MARGIN = 1e-3


def lost(margins: Sequence[float], classes: Sequence[Mapping[str, Any]]) -> tuple[int, ...]:
    """Class numbers. margins: (K,) measured. classes: those of theory.json, with the predicted margin (None where
    theory has none) and whether it is lost at the optimum (`collapsed` in the files)."""
    nothing = max(SHARE_OF_TOP * max(margins), ZERO_MARGIN)
    found = []
    for k, (margin, entry) in enumerate(zip(margins, classes, strict=True)):
        limit = min(nothing, SHARE_OF_PREDICTED * entry["margin"]) if is_kept(entry) else nothing
        if margin <= limit:
            found.append(k)
    return tuple(found)


def is_kept(entry: Mapping[str, Any]) -> bool:
    """Whether theory predicts a margin that is not nothing."""
    return entry["margin"] is not None and not entry["collapsed"]
