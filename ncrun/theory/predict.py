"""From a problem to its predicted optimum: every theorem is asked, and the one that covers the problem answers."""

from dataclasses import replace

import numpy as np

from ncrun.problem import Problem
from ncrun.registry import Registry
from ncrun.theory import (
    any_targets,
    cross_entropy,
    decayed_bias,
    relu_features,
    relu_features_bias,
    relu_features_bias_limit,
    relu_head,
    seli,
    squared_loss,
)
from ncrun.theory.prediction import Array, Prediction
from ncrun.theory.theorem import Theorem, uncovered

THEOREMS: Registry[Theorem] = Registry(
    "theorem",
    (
        *squared_loss.THEOREMS,
        *decayed_bias.THEOREMS,
        *any_targets.THEOREMS,
        *cross_entropy.THEOREMS,
        *seli.THEOREMS,
        *relu_features.THEOREMS,
        *relu_features_bias.THEOREMS,
        *relu_features_bias_limit.THEOREMS,
        *relu_head.THEOREMS,
    ),
)


def predict(problem: Problem) -> Prediction:
    """The optimum that theory predicts for a problem; claim "none", with the reason as its note, if no theorem covers
    it.

    The claim is also "none" if the numbers leave the range of floats. Raises AssertionError if two theorems cover the
    problem: then the conditions of one of them are wrong.
    """
    answering = [theorem for theorem in THEOREMS if theorem.covers(problem)]
    if not answering:
        return uncovered(problem, THEOREMS)
    if len(answering) > 1:
        raise AssertionError(f"theorems {', '.join(theorem.key for theorem in answering)} all cover {problem}")
    geometry = _in_floats(answering[0], problem)
    if geometry.is_lower_bound and not problem.free_features:
        note = (
            "the features are a linear function of the inputs: the optimum is a lower bound that this model cannot"
            " attain"
        )
        return replace(geometry, note=note)
    return geometry


def _in_floats(theorem: Theorem, problem: Problem) -> Prediction:
    """The theorem's prediction, or claim "none" if one of its numbers is outside the range of floats."""
    try:
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # the results are checked below
            geometry = theorem.predict(problem)
    except (ArithmeticError, np.linalg.LinAlgError) as error:
        return _beyond_floats(theorem, problem, str(error))
    powers = geometry.directions.weight_powers + geometry.directions.feature_powers if geometry.directions else ()
    logits = geometry.class_logits
    matrices = [("a Gram matrix of the classifier", layer.weights) for layer in geometry.layers]
    matrices += [("a Gram matrix of the class means", layer.features) for layer in geometry.layers]
    matrices += [] if logits is None else [("the logits", logits)]
    named: list[tuple[str, Array | float | None]] = [
        ("the objective", geometry.objective),
        ("the bias", geometry.bias),
        *((name, matrix.off) for name, matrix in matrices),
        *((name, matrix.own) for name, matrix in matrices),
        *(("a squared singular value", each) for each in powers),
    ]
    for name, value in named:
        if value is not None and not np.isfinite(value).all():
            return _beyond_floats(theorem, problem, f"{name} overflows")
    smallest = np.finfo(float).tiny
    if geometry.objective is not None and geometry.objective < smallest:
        return _beyond_floats(theorem, problem, "the objective underflows")
    for layer in geometry.layers if logits is not None and (logits.off.any() or logits.own.any()) else ():
        if min(layer.weights.own.sum(), layer.features.own.sum()) < smallest:
            return _beyond_floats(theorem, problem, "a Gram matrix underflows")
    return geometry


def _beyond_floats(theorem: Theorem, problem: Problem, reason: str) -> Prediction:
    note = f"{theorem.key} covers these decays, but its numbers are outside the range of floats: {reason}"
    return Prediction(problem, "none", "", note=note)
