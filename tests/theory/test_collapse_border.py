"""Cross-entropy, one layer, any counts: the printed borders against the program itself on both sides of them."""

from dataclasses import replace

import numpy as np
import pytest
from posed import free

from ncrun.theory import Problem, convex_program, predict
from ncrun.theory.convex_problem import ConvexProblem
from ncrun.theory.prediction import class_margins
from ncrun.theory.report import as_json

DIGITS = 1e-3  # what is promised of a border that has to be sought


def margins(problem: Problem) -> np.ndarray:
    """From a solution of its own, to a gap of 1e-13: margins beyond 1e-11 are no rounding."""
    solution = convex_program.solve(ConvexProblem.of(problem), tolerance=1e-13)
    return class_margins(solution.logits + solution.bias[:, None])


def drawn(rng: np.random.Generator, bias: bool) -> Problem:
    """Counts with ties, at decays at which none, some or all of the classes are collapsed."""
    sizes = rng.choice([1, 2, 3, 5, 8, 10, 20, 30, 100, 300, 1000], size=rng.integers(2, 5), replace=False)
    counts = rng.permutation(np.repeat(sizes, rng.integers(1, 4, size=len(sizes)))).astype(float)
    product = np.exp(rng.uniform(np.log(counts.min() / 30), np.log(counts.max() * 3))) / counts.sum() ** 2
    return free("ce", list(counts), np.sqrt(product), bias=bias)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize(("bias", "bias_decay"), [(False, 0.0), (True, 0.0), (True, 0.02)])
def test_every_border_is_where_the_margin_vanishes(bias: bool, bias_decay: float, smoothing: float) -> None:
    rng = np.random.default_rng(14)
    for _ in range(3 if smoothing or bias_decay else 25):
        problem = replace(drawn(rng, bias), label_smoothing=smoothing, bias_decay=bias_decay)
        geometry = predict(problem)
        factors, collapsed = geometry.decay_to_collapse, geometry.collapsed()
        assert factors is not None
        for k, factor in enumerate(factors):
            if np.isinf(factor):  # only a bias favours a class without end: the largest, if it is alone
                assert bias
                assert [n for n in problem.counts if n >= problem.counts[k]] == [problem.counts[k]]
                assert margins(problem.scaled(1e3))[k] > 1e-11
                continue
            assert margins(problem.scaled(factor * (1 - DIGITS)))[k] > 1e-11, (problem, k, factor)
            assert margins(problem.scaled(factor * (1 + DIGITS)))[k] <= 1e-11, (problem, k, factor)
            assert collapsed[k] == (factor <= 1), (problem, k, factor)


def test_rare_classes_of_one_size_collapse_before_they_merge() -> None:
    """With a bias they lose against a large class at 0.918 of these decays, before the 1.56 at which they are one."""
    problem = free("ce", [1000, 5, 5], 0.0017711, bias=True)
    geometry = predict(problem)
    assert geometry.collapsed() == [False, True, True]
    assert geometry.decay_to_collapse is not None
    assert geometry.decay_to_collapse[1:] == pytest.approx([0.918, 0.918], rel=DIGITS)
    back = free("ce", [1000, 5, 5], 0.0017711 * 0.917, bias=True)
    assert predict(back).collapsed() == [False, False, False]
    assert str(as_json(predict(back))["threshold"]).startswith("classes 1 and 2 are lost if weight decay exceeds")


@pytest.mark.parametrize("bias", [False, True])
def test_more_sizes_than_can_be_followed(bias: bool) -> None:
    """A prediction has to be instant: some borders are left open, but not the next one, and none that is told is
    wrong."""
    problem = free("ce", [20.0] * 10 + [float(n) for n in range(30, 60)], 1e-4, bias=bias)
    factors = predict(problem).decay_to_collapse
    assert factors is not None
    assert np.isnan(factors).any()
    following = float(np.nanmin(factors))
    assert (margins(problem.scaled(following * (1 - DIGITS))) > 1e-11).all()
    after = margins(problem.scaled(following * (1 + DIGITS)))
    assert after[int(np.nanargmin(factors))] <= 1e-11
