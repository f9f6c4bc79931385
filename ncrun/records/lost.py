"""The classes that a run has lost (minority collapse): those whose margin (own logit minus the largest other) is about
zero."""

from collections.abc import Mapping, Sequence
from typing import Any

# Training approaches a zero margin without reaching it. A class is lost below this share of the largest margin, and
# below ...
SHARE_OF_TOP = 0.05
# ... half of its predicted margin, if the optimum keeps the class.
SHARE_OF_PREDICTED = 0.5
# A margin below this counts as zero (logits of a fitted class are of order 1); at an optimum of zero even the largest
# does.
ZERO_MARGIN = 1e-3


def lost(margins: Sequence[float], classes: Sequence[Mapping[str, Any]]) -> tuple[int, ...]:
    """Class numbers. margins: (K,) measured. classes: those of theory.json, with the predicted margin (None without a
    prediction) and whether the class is lost at the optimum (`collapsed` in the files)."""
    nothing = max(SHARE_OF_TOP * max(margins), ZERO_MARGIN)
    found = []
    for k, (margin, entry) in enumerate(zip(margins, classes, strict=True)):
        limit = min(nothing, SHARE_OF_PREDICTED * entry["margin"]) if is_kept(entry) else nothing
        if margin <= limit:
            found.append(k)
    return tuple(found)


def is_kept(entry: Mapping[str, Any]) -> bool:
    """Whether theory predicts a margin above zero."""
    return entry["margin"] is not None and not entry["collapsed"]
