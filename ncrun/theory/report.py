"""A prediction as JSON for programs and as a table for people."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ncrun.losses import described
from ncrun.problem import Problem
from ncrun.theory.prediction import CLAIMS, Array, Prediction
from ncrun.theory.relu_features_bias import sharing_in_words
from ncrun.theory.target_report import directions_json, directions_table

MOST_CLASSES = 2000


def as_json(geometry: Prediction) -> dict[str, Any]:
    """The content of theory.json and of `ncrun theory --json`: plain numbers, null if not determined.

    The K x K matrices and merged_with are also null with more than MOST_CLASSES classes, where they would be gigabytes
    of text; the prediction itself has them. The keys call a lost class (minority collapse) collapsed, as in all
    records.
    """
    classes = []
    margins = geometry.margins()
    small = geometry.problem.num_classes <= MOST_CLASSES
    collapsed, merged = geometry.collapsed(), geometry.merged_with() if small else None
    first = geometry.layers[0] if geometry.determined else None
    vanish = geometry.decay_to_vanish
    never = never_collapses(geometry)
    for k, count in enumerate(geometry.problem.counts):
        classes.append(
            {
                "count": int(count),
                "weight_norm_sq": _number(first.weights.own[k]) if first else None,
                "feature_norm_sq": _number(first.features.own[k]) if first else None,
                "logit": _number(geometry.class_logits.own[k]) if first and geometry.class_logits is not None else None,
                "margin": _number(margins[k]) if margins is not None else None,
                "collapsed": collapsed[k],
                "merged_with": None if merged is None else merged[k],
                "decay_to_collapse": _number(geometry.decay_to_collapse[k])
                if geometry.decay_to_collapse is not None
                else None,
                "never_collapses": never[k],
                "decay_to_vanish": _number(vanish[k]) if vanish is not None else None,
            }
        )
    matrices = geometry.layers and geometry.tie is None and small
    of_targets = {} if geometry.problem.targets is None else {"directions": directions_json(geometry)}
    return {
        "claim": geometry.claim,
        "source": geometry.source,
        "note": geometry.note,
        "objective": _number(geometry.objective),
        "data_term": _number(geometry.data_term()),
        "duality_gap": _number(geometry.duality_gap),
        "attainable": geometry.problem.free_features,
        "scale_free": geometry.scale_free,
        "mean_rank": geometry.mean_rank,
        "metastable": metastable(geometry),
        "threshold": nearest_threshold(geometry),
        "classes": classes,
        "bias": geometry.bias.tolist() if geometry.bias is not None else None,
        "weight_gram": geometry.layers[0].weight_gram.tolist() if matrices else None,
        "feature_gram": geometry.layers[0].feature_gram.tolist() if matrices else None,
        "logits": geometry.logits.tolist() if matrices and geometry.logits is not None else None,
        "best_known": vars(geometry.best_known) if geometry.best_known is not None else None,
        "references": [vars(reference) for reference in geometry.references],
        **({} if geometry.lower_bound is None else {"lower_bound": geometry.lower_bound}),
        **of_targets,
    }


def never_collapses(geometry: Prediction) -> list[bool | None]:
    """Per class, whether it keeps its margin at any decay; None if its threshold was not searched or is not determined.
    It explains nulls in decay_to_collapse, because JSON has no infinity."""
    factors = geometry.decay_to_collapse
    if factors is None:
        return [None] * geometry.problem.num_classes
    return [None if math.isnan(factor) else math.isinf(factor) for factor in factors.tolist()]


def metastable(geometry: Prediction) -> list[int]:
    """Classes that are lost at the optimum while a local minimum that keeps them still exists."""
    vanish = geometry.decay_to_vanish
    if vanish is None:
        return []
    return [k for k, gone in enumerate(geometry.collapsed()) if gone and vanish[k] > 1]


def nearest_threshold(geometry: Prediction) -> str:
    """The decay at which the next class is lost or comes back, in words; "" if not known."""
    problem, factors, collapsed = geometry.problem, geometry.decay_to_collapse, geometry.collapsed()
    if factors is None or geometry.scale_free or problem.decay_mode == "parameters":
        return ""
    finite = np.isfinite(factors) & (factors > 0)
    gone = np.array([bool(c) for c in collapsed])
    alive = np.where(finite & ~gone, factors, np.inf)
    if not np.isinf(alive).all():
        which = np.flatnonzero(np.isclose(alive, alive.min(), rtol=1e-9))
        words = _classes(which, problem.num_classes, "is lost", "are lost")
        return f"{words} if {_decay_in_words(geometry, float(alive.min()), 'exceeds')}"
    back = np.where(finite & gone, factors, 0.0)
    if back.max() == 0:
        return ""
    which = np.flatnonzero(np.isclose(back, back.max(), rtol=1e-9))
    words = _classes(which, problem.num_classes, "stays lost", "stay lost")
    return f"{words} unless {_decay_in_words(geometry, float(back.max()), 'falls below')}"


def _classes(which: NDArray[np.int64], num_classes: int, one: str, many: str) -> str:
    """The classes with a verb, for one or for many of them."""
    if len(which) == num_classes:
        return f"all classes {many}"
    if len(which) == 1:
        return f"class {which[0]} {one}"
    names = ", ".join(map(str, which[:-1])) if len(which) <= 6 else f"{which[0]}, {which[1]}, .."
    return f"classes {names} and {which[-1]} {many}"


def _decay_in_words(geometry: Prediction, factor: float, verb: str) -> str:
    """Every margin depends only on the product of the M+1 decays: `factor` on all of them equals factor^((M+1)/M) on
    the weights' decays alone."""
    problem = geometry.problem
    depth = problem.depth
    if problem.bias and problem.bias_decay:
        change = f"grow {factor:.3g}" if factor >= 1 else f"shrink {1 / factor:.3g}"
        return f"all decays, including the bias', {change}-fold"
    decays = [_power_in_words(factor, (depth + 1) / depth, decay) for decay in problem.weight_decays]
    both = f"the product of all decays grows {_power_in_words(factor, depth + 1)}-fold"
    if factor < 1:
        both = f"the product of all decays shrinks {_power_in_words(factor, -(depth + 1))}-fold"
    if len(set(problem.weight_decays)) == 1:
        return f"weight decay {verb} {decays[0]} at this feature decay ({both})"
    return f"the layers' weight decays {'exceed' if verb == 'exceeds' else 'fall below'} {', '.join(decays)} ({both})"


def _power_in_words(base: float, exponent: float, times: float = 1.0) -> str:
    """times * base^exponent to three digits, also outside the range of floats."""
    digits = math.log10(base) * exponent + math.log10(times)
    if abs(digits) < 300:
        return f"{base**exponent * times:.3g}" if abs(math.log10(base) * exponent) < 300 else f"{10**digits:.3g}"
    whole = math.floor(digits)
    return f"{10 ** (digits - whole):.3g}e{whole:+03d}"


def as_line(geometry: Prediction) -> str:
    """The claim, its objective, and the number of lost classes; or the reason why nothing is predicted."""
    words: list[str] = [geometry.claim]
    if geometry.objective is not None:
        at = {"none": "a lower bound", "refuted": "at the claim", "open": "at the claim"}.get(
            geometry.claim, "at the optimum"
        )
        if geometry.claim == "open" and geometry.lower_bound is not None:
            at = f"at the lowest point found, {geometry.lower_bound:.6g} at least"
        words[0] += f", objective {geometry.objective:.6g} {at}"
    if geometry.best_known is not None:
        words.append(f"lower value known: {geometry.best_known.objective:.6g}")
    if geometry.layers and geometry.directions is None:
        words.append(_lost_in_words(geometry, geometry.collapsed()))
    elif geometry.note:
        words.append(geometry.note)
    return "; ".join(words)


def as_table(geometry: Prediction) -> str:
    """The text of a prediction: a row for each class, then the nearest threshold in words."""
    problem = geometry.problem
    bias = "last-layer bias" if problem.bias else "no bias"
    kind = "ReLU head" if problem.head == "relu" else f"{problem.head} head"
    sign = ", features >= 0" if problem.feature_sign == "nonnegative" else ""
    lines = [
        f"{_outputs(problem)}, {problem.num_samples:.0f} samples, {kind} of depth {problem.depth},"
        f" {described(problem)}, {bias}{sign}",
        f"decays: {_decays(geometry)}",
        f"claim: {geometry.claim} ({CLAIMS[geometry.claim]})",
    ]
    if geometry.source:
        lines.append(f"source: {geometry.source}")
    if geometry.note:
        lines.append(f"note: {geometry.note}")
    if geometry.objective is not None:
        kind = "claimed objective" if geometry.claim in ("refuted", "open") else "objective at the optimum"
        kind = "lower bound of the objective" if geometry.claim == "none" else kind
        kind = "lowest objective found" if geometry.claim == "open" and geometry.lower_bound is not None else kind
        gap = f" (duality gap {geometry.duality_gap:.1g})" if geometry.duality_gap is not None else ""
        lines.append(f"{kind}: {geometry.objective:.8g}{gap}")
    if geometry.claim == "open" and geometry.lower_bound is not None:
        lines.append(f"lower bound, proven: {geometry.lower_bound:.8g}")
    if geometry.best_known is not None:
        lines.append(f"lower value known: {geometry.best_known.objective:.8g} ({geometry.best_known.name})")
    for reference in geometry.references:
        if geometry.best_known is None or reference.name != geometry.best_known.name:
            value = f"{reference.objective:.8g}" if reference.objective is not None else "only a direction"
            lines.append(f"reference: {value} ({reference.name}; {reference.source})")
    if geometry.directions is not None:
        return "\n".join([*lines, "", *directions_table(geometry)])
    if not geometry.layers:
        return "\n".join(lines)
    lines += [
        "",
        f"{'class':>5} {'count':>7} {'|w|^2':>11} {'|h|^2':>11} {'logit':>9} {'margin':>9}  lost",
    ]
    margins, collapsed = geometry.margins(), geometry.collapsed()
    first = geometry.layers[0]
    for k, count in enumerate(problem.counts):
        if geometry.tie is not None:
            numbers = f"{'-':>11} {'-':>11} {'-':>9} {'-':>9}"
        else:
            assert geometry.class_logits is not None
            margin = f"{margins[k]:9.5f}" if margins is not None else f"{'-':>9}"
            w, h, z = first.weights.own[k], first.features.own[k], geometry.class_logits.own[k]
            numbers = f"{w:11.5g} {h:11.5g} {z:9.5f} {margin}"
        lines.append(f"{k:>5} {count:>7.0f} {numbers}  {_distance_in_words(geometry, k, collapsed[k])}")
    lines += ["", _summary(geometry, collapsed), *filter(None, [sharing_in_words(problem)])]
    return "\n".join(lines)


def _outputs(problem: Problem) -> str:
    return f"{problem.num_classes} classes" if problem.targets is None else problem.targets.words


def _decays(geometry: Prediction) -> str:
    problem = geometry.problem
    weights = ", ".join(f"{decay:g}" for decay in problem.weight_decays)
    if problem.decay_mode == "parameters":
        return f"{problem.weight_decays[0]:g} on all parameters"
    bias = f"; bias {problem.bias_decay:g}" if problem.bias_decay else ""
    return f"head {weights}; features {problem.feature_decay:g}{bias}"


def _distance_in_words(geometry: Prediction, k: int, collapsed: bool | None) -> str:
    if geometry.scale_free:
        return "never (limit of vanishing decay)"
    if collapsed is None:
        return "undetermined (tie at a bottleneck)"
    state = "LOST" if collapsed else "no"
    if geometry.decay_to_collapse is None:
        return state
    if math.isnan(geometry.decay_to_collapse[k]):
        return f"{state}; the threshold was not searched"
    factor = float(geometry.decay_to_collapse[k])
    vanish = geometry.decay_to_vanish
    if collapsed:
        if factor == 0:
            return "LOST (bottleneck)"
        remains = f" (a local minimum keeps it up to {vanish[k]:.3g} x)" if vanish is not None and vanish[k] > 1 else ""
        return f"LOST{remains}; kept below {factor:.3g} x these decays"
    if math.isinf(factor):
        return "never"
    local = f" (metastable to {vanish[k]:.3g} x)" if vanish is not None else ""
    return f"no; from {factor:.3g} x these decays{local}"


def _summary(geometry: Prediction, collapsed: list[bool | None]) -> str:
    start = _lost_in_words(geometry, collapsed)
    known = not geometry.scale_free and geometry.tie is None
    threshold = nearest_threshold(geometry) if known else ""
    return " ".join(f"{each[0].upper()}{each[1:]}." for each in (start, threshold) if each)


def _lost_in_words(geometry: Prediction, collapsed: list[bool | None]) -> str:
    if geometry.scale_free:
        return "relative norms only: the limit fixes shapes, not scales"
    if geometry.tie is not None:
        return "more classes of one count than the narrowest layer can hold: which of them are kept is not determined"
    count, K = sum(bool(c) for c in collapsed), geometry.problem.num_classes
    if count == K:
        return "all classes are lost: the optimum is zero"
    if count:
        return f"{count} of {K} classes {'is' if count == 1 else 'are'} lost (minority collapse)"
    return "no class is lost"


def _number(value: float | Array | None) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return float(value)
