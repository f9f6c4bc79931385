"""Cross-entropy between a proven lower bound and the lowest point found: deep heads on unequal counts, narrow heads."""

from dataclasses import replace

import numpy as np
import pytest
from free_features import Instance

from ncrun.theory import Problem, predict
from ncrun.theory.convex_problem import ConvexProblem
from ncrun.theory.prediction import Array
from ncrun.theory.products import mean_decay
from ncrun.theory.schatten_bound import LowerBound

THREE = Problem("ce", (50.0, 20.0, 5.0), (4, 4), True, (1e-3, 2e-3), 5e-4)
CASES = {
    "three classes": THREE,
    "no bias, three layers": replace(THREE, bias=False, widths=(4,) * 3, weight_decays=(1e-3, 2e-3, 1e-3)),
    "smoothed, weighted": replace(THREE, label_smoothing=0.1, class_weights=(1.0, 1.0, 3.0)),
    "narrow": Problem("ce", (20.0,) * 5, (2, 6), True, (1e-3,) * 2, 1e-3),
    "one narrow layer": Problem("ce", (40.0, 20.0, 20.0, 5.0), (2,), False, (1e-3,), 1e-3),
}


@pytest.mark.parametrize("problem", CASES.values(), ids=CASES.keys())
def test_independent_searches_end_between_the_two_values(problem: Problem) -> None:
    """L-BFGS on all layers and features from random starts. None is below the bound; the best of eight is not below the
    point found, by more than 1e-6, and not above it where it started there."""
    found = predict(problem)
    assert found.claim == "open"
    assert found.objective is not None
    assert found.lower_bound is not None
    rng = np.random.default_rng(0)
    values = [each.value for each in Instance.of(problem, rng).search(rng, found.logits)]
    assert found.lower_bound < min(values)
    assert min(values) >= found.objective * (1 - 1e-6)
    assert min(values) <= found.objective * (1 + 1e-3)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("depth", [2, 4])
def test_two_classes_are_certified_at_every_depth(depth: int, bias: bool) -> None:
    """Their logits have one singular value, where the bound loses nothing. 1e-8: L-BFGS from random starts."""
    problem = Problem("ce", (50.0, 5.0), (3,) * depth, bias, (1e-3,) * depth, 2e-3)
    found = predict(problem)
    assert found.claim == "certified"
    rng = np.random.default_rng(0)
    values = [each.value for each in Instance.of(problem, rng).search(rng)]
    assert found.objective == pytest.approx(min(values), rel=1e-8)


def test_the_bound_of_one_layer_is_the_certified_optimum() -> None:
    """q = 1: the broken line touches the data term at the very strength. 1e-9: the convex programs' own gaps."""
    problem = replace(THREE, widths=(4,), weight_decays=(1e-3,))
    bound = LowerBound(ConvexProblem.of(problem), mean_decay(problem), 1.0)
    bound.solve()
    assert bound.value(10.0) == pytest.approx(predict(problem).objective, rel=1e-9)


def value(problem: Problem, X: Array, bias: Array) -> float:
    """The objective in the logits, written down afresh."""
    counts, M = np.array(problem.counts), problem.depth
    scores = X / np.sqrt(counts) + bias[:, None]
    losses = np.log(np.exp(scores).sum(axis=0)) - np.diag(scores)
    penalty = (M + 1) / 2 * mean_decay(problem) * (np.linalg.svd(X, compute_uv=False) ** (2 / (M + 1))).sum()
    return float(counts @ losses / counts.sum() + penalty)


@pytest.mark.parametrize("strength", [1e-4, 1e-3, 1e-2, 0.1])
def test_no_logits_are_below_the_bound(strength: float) -> None:
    """Of any size and rank; and the point found is what its matrices say."""
    problem = replace(THREE, weight_decays=(strength,) * 2, feature_decay=strength)
    found = predict(problem)
    below = found.lower_bound if found.claim == "open" else found.objective
    assert below is not None
    rng = np.random.default_rng(0)
    for _ in range(300):
        rank = int(rng.integers(1, 4))
        X = np.exp(rng.uniform(-3, 4)) * rng.standard_normal((3, rank)) @ rng.standard_normal((rank, 3))
        assert value(problem, X, rng.standard_normal(3)) > below
    if found.logits is not None:
        assert found.bias is not None
        again = value(problem, found.logits * np.sqrt(problem.counts), found.bias)
        assert again == pytest.approx(found.objective, rel=1e-9)
