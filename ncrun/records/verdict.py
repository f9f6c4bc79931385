"""The verdict of a finished run of free features, from its last row and its prediction."""

from dataclasses import dataclass
from typing import Any

from ncrun.records.lost import SHARE_OF_PREDICTED, is_kept, lost

# A run has converged if the expected further decrease is below this share of the loss.
SETTLED = 1e-5
# A loss is lower than a claim if the difference exceeds the rounding of sums over the samples.
STRICTLY = 1e-9
# Tolerances for counting as the optimum: for the loss, then for quantities that scale with its square root.
NEAR_LOSS, NEAR_FIT, NEAR_SHAPE = 1e-4, 0.02, 0.05

WORDS = {
    "global optimum": "at the proven or certified optimum",
    "at the claim": "at the claimed value, which is not proven to be the optimum",
    "lower than the claim": "below the claimed value",
    "missing classes": "converged, but classes that the optimum keeps are lost (minority collapse)",
    "dead": "converged to zero, which is not known to be the optimum",
    "local optimum": "converged above the optimum with no class lost",
    "not converged": "the gradient has not vanished",
    "no claim": "converged, but theory claims nothing",
}


@dataclass(frozen=True)
class Verdict:
    """word: a key of WORDS. excess: loss / claimed objective - 1 (None without a claim). missing: classes."""

    word: str
    excess: float | None
    missing: tuple[int, ...]


def judge(row: dict[str, Any], theory: dict[str, Any]) -> Verdict:
    """row: the last of metrics.jsonl; theory: theory.json. A low loss does not prove the geometry: with one class
    missing it may equal the optimum to four digits."""
    claimed = theory["objective"] if theory["claim"] in ("proven", "certified", "open", "refuted") else None
    # If all classes are lost, the claimed value is that of zero weights, which is not zero: there is always a data
    # term.
    excess = None if not claimed else row["loss"] / claimed - 1
    classes = theory["classes"]
    # Lost, although the optimum keeps the class.
    missing = tuple(
        k for k in lost(row["class.margin"], classes) if classes[k]["margin"] is None or is_kept(classes[k])
    )
    if excess is not None and excess < -STRICTLY:
        word = "lower than the claim"
    elif row["stationarity"] is not None and row["stationarity"] > SETTLED * row["loss"]:
        word = "not converged"
    elif excess is not None and excess <= NEAR_LOSS and _fits(row, theory):
        word = "global optimum" if theory["claim"] in ("proven", "certified") else "at the claim"
    elif len(missing) == len(classes):
        word = "dead"
    elif excess is None:
        word = "no claim"
    elif missing:
        word = "missing classes"
    else:
        word = "local optimum"
    return Verdict(word, excess, missing)


def judge_on_targets(row: dict[str, Any], theory: dict[str, Any]) -> Verdict:
    """The same for a run on targets, which has no classes."""
    claimed = theory["objective"] if theory["claim"] == "proven" else None
    excess = None if not claimed else row["loss"] / claimed - 1
    distances = [row[key] for key in ("nc2_w", "nc2_h", "nc3") if row[key] is not None]
    if excess is not None and excess < -STRICTLY:
        word = "lower than the claim"
    elif row["stationarity"] is not None and row["stationarity"] > SETTLED * row["loss"]:
        word = "not converged"
    elif excess is None:
        word = "no claim"
    elif excess <= NEAR_LOSS and all(distance <= NEAR_SHAPE for distance in distances):
        word = "global optimum"
    else:
        word = "local optimum"
    return Verdict(word, excess, ())


def _fits(row: dict[str, Any], theory: dict[str, Any]) -> bool:
    """Whether data term, classifier, means and logits (up to scale, with ranks and conditioning) are the claimed ones,
    as far as these are determined, and no class is far below its predicted margin."""
    for margin, entry in zip(row["class.margin"], theory["classes"], strict=True):
        if is_kept(entry) and margin < SHARE_OF_PREDICTED * entry["margin"]:
            return False
    expected = theory["data_term"]
    if expected is not None and abs(row["data_term"] - expected) > NEAR_FIT * expected + NEAR_LOSS * row["loss"]:
        return False
    distances = [row[key] for key in ("nc2_w", "nc2_h", "nc3") if row[key] is not None]
    return all(distance <= NEAR_SHAPE for distance in distances)
