"""A prediction as JSON for programs and as a table for people."""

import math
from typing import Any

import numpy as np

from ncrun.theory.geometry import CLAIMS, Array, Geometry
from ncrun.theory.squared_loss import existence_border, global_border


def as_json(geometry: Geometry) -> dict[str, Any]:
    """What `ncrun theory --json` prints and `theory.json` holds: plain numbers, null where nothing is determined."""
    classes = []
    margins = geometry.margins()
    collapsed, merged = geometry.collapsed(), geometry.merged_with()
    first = geometry.layers[0] if geometry.determined else None
    for k, count in enumerate(geometry.setting.counts):
        classes.append(
            {
                "count": int(count),
                "weight_norm_sq": _number(first.weight_gram[k, k]) if first else None,
                "feature_norm_sq": _number(first.feature_gram[k, k]) if first else None,
                "logit": _number(geometry.logits[k, k]) if first and geometry.logits is not None else None,
                "margin": _number(margins[k]) if margins is not None else None,
                "collapsed": collapsed[k],
                "merged_with": merged[k],
                "decay_to_collapse": _number(geometry.decay_to_collapse[k])
                if geometry.decay_to_collapse is not None
                else None,
            }
        )
    matrices = geometry.layers and geometry.tie is None
    return {
        "claim": geometry.claim,
        "source": geometry.source,
        "note": geometry.note,
        "objective": _number(geometry.objective),
        "attainable": geometry.setting.free_features,
        "scale_free": geometry.scale_free,
        "mean_rank": geometry.mean_rank,
        "classes": classes,
        "bias": geometry.bias.tolist() if geometry.bias is not None else None,
        "weight_gram": geometry.layers[0].weight_gram.tolist() if matrices else None,
        "feature_gram": geometry.layers[0].feature_gram.tolist() if matrices else None,
        "logits": geometry.logits.tolist() if matrices and geometry.logits is not None else None,
        "best_known": None,
        "references": [],
    }


def as_table(geometry: Geometry) -> str:
    """The same for people: class by class, then the nearest threshold in plain words."""
    setting = geometry.setting
    total = sum(setting.counts)
    bias = "last-layer bias" if setting.bias else "no bias"
    head = f"{setting.num_classes} classes, {total:.0f} samples, head depth {setting.depth}, {setting.loss}, {bias}"
    lines = [head, f"decays: {_decays(geometry)}", f"claim: {geometry.claim} ({CLAIMS[geometry.claim]})"]
    if geometry.source:
        lines.append(f"source: {geometry.source}")
    if geometry.note:
        lines.append(f"note: {geometry.note}")
    if geometry.objective is not None:
        lines.append(f"objective at the optimum: {geometry.objective:.8g}")
    if not geometry.layers:
        return "\n".join(lines)
    lines += [
        "",
        f"{'class':>5} {'count':>7} {'|w|^2':>11} {'|h|^2':>11} {'logit':>9} {'margin':>9}  collapse",
    ]
    margins, collapsed = geometry.margins(), geometry.collapsed()
    first = geometry.layers[0]
    for k, count in enumerate(setting.counts):
        if geometry.tie is not None:
            numbers = f"{'-':>11} {'-':>11} {'-':>9} {'-':>9}"
        else:
            assert geometry.logits is not None
            margin = f"{margins[k]:9.5f}" if margins is not None else f"{'-':>9}"
            w, h, z = first.weight_gram[k, k], first.feature_gram[k, k], geometry.logits[k, k]
            numbers = f"{w:11.5g} {h:11.5g} {z:9.5f} {margin}"
        lines.append(f"{k:>5} {count:>7.0f} {numbers}  {_distance_in_words(geometry, k, collapsed[k])}")
    lines += ["", _nearest_in_words(geometry, collapsed)]
    return "\n".join(lines)


def _decays(geometry: Geometry) -> str:
    setting = geometry.setting
    weights = ", ".join(f"{decay:g}" for decay in setting.weight_decays)
    if setting.decay_mode == "parameters":
        return f"{setting.weight_decays[0]:g} on all parameters"
    return f"head {weights}; features {setting.feature_decay:g}"


def _distance_in_words(geometry: Geometry, k: int, collapsed: bool | None) -> str:
    if geometry.scale_free:
        return "never (limit of vanishing decay)"
    if collapsed is None:
        return "undetermined (tie at a bottleneck)"
    if geometry.decay_to_collapse is None:
        return "COLLAPSED"
    factor = float(geometry.decay_to_collapse[k])
    if collapsed:
        if factor == 0:
            return "COLLAPSED (bottleneck)"
        # Between the two borders a run may stay at a nonzero local minimum. (With a bias directions are not classes.)
        depth = geometry.setting.depth
        metastable = not geometry.setting.bias and factor > global_border(depth) / existence_border(depth)
        remains = " (a local minimum that is not zero remains)" if metastable else ""
        return f"COLLAPSED{remains}; not below {factor:.3g} x these decays"
    return "never" if math.isinf(factor) else f"no; from {factor:.3g} x these decays"


def _nearest_in_words(geometry: Geometry, collapsed: list[bool | None]) -> str:
    if geometry.scale_free:
        return "Relative norms only: the limit fixes shapes, not scales."
    count = sum(bool(c) for c in collapsed)
    if count == geometry.setting.num_classes:
        return "All classes collapse: the optimum is zero."
    if geometry.decay_to_collapse is None:
        return "More classes of one size than the narrowest layer can hold: which of them survive is not determined."
    alive = np.array([np.inf if c else f for c, f in zip(collapsed, geometry.decay_to_collapse, strict=True)])
    k = int(np.argmin(alive))
    start = f"{count} of {geometry.setting.num_classes} classes collapse." if count else "No class collapses."
    if np.isinf(alive[k]):
        return start
    return f"{start} Next: class {k} ({geometry.setting.counts[k]:.0f} samples), if all decays grow by {alive[k]:.3g}."


def _number(value: float | Array | None) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return float(value)
