"""What has the lowest value known where a claim is refuted: its matrices' objective, and what none can undercut."""

import math

import numpy as np
import pytest
from posed import free
from scipy.optimize import minimize_scalar

from ncrun.theory import Problem, predict
from ncrun.theory.lowest_known import Configuration, lower_bound, lowest_known

CROSS_ENTROPY = [
    free("ce", [60] * 10, 5e-4, 3, bias=True),  # points in three dimensions
    free("ce", [20] * 5, 1e-3, 2),  # pairs, and a class that is coupled to them
    free("ce", [20] * 5, 1e-3, 3),  # a circle
    free("ce", [20] * 6, (2e-3, 1e-3), 2),  # pairs
    free("ce", [20] * 7, 1e-4, 4, bias=True),  # a circle, and a class that is left to the bias
]
RELU_HEADS = [
    free("mse", [10] * 10, 4e-3, 4, head="relu"),
    free("mse", [50] * 7, (4e-3, 1e-3), 3, head="relu"),  # blocks of two families
    free("mse", [50] * 3, 4e-3, 5, head="relu"),
]


def penalty(problem: Problem, found: Configuration) -> float:
    """Of M + 1 factors with equal shares, from the features' Gram matrix of one layer, or the last weights'."""
    if problem.head == "relu":
        share = problem.weight_decays[-1] / 2 * float(np.trace(found.weight_gram))
    else:
        assert problem.feature_decay is not None
        share = problem.feature_decay / 2 * problem.counts[0] * float(np.trace(found.feature_gram))
    return (problem.depth + 1) * share


@pytest.mark.parametrize("problem", CROSS_ENTROPY + RELU_HEADS, ids=str)
def test_its_matrices_have_its_value(problem: Problem) -> None:
    """To the rounding of a hundred operations, and of singular values left out as zero."""
    best, found = predict(problem).best_known, lowest_known(problem)
    assert best is not None
    assert best.objective is not None
    assert found is not None
    K = problem.num_classes
    if problem.loss == "ce":
        scores = found.logits + found.bias[:, None]
        data = float(np.mean(np.log(np.exp(scores).sum(axis=0)) - np.diag(scores)))
    else:
        data = float(np.sum((found.logits - np.eye(K)) ** 2)) / (2 * K)
    assert data + penalty(problem, found) == pytest.approx(best.objective, rel=1e-9)
    # W^T W, H H^T and W H are of one pair of factors: what the logits can be is bounded by the Gram matrices.
    product = np.linalg.norm(found.logits, "nuc")
    roots = [math.sqrt(float(np.trace(each))) for each in (found.weight_gram, found.feature_gram)]
    assert product <= roots[0] * roots[1] * (1 + 1e-9)
    bound = lower_bound(problem, best.objective)
    assert bound is not None
    assert 0 < bound < best.objective


@pytest.mark.parametrize("problem", RELU_HEADS, ids=str)
def test_bound_of_a_relu_head_is_the_least_of_its_scalar_problem(problem: Problem) -> None:
    """docs/proofs.md, section 3; outputs of the norm a sqrt(N)."""
    assert problem.feature_decay is not None
    M, N = problem.depth, problem.num_samples
    product = problem.feature_decay * math.prod(problem.weight_decays)

    def value(a: float) -> float:
        return (1 - a) ** 2 / 2 + (M + 1) / 2 * (product * a**2 * N) ** (1 / (M + 1))

    found = minimize_scalar(value, bounds=(0.3, 1), method="bounded", options={"xatol": 1e-10})
    assert lower_bound(problem, 1.0) == pytest.approx(min(found.fun, value(0.0)), rel=1e-9)


@pytest.mark.parametrize(
    "problem",
    [
        free("ce", [20] * 5, 1e-3, 1, bias=True),
        free("ce", [20, 10, 10], 1e-3, 2),
        free("mse", [20] * 5, 1e-3, 3),
        free("mse", [20, 10, 10], 1e-3, 3, head="relu"),
        free("mse", [20] * 5, 0.5, 3, head="relu"),
    ],
    ids=str,
)
def test_there_is_none_where_no_claim_is_weighed(problem: Problem) -> None:
    assert lowest_known(problem) is None
    assert lower_bound(problem, 1.0) is None
