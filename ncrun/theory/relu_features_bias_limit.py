"""Plain weight decay, one linear layer with a bias on non-negative features: the limit at vanishing decay.

Squared loss: the labels interpolated at the least norm (least_norm.py). Cross-entropy: all margins at least one at the
least norm, which is the same if every multiplier of a margin is positive. This held in all tried problems, and is
checked in each. Derivation: docs/proofs.md.
"""

import numpy as np

from ncrun.losses import LOSSES
from ncrun.problem import Problem
from ncrun.theory.convex_problem import ConvexProblem
from ncrun.theory.gauge_program import GaugeSolution
from ncrun.theory.least_norm import is_found, least_norm
from ncrun.theory.prediction import Array, Prediction
from ncrun.theory.relu_features_bias import MOST_CLASSES, NEARLY, is_unique, shaped
from ncrun.theory.theorem import (
    BIAS,
    NONNEGATIVE,
    ONE_LAYER,
    PLAIN_LOSS,
    UNDECAYED_BIAS,
    Theorem,
    at_vanishing_decay,
    kind_with_options,
)

SOURCE = "least norm over non-negative features, solved with a duality gap: docs/proofs.md"
NOTE = "plain weight decay has no exact theorem: the target is the limit at vanishing decay, up to scale"


def _limit(problem: Problem) -> Prediction:
    counts = np.asarray(problem.counts, dtype=float)
    few = len(counts) <= MOST_CLASSES
    solution = least_norm(counts, with_sharing=few)
    missing = _missing(problem, solution, counts, few)
    if missing:
        return Prediction(problem, "none", "", note=f"the limit of vanishing decay, features after a ReLU: {missing}")
    note = NOTE + at_vanishing_decay(problem)
    return shaped(Prediction(problem, "transferred", SOURCE, scale_free=True, note=note), solution, 1.0)


def _missing(problem: Problem, solution: GaugeSolution, counts: Array, few: bool) -> str:
    """The reason why the solution is not a target, or ""."""
    if not is_found(solution):
        return (
            "not found" if few else f"rare classes share directions, which is computed for up to {MOST_CLASSES} classes"
        )
    needed = len(solution.atoms.directions)
    if needed > problem.widths[0]:
        return f"it needs {needed} features"
    if not is_unique(ConvexProblem(LOSSES["mse"], counts, 1.0, True), solution):
        return "it is not unique"
    multipliers = (solution.slopes * np.sqrt(counts))[~np.eye(len(counts), dtype=bool)]
    # Smoothed labels are interpolated, too: margins are equal then in any case.
    if problem.loss == "ce" and not problem.label_smoothing and multipliers.min() <= NEARLY * multipliers.max():
        return "not all margins are known to become equal"
    return ""


WHERE = (ONE_LAYER, BIAS, UNDECAYED_BIAS)
CE, MSE = (kind_with_options(loss, "linear", "parameters", NONNEGATIVE) for loss in ("ce", "mse"))
THEOREMS = (
    Theorem("relu-features-bias-limit-ce", (*CE, *WHERE), _limit),
    Theorem("relu-features-bias-limit-mse", (*MSE, *WHERE, PLAIN_LOSS), _limit),
)
