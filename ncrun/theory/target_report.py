"""The prediction for targets along each direction: as JSON for programs and as a table for people."""

import math
from typing import Any

from ncrun.theory.directions import Directions
from ncrun.theory.prediction import Prediction

MOST_ROWS = 50


def directions_json(geometry: Prediction) -> list[dict[str, Any]] | None:
    """An entry for each principal direction of the targets, the strongest first; None where nothing is determined.

    axis: (q,), of length 1. deviation: of the targets along it. kept: the share of it that the outputs have.
    weight_norm_sq: the squared singular value of the classifier W_M..W_1 along it, feature_norm_sq: that of the
    features, over all samples. If only a shape is predicted, these two are ratios.
    """
    found = geometry.directions
    if found is None:
        return None
    N, vanish = geometry.problem.num_samples, found.decay_to_vanish
    return [
        {
            "axis": found.axes[:, i].tolist(),
            "deviation": float(found.values[i]) / math.sqrt(N),
            "kept": float(found.kept[i]),
            "weight_norm_sq": float(found.weight_powers[0][i]),
            "feature_norm_sq": float(found.feature_powers[0][i]),
            "lost": bool(found.kept[i] == 0),
            "decay_to_collapse": _finite(found.decay_to_collapse[i]),
            "decay_to_vanish": None if vanish is None else _finite(vanish[i]),
        }
        for i in range(len(found.values))
    ]


def directions_table(geometry: Prediction) -> list[str]:
    """Lines: a row for each direction, then the lost directions in words."""
    found, scale_free = geometry.directions, geometry.scale_free
    assert found is not None
    shares = found.values**2 / (found.values**2).sum()
    lines = [f"{'direction':>9} {'share':>9} {'kept':>9} {'|w|^2':>11} {'|H|^2':>11}  lost"]
    for i in range(min(len(shares), MOST_ROWS)):
        numbers = f"{shares[i]:9.2%} {found.kept[i]:9.5f} {found.weight_powers[0][i]:11.5g}"
        lines.append(f"{i:>9} {numbers} {found.feature_powers[0][i]:11.5g}  {_lost(found, i, scale_free)}")
    if len(shares) > MOST_ROWS:
        lines.append(f"{'..':>9} and {len(shares) - MOST_ROWS} more")
    return [*lines, "", _summary(found, scale_free, "variance" if geometry.problem.bias else "squares")]


def _lost(found: Directions, i: int, scale_free: bool) -> str:
    if found.decay_to_collapse[i] == 0:
        return "LOST (bottleneck)"
    if scale_free:
        return "never (limit of vanishing decay)"
    factor, vanish = found.decay_to_collapse[i], found.decay_to_vanish
    if found.kept[i] == 0:
        remains = f" (a local minimum keeps it up to {vanish[i]:.3g} x)" if vanish is not None and vanish[i] > 1 else ""
        return f"LOST{remains}; kept below {factor:.3g} x these decays"
    local = f" (metastable to {vanish[i]:.3g} x)" if vanish is not None else ""
    return f"no; from {factor:.3g} x these decays{local}"


def _summary(found: Directions, scale_free: bool, what: str) -> str:
    if scale_free:
        return "Relative norms only: the limit fixes shapes, not scales."
    total = (found.values**2).sum()
    explained = 1 - found.squared_error() / total
    lost = int((found.kept == 0).sum())
    words = "no direction of the targets is lost"
    if lost == len(found.kept):
        words = "all directions are lost: the optimum is zero"
    elif lost:
        words = f"{lost} of {len(found.kept)} directions {'is' if lost == 1 else 'are'} lost"
    return f"The outputs explain {explained:.4%} of the targets' {what}; {words}."


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
