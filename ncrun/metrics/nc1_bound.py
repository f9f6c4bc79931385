"""A bound on NC1 at the input of the last layer, which plain weight decay makes small; proof in docs/proofs.md.

Idea: Jacot, Sukenik, Wang and Mondelli 2024 (arXiv 2410.04887), Theorem 3.1, whose constants differ.
"""

import math
from typing import TYPE_CHECKING

from ncrun.metrics.metric import Metric

if TYPE_CHECKING:
    from ncrun.metrics.measured import Measured

BOUNDS = (
    "`decay.mode=parameters` with a head of M >= 2 linear layers: upper bounds on `head.M.nc1` and `head.M.nc1_trace`,"
    " NC1 at the input of the last layer, computed from the spread of the logits within classes and the imbalance of"
    " the last two layers (docs/proofs.md)"
)


def nc1_bound(measured: "Measured") -> float | None:
    """Bound on tr(Sigma_W pinv(Sigma_B)) / K, which is at most tr(Sigma_W) / K over the smallest eigenvalue of
    Sigma_B."""
    directions = measured.scan.directions[-1]
    if not directions.rank:
        return None
    return _finite(measured.largest_spread / measured.num_samples / measured.num_classes / float(directions.values[-1]))


def nc1_trace_bound(measured: "Measured") -> float | None:
    """Bound on tr(Sigma_W) / tr(Sigma_B)."""
    directions = measured.scan.directions[-1]
    return _finite(measured.largest_spread / measured.num_samples / directions.trace) if directions.rank else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def has_bound(measured: "Measured") -> bool:
    """Whether the run has plain weight decay and a head of two or more linear layers."""
    problem = measured.target.problem
    return problem.decay_mode == "parameters" and problem.depth > 1 and not measured.head.relu


NC1_BOUNDS = (
    Metric(
        "nc1_bound",
        "proven bound on NC1 before the last layer",
        r"bound on $\mathrm{NC1}$",
        BOUNDS,
        nc1_bound,
        applies=has_bound,
    ),
    Metric(
        "nc1_trace_bound",
        "proven bound on within-class over between-class variance before the last layer",
        r"bound on $\mathrm{tr}\,\Sigma_W / \mathrm{tr}\,\Sigma_B$",
        BOUNDS,
        nc1_trace_bound,
        applies=has_bound,
    ),
)
