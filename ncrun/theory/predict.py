"""From a problem to its predicted optimum: every theorem is asked, and the one that covers the problem answers."""

from dataclasses import replace

from ncrun.problem import Problem
from ncrun.registry import Registry
from ncrun.theory import cross_entropy, relu_features, relu_head, seli, squared_loss
from ncrun.theory.prediction import Prediction
from ncrun.theory.theorem import Theorem, uncovered

THEOREMS: Registry[Theorem] = Registry(
    "theorem",
    (
        *squared_loss.THEOREMS,
        *cross_entropy.THEOREMS,
        *seli.THEOREMS,
        *relu_features.THEOREMS,
        *relu_head.THEOREMS,
    ),
)


def predict(problem: Problem) -> Prediction:
    """The optimum that theory predicts for a problem; claim "none", with the reason as its note, where no theorem
    covers it.

    Raises AssertionError if two theorems cover it: then the conditions of one of them are wrong.
    """
    answering = [theorem for theorem in THEOREMS if theorem.covers(problem)]
    if not answering:
        return uncovered(problem, THEOREMS)
    if len(answering) > 1:
        raise AssertionError(f"theorems {', '.join(theorem.key for theorem in answering)} all cover {problem}")
    geometry = answering[0].predict(problem)
    if geometry.is_lower_bound and not problem.free_features:
        note = (
            "the features are a linear image of the inputs: the optimum is a lower bound that this model cannot attain"
        )
        return replace(geometry, note=note)
    return geometry
