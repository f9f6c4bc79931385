"""One layer with a bias on non-negative features: the convex program, its polar, and what its optimum determines."""

import numpy as np
import pytest
from free_feature_problems import random_setting
from free_features import Array, Instance
from posed import free

from ncrun.losses import LOSSES, CrossEntropy
from ncrun.theory import predict
from ncrun.theory.convex_problem import ConvexProblem
from ncrun.theory.gauge_program import own_directions, solve
from ncrun.theory.polar import polar
from ncrun.theory.relu_features_bias import imbalance_of_sharing
from ncrun.theory.report import as_table


def standard(loss: str, counts: list[float], decay: float = 5e-3, **more: object):  # type: ignore[no-untyped-def]
    return free(loss, counts, decay, feature_sign="nonnegative", bias=True, **more)


@pytest.mark.parametrize("kind", ["ce-relu-bias", "mse-relu-bias"])
def test_certified_values_are_what_an_independent_search_finds(kind: str) -> None:
    """1e-8: the search stops at a small gradient, and no start of it may go below a bound by more than rounding."""
    rng = np.random.default_rng(5)
    seen = 0
    while seen < 6:
        problem = random_setting(rng, kind)
        prediction = predict(problem)
        if not problem.bias or prediction.claim != "certified":
            continue
        seen += 1
        best = Instance.by_class(problem).search(rng, prediction.logits)[0]
        assert best.value == pytest.approx(prediction.objective, rel=1e-8), problem
        assert prediction.objective is not None
        assert prediction.duality_gap is not None
        assert best.value >= (prediction.objective - prediction.duality_gap) * (1 - 1e-12), problem


def test_without_a_bias_it_is_the_closed_form() -> None:
    """The same program with its bias held at zero against the formula of Dang et al. 2024, to rounding."""
    rng = np.random.default_rng(0)
    for _ in range(10):
        counts = np.round(np.exp(rng.uniform(0, 6, int(rng.integers(2, 9)))))
        weight, feature = np.exp(rng.uniform(-9, -3, 2))
        known = predict(free("ce", counts.tolist(), (weight, feature), feature_sign="nonnegative"))
        found = own_directions(ConvexProblem(CrossEntropy(), counts, float(np.sqrt(weight * feature)), False))
        assert found.objective == pytest.approx(known.objective, rel=1e-13)
        assert found.duality_gap <= 1e-12 * found.objective
        assert known.logits is not None
        np.testing.assert_allclose(found.logits / np.sqrt(counts), known.logits, atol=1e-7)  # slopes are flat there


def test_polar_is_the_largest_stretch() -> None:
    """Against ascents from random starts: never exceeded (1e-12: rounding), and reached (1e-6: they are slow)."""
    rng = np.random.default_rng(1)
    for _ in range(10):
        K = int(rng.integers(2, 8))
        A = rng.standard_normal((K, K)) - rng.uniform(-0.5, 0.5)
        found = polar(A)
        assert found.value == pytest.approx(found.bound, rel=1e-14)
        assert max(np.linalg.norm(found.directions @ A.T, axis=1)) == pytest.approx(found.value, rel=1e-12)
        largest = max(_ascended(A, np.abs(rng.standard_normal(K))) for _ in range(20))
        assert found.value >= largest * (1 - 1e-12)
        assert found.value == pytest.approx(largest, rel=1e-6)


def _ascended(A: Array, h: Array) -> float:
    B = A.T @ A
    shift = np.abs(B).sum()
    for _ in range(400):
        h = np.maximum(B @ h + 0.05 * shift * h, 0)
        h = h / np.linalg.norm(h)
    return float(np.linalg.norm(A @ h))


def test_polar_of_many_columns_is_bounded_where_it_is_not_found() -> None:
    rng = np.random.default_rng(2)
    found = polar(rng.standard_normal((20, 20)) + 0.3)
    assert found.value <= found.bound


@pytest.mark.parametrize("loss", ["ce", "mse"])
def test_rare_classes_share_directions_from_the_border_on(loss: str) -> None:
    """On either side of the border, a thousandth away: own directions are optimal, or something lower exists."""
    counts = np.array([100.0, 60.0, 30.0, 20.0])
    border = imbalance_of_sharing(standard(loss, counts.tolist()))
    assert border is not None
    for factor, shared in ((1.003, False), (0.997, True)):
        power = np.log(border * factor) / np.log(counts.min() / counts.max())
        through = counts**power * counts.sum() / (counts**power).sum()
        posed = ConvexProblem(LOSSES[loss], through, 5e-3, True)
        own, best = own_directions(posed), solve(posed)
        assert best.duality_gap <= 1e-11 * best.objective
        assert (own.duality_gap > 1e-11 * own.objective) == shared
        note = predict(standard(loss, through.tolist())).note
        assert ("share feature directions" in note) == shared
    words = as_table(predict(standard(loss, counts.tolist())))
    assert f"for an imbalance down to {border:.3g}" in words


def test_frequent_classes_stay_orthogonal() -> None:
    prediction = predict(standard("ce", [100, 100, 5, 5], 1e-3))
    gram = prediction.layers[0].feature_gram
    assert np.abs(gram[:2] - np.diag(np.diag(gram))[:2]).max() == 0
    cosine = gram[2, 3] / gram[2, 2]
    assert 0.1 < cosine < 0.9
    assert prediction.note == "classes 2 and 3 share feature directions, which are not orthogonal to each other"


def test_two_equal_classes_leave_the_split_between_feature_and_bias_open() -> None:
    """By hand: moving the margin from one class' feature into the bias changes nothing, so only the value is said."""
    prediction = predict(standard("ce", [10, 10]))
    assert (prediction.claim, prediction.layers) == ("certified", ())
    assert prediction.note == "the optimum is not unique: only its value is determined"
    objective, s, n = prediction.objective, 5e-3, 10.0
    assert objective is not None
    best = min(np.log1p(np.exp(-margin)) + s * np.sqrt(n) * margin * np.sqrt(2) for margin in np.linspace(0, 9, 90_001))
    assert objective == pytest.approx(best, rel=1e-8)  # a grid of 1e-4 around a minimum


def test_layers_narrower_than_the_directions_give_a_bound() -> None:
    wide = predict(standard("ce", [40, 20, 5]))
    narrow = predict(standard("ce", [40, 20, 5], widths=(1,)))
    assert wide.claim == "certified"
    assert narrow.claim == "none"
    assert narrow.objective == pytest.approx(wide.objective, rel=1e-11)
    assert "needs" in narrow.note


def test_strong_decay_leaves_the_bias_alone() -> None:
    """All weights zero: the value is the entropy of the class shares (squared loss: half their Gini impurity)."""
    counts = np.array([30.0, 20.0, 10.0])
    shares = counts / counts.sum()
    for loss, value in (("ce", -(shares @ np.log(shares))), ("mse", (1 - shares @ shares) / 2)):
        prediction = predict(standard(loss, counts.tolist(), 1.0))
        assert prediction.claim == "certified"
        assert prediction.objective == pytest.approx(value, rel=1e-12)
        assert prediction.logits is not None
        assert not prediction.logits.any()


def test_many_classes() -> None:
    """A hundred equal ones are answered; a thousand are refused; sharing among many is a bound."""
    assert predict(standard("ce", [500.0] * 100, 1e-3, widths=(128,))).claim == "certified"
    assert predict(standard("ce", [500.0] * 200, 1e-3, widths=(256,))).claim == "none"
    rare = predict(standard("mse", [200.0] * 10 + [10.0] * 10, 1e-3))
    assert (rare.claim, "is a lower bound" in rare.note) == ("none", True)
