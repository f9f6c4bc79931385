"""Remedies as JSON for programs and as sentences for people."""

from typing import Any

import numpy as np

from ncrun.theory.prediction import Prediction
from ncrun.theory.remedies import LossOfRarest, Remedies

MOST_WEIGHTS = 12  # class weights shown in a line


def remedies_as_json(found: Remedies | None) -> dict[str, Any] | None:
    """The entry `remedies` of `ncrun theory --remedies --json`; null if there is no answer."""
    if found is None:
        return None
    return {
        "as_it_is": _as_json(found.as_it_is),
        "balanced_weights": _as_json(found.balanced),
        "equal_margin_weights": _as_json(found.weights),
        "equal_margin_adjustment": _as_json(found.adjustment),
        "rarest_lost_below": [vars(each) for each in found.rarest],
    }


def _as_json(optimum: Prediction | None) -> dict[str, Any] | None:
    if optimum is None:
        return None
    problem, margins = optimum.problem, optimum.margins()
    return {
        "claim": optimum.claim,
        "class_weights": list(problem.class_weights) or None,
        "logit_adjustment": problem.logit_adjustment,
        "margins": None if margins is None else margins.tolist(),
        "collapsed": optimum.collapsed(),
    }


def remedies_in_words(found: Remedies | None) -> str:
    """One line for each, with the keys of `ncrun train`."""
    if found is None:
        return (
            "remedies: none are known for this problem (they need cross-entropy, decay.mode=features, one linear"
            " layer, unequal counts and not too many classes)"
        )
    lines = [f"without changes: {_margins(found.as_it_is)}", f"class_weights=balanced: {_margins(found.balanced)}"]
    one = "the same margin for all classes"
    if found.weights is None:
        lines.append(f"{one}: no such class weights are known")
    else:
        lines.append(f"{one}: {_weights(found.weights)}: {_margins(found.weights)}")
    one = "the same margin for the rarest and the most frequent class"
    if found.adjustment is None:
        lines.append(f"{one}: no such logit_adjustment is known")
    else:
        tau = found.adjustment.problem.logit_adjustment
        lines.append(f"{one}: logit_adjustment={tau:.4g}: {_margins(found.adjustment)}")
    lines += [_lost(each) for each in found.rarest]
    if not found.rarest:
        lines.append("the rarest class is kept down to one sample, or is lost even with equal counts")
    return "\n".join(["remedies", *(f"  {line}" for line in lines)])


def _margins(optimum: Prediction) -> str:
    margins, lost = optimum.margins(), sum(map(bool, optimum.collapsed()))
    assert margins is not None
    low, high = f"{margins.min():.4g}", f"{margins.max():.4g}"
    words = f"margins {low} to {high}" if low != high else f"margin {low}"
    return words + (f", {lost} of {len(margins)} classes lost" if lost else "")


def _weights(optimum: Prediction) -> str:
    weights, counts = np.array(optimum.problem.class_weights), np.array(optimum.problem.counts)
    shown = ",".join(f"{weight:.4g}" for weight in weights[:MOST_WEIGHTS])
    more = ",.." if len(weights) > MOST_WEIGHTS else ""
    rarest, frequent = counts.argmin(), counts.argmax()
    power = np.log(weights[rarest] / weights[frequent]) / np.log(counts[rarest] / counts[frequent])
    return f"class_weights=[{shown}{more}] (about n^{power:.2f})"


def _lost(each: LossOfRarest) -> str:
    return (
        f"the rarest class, label_smoothing={each.label_smoothing:g}: lost below {each.count:.3g} samples,"
        f" an imbalance of {each.imbalance:.3g} with counts of this shape"
    )
