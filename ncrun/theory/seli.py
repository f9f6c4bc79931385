"""Simplex-encoded-labels interpolation: the direction of cross-entropy with one bias-free linear layer as decay
vanishes.

Source: Thrampoulidis et al. 2022 (arXiv 2208.05512), for step imbalance. It is only a direction, and is approached
logarithmically slowly: never a target at finite decay.
"""

from dataclasses import dataclass

import numpy as np

from ncrun.problem import Problem
from ncrun.theory.prediction import Array, Prediction, Reference
from ncrun.theory.spectra import full_svd
from ncrun.theory.theorem import (
    FREE,
    NO_BIAS,
    NOT_SMOOTHED,
    ONE_LAYER,
    UNDECAYED_BIAS,
    WIDE_FOR_SIMPLEX,
    Condition,
    Theorem,
    at_vanishing_decay,
    kind_with_options,
)

SOURCE = "Thrampoulidis et al. 2022"


@dataclass(frozen=True)
class Seli:
    """Shapes up to scale, all (K, K): W W^T, Gram matrix of the class means, and their product."""

    weight_gram: Array
    feature_gram: Array
    logits: Array


def seli(counts: Array) -> Seli:
    """From the singular value decomposition of the encoded labels (I - 11^T/K) D. counts: (K,)."""
    root = np.sqrt(np.asarray(counts, dtype=float))
    encoded = np.eye(len(root)) - 1 / len(root)
    left, values, right_t = full_svd(encoded * root)
    left, values, per_sample = left[:, :-1], values[:-1], (right_t[:-1] / root).T
    return Seli((left * values) @ left.T, (per_sample * values) @ per_sample.T, encoded)


TWO_SIZES = Condition("two class counts", lambda problem: len(set(problem.counts)) == 2)
# Besides the kind of problem (cross-entropy, a linear head, free features).
WHERE_IT_IS_THE_LIMIT = (ONE_LAYER, NO_BIAS, TWO_SIZES, WIDE_FOR_SIMPLEX, NOT_SMOOTHED, UNDECAYED_BIAS)


def seli_reference(problem: Problem) -> tuple[Reference, ...]:
    """SELI, if it is the limit, for cross-entropy with a linear head on free features."""
    if not all(condition.holds(problem) for condition in WHERE_IT_IS_THE_LIMIT):
        return ()
    return (Reference("SELI, the direction as decay vanishes", None, SOURCE, "limit"),)


def _direction(problem: Problem) -> Prediction:
    note = "plain weight decay with unequal class counts: only a direction is known, not a target"
    note += at_vanishing_decay(problem)
    return Prediction(problem, "none", "", references=seli_reference(problem), note=note)


THEOREMS = (
    Theorem(
        "seli",
        (*kind_with_options("ce", "linear", "parameters", FREE), *WHERE_IT_IS_THE_LIMIT),
        _direction,
        bound_only=True,
    ),
)
