"""Classes of equal counts: nothing that is predicted of them may differ, not in a bit."""

from dataclasses import replace

import numpy as np
import pytest
from posed import free, make, random_settings, times

from ncrun.theory import Problem, predict
from ncrun.theory.class_matrix import ClassMatrix
from ncrun.theory.report import as_json
from ncrun.theory.squared_loss import label_spectrum, shrinkage_strength


def with_ties(seed: int) -> list[Problem]:
    """Every theorem of unequal counts; one layer of cross-entropy also within 1e-12 of where equal classes merge."""
    rng = np.random.default_rng(seed)
    problems = [problem for problem in random_settings(30, seed) if len(set(problem.counts)) < problem.num_classes]
    for bias in (False, True):
        for _ in range(12):
            sizes = rng.choice([1, 2, 5, 10, 30, 100, 1000], size=3, replace=False)
            counts = rng.permutation(np.repeat(sizes, rng.integers(1, 7, size=3))).astype(float)
            merging = np.sqrt(rng.choice(counts)) / counts.sum()
            decay = merging * (1 + rng.choice([0.0, 1e-12, -1e-12, 1e-10, -1e-10, 0.3, -0.3]))
            problems.append(free("ce", list(counts), decay, bias=bias))
            problems.append(free("ce", list(counts), decay, feature_sign="nonnegative"))
            problems.append(free("mse", list(counts), decay / 3, int(rng.integers(1, 4)), bias=bias))
    return problems


@pytest.mark.parametrize("seed", [1, 2])
def test_equal_classes_are_told_alike(seed: int) -> None:
    compared = 0
    for problem in with_ties(seed):
        found = as_json(predict(problem))
        for k, count in enumerate(problem.counts):
            first = problem.counts.index(count)
            if first == k:
                continue
            one, other = found["classes"][first], found["classes"][k]
            for key in set(one) - {"merged_with"}:
                assert one[key] == other[key], (problem, k, key)
            assert len(one["merged_with"]) == len(other["merged_with"]), (problem, k)
            if found["bias"] is not None:
                assert found["bias"][first] == found["bias"][k]
            compared += one["margin"] is not None
    assert compared > 200


def test_the_mean_over_exchanges() -> None:
    """2e-16: the mean of up to four numbers below one rounds so far. Without equal counts nothing changes."""
    rng = np.random.default_rng(0)
    matrix, counts = rng.random((5, 5)), np.array([3.0, 7.0, 3.0, 3.0, 7.0])
    found = ClassMatrix.alike(matrix, counts).array
    threes, sevens = [0, 2, 3], [1, 4]
    off = [matrix[i, j] for i in threes for j in threes if i != j]
    np.testing.assert_allclose(found[0, 2], np.mean(off), atol=2e-16)
    np.testing.assert_allclose(found[2, 2], np.mean(np.diag(matrix)[threes]), atol=2e-16)
    np.testing.assert_allclose(found[np.ix_(threes, sevens)], matrix[np.ix_(threes, sevens)].mean(), atol=2e-16)
    np.testing.assert_array_equal(ClassMatrix.alike(matrix, np.arange(5.0)).array, matrix)
    # Small entries beside a large diagonal keep their digits.
    steep = ClassMatrix.alike(1e-18 * matrix + 10 * np.eye(5), counts).array
    np.testing.assert_allclose(steep[0, 2], 1e-18 * np.mean(off), rtol=1e-15)


@pytest.mark.parametrize("bias", [False, True])
def test_a_small_margin_is_no_zero_margin(bias: bool) -> None:
    """Just below the border the optimum is tiny, and not zero: rounding is measured by the scores, not by one."""
    problem = make((40.0,) * 3, 1, 1e-3, bias=bias)
    values = label_spectrum(np.array(problem.counts), bias).values[:2]
    border = float(1 / shrinkage_strength(values, 120.0, 1, 1e-3)[0])
    for side in (1e-14, 1e-13, 1e-9):
        before = predict(replace(times(problem, border * (1 - side))))
        if not bias:  # with one, the scores are about 1/3 and their rounding 1e-16
            assert before.collapsed() == [False] * 3
        assert predict(times(problem, border * (1 + side))).collapsed() == [True] * 3
    assert predict(times(problem, border * (1 - 1e-9))).collapsed() == [False] * 3
