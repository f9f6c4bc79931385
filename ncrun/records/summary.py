"""The summary: one line about a finished run."""

from collections.abc import Iterable
from typing import Any

from ncrun.records.lost import lost
from ncrun.records.verdict import SETTLED

# A relative gap below this is rounding.
ROUNDING = 1e-12
# From this training accuracy on, a class counts as fitted.
FITTED = 0.999
# A network that keeps no class counts as converged if its relative gap to an optimum that keeps none is below this.
NEAR_ZERO = 1e-2
# NC1 is shown beside the effective NC1 if it is larger by more than this factor.
TELLING = 2
# More classes than this are counted, not named.
MOST_NAMED = 8
LEDGER_WORDS = {
    "ledger.within_class": "within-class spread",
    "ledger.duality": "unbalanced head and features",
    "ledger.bias": "the bias",
    "ledger.geometry": "the geometry of the class means",
}


def describe(row: dict[str, Any], theory: dict[str, Any]) -> str:
    """From the last row of metrics.jsonl and theory.json, such as

    "0.0003 from the predicted geometry (0.36 from the balanced one); loss 0.02 % above the proven optimum, most of it
    within-class spread; no class lost".

    A distance is the largest of nc2_w, nc2_h and nc3. NC1 is shown if it differs from the effective NC1, as with
    classes that share directions.
    """
    parts = [_distance(row, theory), gap_in_words(row, theory), _bounded(row), _lost(row, theory), _spread(row)]
    return "; ".join(part for part in parts if part)


def _distance(row: dict[str, Any], theory: dict[str, Any]) -> str:
    here = distance(row)
    if here is None:
        vanishes = all(entry["collapsed"] for entry in theory["classes"])
        if vanishes:
            return "the predicted optimum is zero"
        etf = max((row[key] for key in ("etf_w", "etf_h") if row[key] is not None), default=None)
        reason = theory["note"] or "no predicted geometry to compare"
        return reason + (f"; {etf:.2g} from a simplex ETF" if etf is not None else "")
    kind = "shape expected at vanishing decay" if theory["scale_free"] else "predicted geometry"
    counts = [entry["count"] for entry in theory["classes"]]
    balanced = distance(row, "balanced.")
    beside = "" if balanced is None or min(counts) == max(counts) else f" ({balanced:.2g} from the balanced one)"
    return f"{here:.2g} from the {kind}{beside}"


def distance(row: dict[str, Any], prefix: str = "") -> float | None:
    """The largest of nc2_w, nc2_h and nc3, also with a prefix such as "balanced."; None if one is missing."""
    values = [row.get(prefix + key) for key in ("nc2_w", "nc2_h", "nc3")]
    known = [value for value in values if value is not None]
    return max(known) if len(known) == len(values) else None


def gap_in_words(row: dict[str, Any], theory: dict[str, Any]) -> str:
    """The gap of the loss to the optimum, and its largest part."""
    if row["loss"] is None:  # for a network trained elsewhere with unknown decays
        return ""
    if row.get("gap") is None:
        return f"loss {row['loss']:.4g}{_beside_claim(row, theory)}"
    ledger = {key: row[key] for key in LEDGER_WORDS if key in row}
    most = ""
    if ledger:
        largest = max(ledger, key=lambda key: ledger[key])
        share = ledger[largest] / max(sum(ledger.values()), 1e-300)
        most = f", {'most' if share > 0.5 else 'the largest part'} of it {LEDGER_WORDS[largest]}"
    kind = f"the {theory['claim']} optimum" if theory["attainable"] else "a lower bound that this model cannot attain"
    if abs(row["gap"]) < ROUNDING:
        return f"loss equal to {kind}"
    percent = f"{100 * row['gap']:.2g}" if row["gap"] < 1 else f"{100 * row['gap']:.0f}"
    return f"loss {percent} % above {kind}{most}"


def _beside_claim(row: dict[str, Any], theory: dict[str, Any]) -> str:
    """For an open or refuted claim: the distance of the loss to it, and to the lowest known value."""
    if theory["claim"] not in ("open", "refuted"):
        return ""
    what = "claimed value" if theory.get("lower_bound") is None else "lowest value found"
    words = f", {100 * (row['loss'] / theory['objective'] - 1):+.2g} % from the {what} ({theory['claim']})"
    if theory.get("lower_bound"):
        words += f", {100 * (row['loss'] / theory['lower_bound'] - 1):.2g} % above a proven lower bound"
    if theory["best_known"] is not None:
        words += f", {100 * (row['loss'] / theory['best_known']['objective'] - 1):+.2g} % from the lowest known"
    return words


def _bounded(row: dict[str, Any]) -> str:
    """With plain weight decay: NC1 at the last layer of the head compared with its proven bound."""
    bound = row.get("nc1_bound")
    if bound is None:
        return ""
    last = max(int(key.split(".")[1]) for key in row if key.startswith("head."))
    nc1 = row[f"head.{last}.nc1"]
    below = f", {bound / nc1:.2g} times below its proven bound" if nc1 else ""
    return f"NC1 before the last layer {nc1:.2g}{below}"


def _lost(row: dict[str, Any], theory: dict[str, Any]) -> str:
    """Minority collapse: the lost classes, if this can be judged; before, the classes without a margin so far."""
    found = set(lost(row["class.margin"], theory["classes"]))
    expected = {k for k, entry in enumerate(theory["classes"]) if entry["collapsed"]}
    known = all(entry["collapsed"] is not None for entry in theory["classes"])
    beside = ""
    if known and found != expected:
        beside = f", predicted: {_classes(expected, theory) if expected else 'none'}"
    if not found:
        so_far = " so far" if beside and not _is_judged(row, theory, found) else ""
        return f"no class lost{so_far}{beside}"
    if not _is_judged(row, theory, found):
        return f"{_classes(found, theory)} without a margin so far{beside.replace('predicted', 'predicted lost')}"
    as_predicted = " as predicted" if known and found == expected else ""
    return f"{_classes(found, theory)} lost{as_predicted} (minority collapse){beside}"


def _spread(row: dict[str, Any]) -> str:
    """Empty if the two agree up to the factor, or if an old record does not have both."""
    nc1, effective = row.get("nc1"), row.get("nc1_effective")
    if nc1 is None or "nc1_effective" not in row or (effective is not None and nc1 <= TELLING * effective):
        return ""
    if effective is None:
        return f"NC1 of {nc1:.2g} is that of a dead network, whose class means move no logit"
    kept, directions = row["nc1_effective_rank"], row["nc1_rank"]
    return f"effective NC1 {effective:.2g} in {kept} directions (NC1 {nc1:.2g} in {directions})"


def _is_judged(row: dict[str, Any], theory: dict[str, Any], found: set[int]) -> bool:
    """Whether a class without a margin counts as lost: free features have converged, or a network fits every other
    class. If there is no other class, its loss must be the predicted one."""
    stationarity, accuracies = row.get("stationarity"), row.get("class.train_accuracy")
    if stationarity is not None:
        return bool(stationarity <= SETTLED * row["loss"])
    if len(found) == len(theory["classes"]):
        objective = theory["objective"]
        return bool(objective and row["loss"] is not None and row["loss"] <= (1 + NEAR_ZERO) * objective)
    others = [share for k, share in enumerate(accuracies or [None]) if k not in found]
    return all(share is not None and share >= FITTED for share in others)


def _classes(which: Iterable[int], theory: dict[str, Any]) -> str:
    names = [str(k) for k in sorted(which)]
    if len(names) > MOST_NAMED:
        return f"{len(names)} of {len(theory['classes'])} classes"
    return f"class{'es' if len(names) > 1 else ''} {', '.join(names)}"
