"""Remedies for rare classes at given counts and decays: the class weights or the logit adjustment that give all classes
the same margin, and the imbalance from which on the rarest class is lost, with and without label smoothing.

Every number comes from proven or certified optima, for cross-entropy with one linear layer. Without a theorem for the
margins, or if too many programs would be needed, there is no answer.
"""

from dataclasses import dataclass, replace

import numpy as np

from ncrun.losses.options import balanced_weights
from ncrun.problem import Problem
from ncrun.theory import cross_entropy, relu_features, relu_features_bias
from ncrun.theory.prediction import Array, Prediction
from ncrun.theory.relu_features_bias import with_imbalance

# Classes up to which a program is solved in tenths of a second: an answer takes some fifty of them.
MOST_CLASSES, MOST_ADJUSTED, MOST_NONNEGATIVE = 100, 40, 12
SAME = 1e-5  # relative: margins are known to about 1e-6
MOST_STEPS = 40
LARGEST_ADJUSTMENT = 16.0
CLOSE = 1e-4  # relative, of an adjustment and of the power of the counts
SAMPLED = 4  # powers of the counts on both sides of a threshold that are tried
TYPICAL_SMOOTHING = 0.1  # the smoothing that is compared with a problem without smoothing
THEOREMS = (
    cross_entropy.ALL_ALIKE,
    cross_entropy.WITHOUT_BORDERS,
    relu_features.OPTIMUM,
    *relu_features_bias.THEOREMS,
)


class NotTold(Exception):
    """No theorem gives the margins of a problem that is needed for an answer."""


@dataclass(frozen=True)
class LossOfRarest:
    """With this label smoothing the rarest class is lost below `count` samples, an imbalance of n_min/n_max."""

    label_smoothing: float
    count: float
    imbalance: float


@dataclass(frozen=True)
class Remedies:
    """Optima, each with its problem; None if the option does not exist or is not known.

    as_it_is: of the problem itself. balanced: with scikit-learn's class weights N/(K n_k). weights: with weights that
    give all classes the same margin. adjustment: with the tau that gives the rarest and the most frequent class the
    same margin. rarest: where the rarest class is lost, with the problem's smoothing and with another one.
    """

    as_it_is: Prediction
    balanced: Prediction
    weights: Prediction | None
    adjustment: Prediction | None
    rarest: tuple[LossOfRarest, ...]


def may_help(problem: Problem) -> bool:
    """Whether remedies apply to this kind of problem."""
    return problem.loss == "ce" and problem.depth == 1 and not problem.is_balanced and _is_affordable(problem)


def remedies(problem: Problem) -> Remedies | None:
    """All remedies; None for equal counts, and if no theorem gives the margins."""
    if not may_help(problem):
        return None
    try:
        as_it_is = _optimum(problem)
        balanced = _optimum(replace(problem, class_weights=balanced_weights(problem.counts)))
    except NotTold:
        return None
    smoothings = (problem.label_smoothing, 0.0 if problem.label_smoothing else TYPICAL_SMOOTHING)
    rarest = (loss_of_rarest(replace(problem, label_smoothing=smoothing)) for smoothing in smoothings)
    weights, adjustment = weights_for_equal_margins(problem), adjustment_for_equal_margins(problem)
    return Remedies(as_it_is, balanced, weights, adjustment, tuple(filter(None, rarest)))


def weights_for_equal_margins(problem: Problem) -> Prediction | None:
    """The optimum with class weights, of mean 1 over the samples, for which all classes have the same positive margin.

    With features after a ReLU and no bias they are proportional to 1/sqrt n_k (docs/proofs.md); else they are found by
    Broyden's method on their logarithms, started there: a margin grows by about as much as the logarithm of its weight.
    """
    if not may_help(problem):
        return None
    counts = np.asarray(problem.counts, dtype=float)
    _, members, of_class = np.unique(counts, return_index=True, return_inverse=True)

    def weighted(logs: Array) -> Problem:
        weights = np.exp(logs - logs.max())[of_class]
        return replace(problem, class_weights=tuple((weights * counts.sum() / (weights @ counts)).tolist()))

    logs = -np.log(counts[members]) / 2
    inverse, step = np.eye(len(logs)), np.zeros_like(logs)
    residual = step
    for tried in range(MOST_STEPS):
        try:
            found = _optimum(weighted(logs))
        except NotTold:
            return None
        margins = _margins(found)
        if np.ptp(margins) <= SAME * margins.max():
            return found
        before, residual = residual, margins[members] - margins[members].mean()
        if tried:
            change = inverse @ (residual - before)
            inverse = inverse + np.outer(step - change, step @ inverse) / (step @ change)
        step = -inverse @ residual
        step = step * min(1.0, 1.0 / np.abs(step).max())
        logs = logs + step
    return None


def adjustment_for_equal_margins(problem: Problem) -> Prediction | None:
    """The optimum with the logit adjustment tau that gives the rarest and the most frequent class the same margin."""
    from scipy.optimize import brentq

    if not may_help(problem):
        return None
    rarest, frequent = int(np.argmin(problem.counts)), int(np.argmax(problem.counts))

    def lead(tau: float) -> float:
        """Margin of the rarest class minus that of the most frequent one."""
        margins = _margins(_optimum(replace(problem, logit_adjustment=tau)))
        return float(margins[rarest] - margins[frequent])

    try:
        if lead(0.0) >= 0:
            return None
        low, high = 0.0, 1.0
        while lead(high) < 0:
            low, high = high, 2 * high
            if high > LARGEST_ADJUSTMENT:
                return None
        found = _optimum(replace(problem, logit_adjustment=float(brentq(lead, low, high, rtol=CLOSE))))
    except NotTold:
        return None
    return None if found.collapsed()[rarest] else found


def loss_of_rarest(problem: Problem) -> LossOfRarest | None:
    """The count at which the rarest class is lost as counts become more unequal at the same N.

    Counts follow with_imbalance, from equal ones to one sample in the rarest class; class weights do not change. None
    if it always has a margin, or has none even with equal counts.
    """
    if not may_help(problem):
        return None
    rarest = int(np.argmin(problem.counts))

    def least(power: float) -> float:
        return min(with_imbalance(problem, power).counts)

    def is_lost(power: float) -> bool:
        return bool(_optimum(with_imbalance(problem, power)).collapsed()[rarest])

    low, high = 0.0, 1.0
    while least(high) > 1:
        high *= 2
    try:
        if is_lost(low) or not is_lost(high):
            return None
        last = high
        while high - low > CLOSE * high:
            middle = (low + high) / 2
            low, high = (low, middle) if is_lost(middle) else (middle, high)
        # With class weights or adjustment a class may be lost and come back; then there is no single threshold.
        before, after = np.linspace(0, low, SAMPLED + 2)[1:-1], np.linspace(high, last, SAMPLED + 2)[1:-1]
        if any(map(is_lost, before)) or not all(map(is_lost, after)):
            return None
    except NotTold:
        return None
    count = least(high)
    if count < 1:
        return None
    return LossOfRarest(problem.label_smoothing, count, count / max(with_imbalance(problem, high).counts))


def _is_affordable(problem: Problem) -> bool:
    if problem.feature_sign == "nonnegative":
        return relu_features.OPTIMUM.covers(problem) or problem.num_classes <= MOST_NONNEGATIVE
    slow = problem.logit_adjustment and not problem.bias
    return problem.num_classes <= (MOST_ADJUSTED if slow else MOST_CLASSES)


def _margins(optimum: Prediction) -> Array:
    margins = optimum.margins()
    assert margins is not None
    return margins


def _optimum(problem: Problem) -> Prediction:
    """Only the margins of a prediction. Raises NotTold if they are not proven or certified."""
    for theorem in THEOREMS:
        if theorem.covers(problem) and _is_affordable(problem):
            found = theorem.predict(problem)
            if found.claim in ("proven", "certified") and found.determined:
                return found
    raise NotTold
