"""What helps rare classes: against closed forms, an independent search, and the optimum on both sides of a border."""

from dataclasses import replace

import numpy as np
import pytest
from free_features import Instance
from posed import free

from ncrun.theory import Problem, convex_program, predict
from ncrun.theory.convex_problem import ConvexProblem
from ncrun.theory.prediction import class_margins
from ncrun.theory.relu_features_bias import with_imbalance
from ncrun.theory.remedies import (
    adjustment_for_equal_margins,
    loss_of_rarest,
    remedies,
    weights_for_equal_margins,
)
from ncrun.theory.remedies_report import remedies_as_json, remedies_in_words

LONG_TAILED = [500.0, 140.0, 40.0, 12.0]


def test_relu_features_without_bias_have_the_closed_forms() -> None:
    """Weights 1/sqrt n; the rarest is lost once N s >= (1 - d) w sqrt(n (K-1)/K), up to the 1e-4 of its search."""
    s, d = 2e-3, 0.1
    problem = free("ce", LONG_TAILED, s, feature_sign="nonnegative", label_smoothing=d)
    found, counts = weights_for_equal_margins(problem), np.array(LONG_TAILED)
    assert found is not None
    weights = np.array(found.problem.class_weights)
    np.testing.assert_allclose(weights * np.sqrt(counts), weights[0] * np.sqrt(counts[0]), rtol=1e-12)
    assert weights @ counts == pytest.approx(counts.sum(), rel=1e-12)
    margins = found.margins()
    assert margins is not None
    assert np.ptp(margins) < 1e-12
    lost = loss_of_rarest(problem)
    assert lost is not None
    assert lost.count == pytest.approx((counts.sum() * s / (1 - d)) ** 2 * 4 / 3, rel=1e-3)


def test_rare_classes_of_one_size_on_free_features_become_one_at_the_closed_form() -> None:
    s, d = 2e-3, 0.2
    lost = loss_of_rarest(free("ce", [500.0] * 3 + [20.0] * 3, s, label_smoothing=d))
    assert lost is not None
    assert lost.count == pytest.approx((1560 * s / (1 - d)) ** 2, rel=1e-3)


@pytest.mark.parametrize(
    "changes",
    [{}, {"bias": True, "bias_decay": 0.01}, {"bias": True, "feature_sign": "nonnegative"}],
    ids=str,
)
def test_an_independent_search_finds_the_margins_equal(changes: dict[str, object]) -> None:
    """Margins of the best of many descents on the factored problem with the weights that were found, and with tau.

    1e-3: descents stop at a small gradient, and margins are known to the root of the value's error.
    """
    problem, rng = free("ce", LONG_TAILED, 1e-3, widths=(5,), **changes), np.random.default_rng(0)
    before = predict(problem).margins()
    assert before is not None
    assert before[0] > 1.3 * before[3]
    weights, tau = weights_for_equal_margins(problem), adjustment_for_equal_margins(problem)
    assert weights is not None
    assert tau is not None
    for found, classes in ((weights, [0, 1, 2, 3]), (tau, [0, 3])):
        best = Instance.by_class(found.problem).search(rng, found.logits)[0]
        margins = class_margins(best.logits() + best.bias[:, None])
        assert np.ptp(margins[classes]) < 1e-3 * margins[0]
        np.testing.assert_allclose(margins, found.margins(), rtol=1e-3)


def test_an_undecayed_bias_takes_the_adjustment() -> None:
    """By hand: b - tau log(n/N) in the place of b gives the plain loss again, so logits stay and the bias moves."""
    plain = free("ce", LONG_TAILED, 1e-3, bias=True)
    tau = adjustment_for_equal_margins(plain)
    assert tau is not None
    before, counts = predict(plain), np.array(LONG_TAILED)
    assert before.logits is not None
    assert before.bias is not None
    moved = before.bias - tau.problem.logit_adjustment * np.log(counts)
    np.testing.assert_allclose(tau.logits, before.logits, atol=1e-6)  # the root of the gap
    np.testing.assert_allclose(tau.bias, moved - moved.mean(), atol=1e-6)
    margins = class_margins(before.logits + moved[:, None])
    assert margins[0] == pytest.approx(margins[3], abs=1e-3)  # 1e-4 of tau times log 42


@pytest.mark.parametrize("changes", [{}, {"bias": True}, {"class_weights": (1.0, 1.0, 1.0, 2.0)}], ids=str)
def test_the_rarest_class_is_lost_just_there(changes: dict[str, object]) -> None:
    def lost_at(problem: Problem, imbalance: float) -> bool:
        power = np.log(imbalance) / np.log(min(problem.counts) / max(problem.counts))
        solution = convex_program.solve(ConvexProblem.of(with_imbalance(problem, power)))
        return bool(class_margins(solution.logits + solution.bias[:, None])[3] <= 0)

    problem = free("ce", LONG_TAILED, 5e-3, **changes)
    plain, smoothed = (loss_of_rarest(replace(problem, label_smoothing=d)) for d in (0.0, 0.2))
    assert plain is not None
    assert smoothed is not None
    assert smoothed.count > plain.count
    for found in (plain, smoothed):
        posed = replace(problem, label_smoothing=found.label_smoothing)
        assert [lost_at(posed, found.imbalance * factor) for factor in (1.003, 0.997)] == [False, True]


def test_what_is_told() -> None:
    found = remedies(free("ce", LONG_TAILED, 5e-3))
    words = remedies_in_words(found)
    assert words.startswith("remedies\n  without changes: margins 0.")
    assert "the same margin for all classes: class_weights=[0." in words
    assert "the rarest class, label_smoothing=0.1: lost below" in words
    content = remedies_as_json(found)
    assert content is not None
    assert content["equal_margin_weights"]["claim"] == "certified"
    assert np.ptp(content["equal_margin_weights"]["margins"]) < 1e-4
    assert [each["label_smoothing"] for each in content["rarest_lost_below"]] == [0.0, 0.1]


@pytest.mark.parametrize(
    "problem",
    [
        free("mse", LONG_TAILED, 1e-3),
        free("ce", [20.0] * 4, 1e-3),
        free("ce", LONG_TAILED, 1e-3, depth=2),
        free("ce", [float(n) for n in range(10, 60)], 1e-3, bias=True, feature_sign="nonnegative"),
        replace(free("ce", LONG_TAILED, 1e-3), decay_mode="parameters", feature_decay=None),
    ],
    ids=["squared loss", "equal counts", "two layers", "fifty classes", "plain weight decay"],
)
def test_no_remedies_where_no_theorem_tells_the_margins(problem: Problem) -> None:
    assert remedies(problem) is None
    assert "none are known for this problem" in remedies_in_words(remedies(problem))
    assert remedies_as_json(remedies(problem)) is None
