"""A finished run in one line of plain words."""

from collections.abc import Iterable
from typing import Any

from ncrun.records.lost import lost

# A relative gap below this is that of two ways to add the same numbers.
ROUNDING = 1e-12
LEDGER_WORDS = {
    "ledger.within_class": "within-class spread",
    "ledger.duality": "unbalanced head and features",
    "ledger.bias": "the bias",
    "ledger.geometry": "the geometry of the class means",
}


def describe(row: dict[str, Any], theory: dict[str, Any]) -> str:
    """The last row of metrics.jsonl beside theory.json, such as

    "0.0003 from the predicted geometry (0.36 from the balanced one); loss 0.02 % above the proven optimum, most of it
    within-class spread; no class collapsed".

    A distance is the largest of nc2_w, nc2_h and nc3.
    """
    parts = [_distance(row, theory), _gap(row, theory), _collapse(row, theory)]
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
    """The largest of nc2_w, nc2_h and nc3, of those under a prefix such as "balanced."; None if one is missing."""
    values = [row.get(prefix + key) for key in ("nc2_w", "nc2_h", "nc3")]
    known = [value for value in values if value is not None]
    return max(known) if len(known) == len(values) else None


def _gap(row: dict[str, Any], theory: dict[str, Any]) -> str:
    if row["loss"] is None:  # of a network trained elsewhere whose decays are not known
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
    """Where the claim is open or refuted: how far the loss is from it, and from the lowest value known."""
    if theory["claim"] not in ("open", "refuted"):
        return ""
    words = f", {100 * (row['loss'] / theory['objective'] - 1):+.2g} % from the claimed value ({theory['claim']})"
    if theory["best_known"] is not None:
        words += f", {100 * (row['loss'] / theory['best_known']['objective'] - 1):+.2g} % from the lowest known"
    return words


def _collapse(row: dict[str, Any], theory: dict[str, Any]) -> str:
    found = set(lost(row["class.margin"], theory["classes"]))
    expected = {k for k, entry in enumerate(theory["classes"]) if entry["collapsed"]}
    known = all(entry["collapsed"] is not None for entry in theory["classes"])
    measured = _classes(found) + " collapsed" if found else "no class collapsed"
    if not known or (found == expected and not found):
        return measured
    if found == expected:
        return measured + " as predicted"
    return f"{measured}, predicted: {_classes(expected) if expected else 'none'}"


def _classes(which: Iterable[int]) -> str:
    names = [str(k) for k in sorted(which)]
    return f"class{'es' if len(names) > 1 else ''} {', '.join(names)}"
