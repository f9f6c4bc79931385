"""The summary: one line about a finished run on targets."""

from typing import Any

from ncrun.records.summary import distance, gap_in_words


def describe_on_targets(row: dict[str, Any], theory: dict[str, Any]) -> str:
    """From the last row of metrics.jsonl and theory.json, such as

    "0.0003 from the predicted geometry; loss 0.02 % above the proven optimum; 98 % of the variance explained (test: 51
    %); 1 of 3 directions lost at the optimum".

    The distance is the largest of nc2_w, nc2_h and nc3.
    """
    parts = [_distance(row, theory), gap_in_words(row, theory), _explained(row), _lost(theory)]
    return "; ".join(part for part in parts if part)


def _distance(row: dict[str, Any], theory: dict[str, Any]) -> str:
    here = distance(row)
    if here is None:
        zero = theory["directions"] and all(entry["lost"] for entry in theory["directions"])
        return "the predicted optimum is zero" if zero else theory["note"] or "no predicted geometry to compare"
    kind = "shape expected at vanishing decay" if theory["scale_free"] else "predicted geometry"
    return f"{here:.2g} from the {kind}"


def _explained(row: dict[str, Any]) -> str:
    if row["r2"] is None:
        return ""
    test = row.get("test.r2")
    return f"{row['r2']:.2%} of the variance explained{'' if test is None else f' (test: {test:.2%})'}"


def _lost(theory: dict[str, Any]) -> str:
    found = theory["directions"] or []
    lost = sum(entry["lost"] for entry in found)
    return f"{lost} of {len(found)} directions lost at the optimum" if lost else ""
