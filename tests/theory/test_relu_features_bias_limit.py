"""Vanishing decay with a bias on non-negative features: against other optimisers, and against decays that vanish."""

from dataclasses import replace

import numpy as np
import pytest
from free_feature_problems import random_setting
from free_features import Array
from least_norm_search import search
from posed import assert_shape, feature_norms, free, simplex
from scipy.optimize import minimize

import ncrun
from ncrun.theory import Prediction, Problem, predict
from ncrun.theory.least_norm import least_norm
from ncrun.theory.relu_features_bias import sharing_classes


def limit(loss: str, counts: list[float], **more: object) -> Problem:
    fields: dict[str, object] = {"decay_mode": "parameters", "feature_sign": "nonnegative", "bias": True} | more
    return replace(free(loss, counts, 1e-3, **fields), feature_decay=None)


def apart(found: Prediction, target: Prediction) -> float:
    """The largest distance of the three matrices, each over its Frobenius norm."""
    assert found.logits is not None
    assert target.logits is not None
    pairs = [
        (found.layers[0].weight_gram, target.layers[0].weight_gram),
        (found.layers[0].feature_gram, target.layers[0].feature_gram),
        (found.logits, target.logits),
    ]
    return max(float(np.linalg.norm(a / np.linalg.norm(a) - b / np.linalg.norm(b))) for a, b in pairs)


@pytest.mark.parametrize("kind", ["ce-relu-limit", "mse-relu-limit"])
def test_it_is_the_least_norm_that_another_optimiser_finds(kind: str) -> None:
    """Norm and matrices, of all margins at least one or of the labels; SLSQP holds its constraints to 1e-9, and near an
    optimum matrices are known to the root of the value's error."""
    rng = np.random.default_rng(4)
    seen = 0
    while seen < 5:
        problem = random_setting(rng, kind)
        prediction = predict(problem)
        if prediction.claim != "transferred":  # two equal classes
            assert (problem.num_classes, problem.is_balanced) == (2, True)
            continue
        seen += 1
        root = np.sqrt(problem.counts)
        found = search(problem.loss, np.array(problem.counts), rng)
        layer = prediction.layers[0]
        assert prediction.scale_free
        assert found.value == pytest.approx(np.trace(layer.weight_gram), rel=1e-8), problem
        np.testing.assert_allclose(found.W @ found.W.T, layer.weight_gram, atol=1e-5 * found.value)
        scaled = layer.feature_gram * np.outer(root, root)
        np.testing.assert_allclose(found.H.T @ found.H, scaled, atol=1e-5 * found.value)


def test_squared_loss_gets_there_in_proportion_to_the_decay() -> None:
    """A certified optimum at a hundredth of the decay is a hundred times nearer (to a tenth: terms of second order)."""
    target = predict(limit("mse", [50, 20, 5, 2]))
    near, nearer = (apart(predict(standard("mse", [50, 20, 5, 2], decay)), target) for decay in (1e-4, 1e-6))
    assert near < 5e-3
    assert nearer == pytest.approx(near / 100, rel=0.1)


def test_cross_entropy_gets_there_as_the_logarithm_grows() -> None:
    """Distances shrink like 1 / log(1/decay): what a straight line in it says of decay zero is ten times nearer than
    the last optimum."""
    target = predict(limit("ce", [50, 20, 5, 2]))
    decays = (1e-8, 1e-12)
    found = [predict(standard("ce", [50, 20, 5, 2], decay)) for decay in decays]
    distances = [apart(each, target) for each in found]
    assert distances[1] < 0.75 * distances[0] < 0.02
    x = [1 / np.log(1 / decay) for decay in decays]
    grams = [each.layers[0].weight_gram / np.linalg.norm(each.layers[0].weight_gram) for each in found]
    at_zero = grams[1] - (grams[0] - grams[1]) / (x[0] - x[1]) * x[1]
    wanted = target.layers[0].weight_gram / np.linalg.norm(target.layers[0].weight_gram)
    assert np.linalg.norm(at_zero - wanted) < 0.1 * distances[1]


def standard(loss: str, counts: list[float], decay: float) -> Problem:
    return free(loss, counts, decay, feature_sign="nonnegative", bias=True)


def test_orthogonal_classes_are_at_the_geometric_median() -> None:
    """Of the labels: against another minimiser, with angles that say when classes share."""
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(12):
        counts = np.round(100 * rng.uniform(0.1, 1, 5))
        root = np.sqrt(counts)
        objective = lambda b, root=root: root @ np.linalg.norm(np.eye(5) - b, axis=1)  # noqa: E731
        median = minimize(objective, np.full(5, 0.2), method="BFGS", options={"gtol": 1e-10}).x
        away = np.eye(5) - median
        acute = bool(((away @ away.T)[np.triu_indices(5, 1)] > 0).any())
        solution = least_norm(counts)
        assert bool(sharing_classes(solution.atoms.directions)) == acute
        if not acute:
            assert solution.objective == pytest.approx(objective(median), rel=1e-12)
            np.testing.assert_allclose(solution.atoms.bias, median, atol=1e-6)
        seen.add(acute)
    assert seen == {True, False}


@pytest.mark.parametrize("loss", ["ce", "mse"])
def test_equal_classes_are_orthogonal_and_their_classifier_a_simplex(loss: str) -> None:
    for K in (3, 10, 200):
        prediction = predict(limit(loss, [30.0] * K, widths=(K,)))
        assert_shape(prediction.layers[0].feature_gram, np.eye(K))
        assert_shape(prediction.layers[0].weight_gram, simplex(K))


@pytest.mark.parametrize(
    ("problem", "missing"),
    [
        (limit("ce", [10, 10]), "it is not unique"),
        (limit("mse", [40, 40, 2, 2], widths=(3,)), "needs 5 features"),
        (limit("mse", [200] * 10 + [10] * 10), "up to 16 classes"),
    ],
)
def test_what_is_not_known_is_not_claimed(problem: Problem, missing: str) -> None:
    prediction = predict(problem)
    assert (prediction.claim, prediction.layers) == ("none", ())
    assert missing in prediction.note


def test_the_largest_class_may_end_without_a_feature() -> None:
    """By hand: sqrt 100 outweighs two classes of 1, so that the median is the first label and the bias says it all."""
    prediction = predict(limit("mse", [100, 1, 1]))
    assert prediction.claim == "transferred"
    assert feature_norms(prediction)[0] == 0
    assert prediction.bias is not None
    assert_shape(prediction.bias, np.array([1.0, 0.0, 0.0]))


def test_a_network_without_decays_is_measured_against_it() -> None:
    """Features and classifier of the very shape, of another size: no distance but rounding's."""
    counts = [50.0, 50.0, 5.0, 5.0]
    target = predict(limit("ce", counts))
    solution = least_norm(np.array(counts))
    sizes = np.sqrt(np.linalg.norm(solution.atoms.weights, axis=0))
    means = (solution.atoms.directions * sizes[:, None]) / np.sqrt(counts)
    labels = np.repeat(np.arange(4), [50, 50, 5, 5])
    features: Array = 3 * means.T[labels]
    weights, bias = 2 * solution.atoms.weights / sizes, solution.atoms.bias
    found = ncrun.measure(features, labels, weights, bias=bias, loss="ce", nonnegative_features=True)
    assert found.theory["claim"] == target.claim == "transferred"
    assert max(found.metrics[key] for key in ("nc2_w", "nc2_h", "nc3")) < 1e-10
