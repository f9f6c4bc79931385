"""Cross-entropy with smoothing, weights and adjustment, and a decayed bias: closed forms, limits, and the dual."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from free_features import Instance
from posed import assert_shape, free, simplex

from ncrun.losses import CrossEntropy, loss_of
from ncrun.theory import Problem, convex_program, gauge_program, predict
from ncrun.theory.class_losses import class_losses, dual_values
from ncrun.theory.convex_problem import ConvexProblem

ROUNDING = 1e-13  # sums of K^2 terms, each to 1e-16
OPTIONS = (
    CrossEntropy(),
    CrossEntropy(label_smoothing=0.2),
    CrossEntropy(offsets=(-0.3, -1.0, -2.0, -5.0)),
    CrossEntropy(0.05, offsets=(-0.3, -1.0, -2.0, -5.0)),
)


@pytest.mark.parametrize("loss", OPTIONS, ids=str)
def test_slopes_curvature_and_dual_belong_to_the_loss(loss: CrossEntropy) -> None:
    """The loss itself is that of ncrun.losses, which is held against torch's; the rest by differences and at the point
    of contact, where <e, z> plus the dual value is the loss."""
    rng, K = np.random.default_rng(0), 4
    scores, change = 2 * rng.standard_normal((2, K, K))
    found = class_losses(loss, scores)
    np.testing.assert_allclose(found.values, loss.on_class_means(scores), rtol=ROUNDING)
    step = 1e-5
    ahead, behind = (class_losses(loss, scores + sign * step * change) for sign in (1, -1))
    slopes = (ahead.values - behind.values) / (2 * step)
    np.testing.assert_allclose((found.errors * change).sum(axis=0), slopes, atol=1e-8)  # step^2, and rounding / step
    bent = np.einsum("kij,jk->ik", found.curvatures, change)
    np.testing.assert_allclose(bent, (ahead.errors - behind.errors) / (2 * step), atol=1e-8)
    at_contact = (found.errors * scores).sum(axis=0) + dual_values(loss, found.errors)
    np.testing.assert_allclose(at_contact, found.values, rtol=1e-12)
    elsewhere = (0.5 * found.errors * scores).sum(axis=0) + dual_values(loss, 0.5 * found.errors)
    assert (elsewhere <= found.values).all()


def test_far_scores_have_their_loss() -> None:
    """Where an exponential would overflow: the largest score's lead, which smoothing must not outbid."""
    scores = np.array([[0.0, 3000.0], [2000.0, 0.0]])
    found = class_losses(CrossEntropy(0.2), scores)
    np.testing.assert_allclose(found.values, [0.9 * 2000, 0.9 * 3000], rtol=ROUNDING)
    np.testing.assert_allclose(found.errors, [[-0.9, 0.9], [0.9, -0.9]], rtol=ROUNDING)


@pytest.mark.parametrize("changes", [{}, {"bias": True}, {"bias": True, "bias_decay": 0.03}], ids=str)
@pytest.mark.parametrize("smoothing", [1e-3, 0.1, 0.6])
def test_balanced_classes_with_smoothing_have_the_closed_form(smoothing: float, changes: dict[str, Any]) -> None:
    """alpha = log(K/(d + K s sqrt n) - K + 1), by the theorem and by the program that knows nothing of it."""
    K, n, s = 5, 30.0, 4e-3
    problem = free("ce", [n] * K, s, label_smoothing=smoothing, logit_adjustment=1.3, **changes)
    prediction = predict(problem)
    alpha = np.log(max(K / (smoothing + K * s * np.sqrt(n)) - K + 1, 1))
    objective = np.log(np.exp(alpha) + K - 1) - alpha * (1 - smoothing * (K - 1) / K) + s * np.sqrt(n) * (K - 1) * alpha
    assert prediction.claim == "proven"
    assert prediction.objective == pytest.approx(objective, rel=ROUNDING)
    np.testing.assert_allclose(prediction.logits, alpha * simplex(K), atol=1e-9)
    program = convex_program.solve(ConvexProblem.of(problem))
    assert program.objective == pytest.approx(objective, rel=1.1e-11)  # its gap
    assert prediction.decay_to_collapse == pytest.approx((1 - smoothing) / (K * s * np.sqrt(n)), rel=1e-9)


def test_zero_from_the_border_of_smoothing_on() -> None:
    """d + K s sqrt n >= 1; a thousandth below it there are logits still."""
    for smoothing, zero in ((0.4522, False), (0.4524, True)):  # K s sqrt n = .5477
        prediction = predict(free("ce", [30.0] * 5, 0.02, label_smoothing=smoothing))
        assert prediction.logits is not None
        assert (not prediction.logits.any()) == zero


def test_relu_features_with_weights_and_smoothing_have_the_closed_form() -> None:
    """Against the program over non-negative features with its bound, which knows nothing of the formula."""
    rng = np.random.default_rng(2)
    for _ in range(10):
        K = int(rng.integers(2, 9))
        counts, weights = np.round(np.exp(rng.uniform(0, 6, K))), np.exp(rng.uniform(-1, 1, K))
        s, smoothing = float(np.exp(rng.uniform(-8, -4))), float(rng.uniform(0, 0.5))
        options = {"class_weights": tuple(weights.tolist()), "label_smoothing": smoothing}
        problem = free("ce", counts.tolist(), s, feature_sign="nonnegative", **options)
        known, found = predict(problem), gauge_program.own_directions(ConvexProblem.of(problem))
        assert known.claim == "proven"
        assert found.objective == pytest.approx(known.objective, rel=ROUNDING)
        assert found.duality_gap <= 1e-12 * found.objective
        assert known.logits is not None
        np.testing.assert_allclose(found.logits / np.sqrt(counts), known.logits, atol=1e-7)  # slopes are flat there
        border = known.decay_to_collapse
        assert border is not None
        for k in range(K):
            for factor, lost in ((1 - 1e-6, False), (1 + 1e-6, True)):
                assert predict(problem.scaled(border[k] * factor)).collapsed()[k] == lost


@pytest.mark.parametrize("sign", ["free", "nonnegative"])
def test_a_decayed_bias_lies_between_no_bias_and_a_free_one(sign: str) -> None:
    """Its value falls with its decay, to that of each end. 1e-6: what a decay of 1e-9, or a bias of 1e-9, leaves."""
    base = free("ce", [60.0, 25.0, 7.0], 3e-3, feature_sign=sign, bias=True, logit_adjustment=0.5)
    values = [predict(replace(base, bias_decay=decay)).objective for decay in (1e-9, 1e-3, 1e-2, 0.1, 1e9)]
    ends = [predict(base).objective, predict(replace(base, bias=False)).objective]
    assert all(value is not None for value in values)
    assert values == sorted(values)
    assert [values[0], values[-1]] == pytest.approx(ends, rel=1e-6)


def test_classes_of_one_count_and_two_weights_differ() -> None:
    problem = free("ce", [20.0, 20.0, 20.0, 5.0], 5e-3, class_weights=(1.0, 3.0, 1.0, 1.0))
    for posed in (problem, replace(problem, feature_sign="nonnegative")):
        margins = predict(posed).margins()
        assert margins is not None
        assert margins[0] == margins[2]
        assert margins[1] > margins[0] + 0.5


def test_weights_multiply_the_loss() -> None:
    """Twice the weights and twice all decays: twice the value, the same network."""
    problem = free("ce", [40.0, 9.0, 2.0], 4e-3, bias=True, bias_decay=0.02, class_weights=(1.0, 0.5, 2.0))
    double = replace(problem.scaled(2), class_weights=(2.0, 1.0, 4.0))
    first, second = predict(problem), predict(double)
    assert first.objective is not None
    assert second.objective == pytest.approx(2 * first.objective, rel=1e-11)
    np.testing.assert_allclose(second.logits, first.logits, atol=1e-6)  # the root of the gap


def data_term(problem: Problem, scores: np.ndarray) -> float:
    counts = np.array(problem.counts)
    return float(counts @ loss_of(problem).on_class_means(scores) / counts.sum())


@pytest.mark.parametrize("sign", ["free", "nonnegative"])
def test_the_value_is_that_of_the_matrices(sign: str) -> None:
    """Data term of the logits plus the penalties of Gram matrices and bias, for all options at once."""
    options = {"class_weights": (0.5, 1.0, 2.0, 1.0), "label_smoothing": 0.1, "logit_adjustment": 0.7}
    problem = free("ce", [60.0, 25.0, 7.0, 3.0], (2e-3, 5e-3), feature_sign=sign, bias=True, bias_decay=0.05, **options)
    found = predict(problem)
    assert found.logits is not None
    assert found.bias is not None
    layer, counts = found.layers[0], np.array(problem.counts)
    value = data_term(problem, found.logits + found.bias[:, None]) + 0.05 / 2 * found.bias @ found.bias
    value += 2e-3 / 2 * np.trace(layer.weight_gram) + 5e-3 / 2 * counts @ np.diag(layer.feature_gram)
    assert found.claim == "certified"
    assert value == pytest.approx(found.objective, rel=1e-11)


@pytest.mark.parametrize(
    "changes",
    [
        {"counts": (20.0,) * 4, "bias": True},
        {"counts": (20.0,) * 4, "weight_decays": (1e-9,) * 2, "widths": (6, 6)},
        {"feature_sign": "nonnegative", "class_weights": (0.5, 1.0, 2.0, 1.0)},
        {"feature_sign": "nonnegative", "bias": True, "logit_adjustment": 1.0},
    ],
    ids=["simplex", "two layers", "after a ReLU", "after a ReLU with a bias"],
)
def test_smoothing_has_its_shape_at_vanishing_decay(changes: dict[str, Any]) -> None:
    """Logits stay finite, so it is reached to about the decay itself: what is predicted for plain weight decay beside
    the proven or certified optimum at decays of 1e-9."""
    posed = replace(free("ce", [60.0, 25.0, 7.0, 3.0], 1e-9, label_smoothing=0.2), **changes)
    near, limit = predict(posed), predict(replace(posed, decay_mode="parameters", feature_decay=None))
    assert near.claim in ("proven", "certified")
    assert limit.claim == "transferred"
    for found, target in (
        (near.layers[0].weight_gram, limit.layers[0].weight_gram),
        (near.layers[0].feature_gram, limit.layers[0].feature_gram),
        (near.logits, limit.logits),
    ):
        assert_shape(found, target, 1e-4)  # the root of a duality gap is the largest part


def test_weights_and_adjustment_change_the_way_to_vanishing_decay_but_not_the_shape_there() -> None:
    """The distance to the shape falls like one over the logarithm of the decay: by three from 1e-20 to 1e-60."""
    base = free("ce", [60.0, 25.0, 7.0, 3.0], 1e-2, feature_sign="nonnegative", class_weights=(4.0, 1.0, 1.0, 0.2))
    limit = predict(replace(base, decay_mode="parameters", feature_decay=None))
    assert limit.claim == "transferred"
    assert limit.note.endswith("; class weights and adjustment change only the path to it")

    def distance(decay: float) -> float:
        found, target = (each.layers[0].weight_gram for each in (predict(base.scaled(100 * decay)), limit))
        return float(np.linalg.norm(found / np.linalg.norm(found) - target / np.linalg.norm(target)))

    assert distance(1e-20) / distance(1e-60) == pytest.approx(3, rel=0.1)


def border_of_the_proof(problem: Problem) -> float:
    """The factor on all decays up to which the simplex of a deep head with smoothing is proven."""
    low, high = 1e-3, 1.0
    while high > low * 1.01:
        middle = np.sqrt(low * high)
        proven = predict(problem.scaled(middle)).claim == "proven"
        low, high = (middle, high) if proven else (low, middle)
    return float(low)


@pytest.mark.parametrize(("K", "depth"), [(3, 2), (4, 3)])
def test_the_simplex_is_proven_with_smoothing_at_weak_decay(K: int, depth: int) -> None:
    """At the border of the proof and beyond it no descent is lower, of random logits of every rank and size neither."""
    rng = np.random.default_rng(4)
    problem = free("ce", [20.0] * K, 0.01, depth, widths=(K + 1,) * depth, label_smoothing=0.1, bias=True)
    border = border_of_the_proof(problem)
    found = predict(problem.scaled(border))
    assert found.claim == "proven"
    assert found.objective is not None
    best = Instance.by_class(found.problem).search(rng, found.logits)[0]
    assert best.value == pytest.approx(found.objective, rel=1e-8)  # descents stop at a small gradient
    power, penalty = 2 / (depth + 1), (depth + 1) / 2 * 0.01 * border
    assert found.logits is not None
    for _ in range(2000):
        rank, size = int(rng.integers(1, K + 1)), np.exp(rng.uniform(-6, 2))
        change = rng.standard_normal((K, rank)) @ rng.standard_normal((rank, K))
        left, values, right = np.linalg.svd(found.logits + size * change)
        kept = int(rng.integers(1, K + 1))
        logits = (left[:, :kept] * values[:kept]) @ right[:kept]
        value = data_term(problem, logits + size * rng.standard_normal((K, 1)) * (rng.random() < 0.5))
        assert value + penalty * ((20**0.5 * values[:kept]) ** power).sum() >= found.objective * (1 - ROUNDING)


@pytest.mark.parametrize("K", [2, 4, 6])
def test_deep_heads_are_graded_as_without_smoothing(K: int) -> None:
    """Two classes and strong decay are proven; else a lower value is shown, or none was found and none was sought."""
    problem = free("ce", [20.0] * K, 2e-3, 3, label_smoothing=0.01, bias=True, bias_decay=1e-3)
    found = predict(problem)
    assert found.claim == ("proven" if K == 2 else "refuted" if K == 6 else "open")
    if found.claim == "open":
        assert found.note.endswith("other configurations were not searched")
    assert predict(problem.scaled(200)).claim == "proven"
