"""Problems that many tests of theory pose, and how they compare what is predicted."""

from dataclasses import replace

import numpy as np
from free_feature_problems import random_setting
from free_features import Array

from ncrun.theory import Prediction, Problem


def make(counts: tuple[float, ...], depth: int, decay: float, bias: bool = False, **changes: object) -> Problem:
    """All decays equal and layers wider than the number of classes, unless told otherwise."""
    wide = (len(counts) + 2,) * depth
    problem = Problem("mse", tuple(map(float, counts)), wide, bias, (decay,) * depth, decay)
    return replace(problem, **changes)  # type: ignore[arg-type]


def times(problem: Problem, factor: float) -> Problem:
    """The same with all decays multiplied."""
    assert problem.feature_decay is not None
    weight_decays = tuple(factor * decay for decay in problem.weight_decays)
    return replace(problem, weight_decays=weight_decays, feature_decay=factor * problem.feature_decay)


def assert_printed(values: Array | float | None, printed: str) -> None:
    """Agreement to the last printed digit: the golden values are rounded there."""
    words = printed.split()
    computed = np.atleast_1d(np.asarray(values, dtype=float))
    assert len(computed) == len(words)
    for value, word in zip(computed, words, strict=True):
        half_a_digit = 0.51 * 10.0 ** -len(word.partition(".")[2])
        assert abs(value - float(word)) <= half_a_digit, (value, word)


def assert_shape(matrix: Array, target: Array, tolerance: float = 1e-12) -> None:
    """Equal up to a positive factor. The default tolerance leaves room for rounding only."""
    distance = np.linalg.norm(matrix / np.linalg.norm(matrix) - target / np.linalg.norm(target))
    assert distance <= tolerance


def weight_norms(prediction: Prediction) -> Array:
    return np.diag(prediction.layers[0].weight_gram)


def feature_norms(prediction: Prediction) -> Array:
    return np.diag(prediction.layers[0].feature_gram)


def simplex(K: int) -> Array:
    return np.eye(K) - np.ones((K, K)) / K


def random_settings(count: int, seed: int) -> list[Problem]:
    rng = np.random.default_rng(seed)
    return [random_setting(rng) for _ in range(count)]


def free(loss: str, counts: list[float], decay: float | tuple[float, float], depth: int = 1, **more: object) -> Problem:
    """Wide free features; decay: one for all, or (weights, features)."""
    weight, feature = decay if isinstance(decay, tuple) else (decay, decay)
    fields: dict[str, object] = {"widths": (64,) * depth, "bias": False} | more
    return Problem(loss=loss, counts=tuple(counts), weight_decays=(weight,) * depth, feature_decay=feature, **fields)  # type: ignore[arg-type]
