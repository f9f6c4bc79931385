"""The closed form of the squared loss against a numerical search, bottlenecks among the settings."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from free_features import Array, Instance, Point
from posed import make, random_settings

from ncrun.theory import Prediction, Problem, predict
from ncrun.theory.products import geometric_mean
from ncrun.theory.report import as_json, as_table
from ncrun.theory.squared_loss import global_border, label_spectrum, shrinkage_strength


@dataclass(frozen=True)
class Case:
    """One random setting, what theory claims, and the end points of the search, best first."""

    problem: Problem
    prediction: Prediction
    found: list[Point]


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    rng = np.random.default_rng(1)
    result = []
    for problem in random_settings(70, seed=2):
        prediction = predict(problem)
        result.append(Case(problem, prediction, Instance.by_class(problem).search(rng, prediction.logits)))
    return result


def clear_cut(problem: Problem) -> bool:
    """No tie, and no direction within 5% of its collapse or of being the first that a bottleneck drops."""
    counts = np.array(problem.counts)
    values = label_spectrum(counts, problem.bias).values
    rank = min(problem.num_classes, *problem.widths)
    assert problem.feature_decay is not None
    decay = geometric_mean(problem.feature_decay, *problem.weight_decays)
    kappa = shrinkage_strength(values, counts.sum(), problem.depth, decay)[:rank]
    if np.any(np.abs(kappa / global_border(problem.depth) - 1) < 0.05):
        return False
    return rank >= len(values) or bool(values[rank] < 0.95 * values[rank - 1])


def test_the_random_settings_cover_the_claim(cases: list[Case]) -> None:
    """Guards the tests below: what they say was tested stays in the draw."""
    settings = [case.problem for case in cases]
    assert {problem.depth for problem in settings} == {1, 2, 3, 4, 5}
    assert {problem.num_classes for problem in settings} == {2, 3, 4, 5, 6}
    assert {problem.bias for problem in settings} == {True, False}
    assert sum(min(problem.widths) < problem.num_classes for problem in settings) >= 15
    assert max(max(problem.counts) / min(problem.counts) for problem in settings) >= 25
    collapsed = [case.prediction.collapsed() for case in cases]
    assert sum(any(flags) and not all(flags) for flags in collapsed) >= 15
    assert sum(all(flags) for flags in collapsed) >= 2
    assert sum(clear_cut(problem) for problem in settings) >= 30


def test_objective_is_the_best_that_a_search_finds(cases: list[Case]) -> None:
    for case in cases:
        claim = case.prediction.objective
        assert claim is not None
        assert case.prediction.claim == "proven"
        best = case.found[0].value
        assert best <= claim * (1 + 1e-6), case.problem  # the search stops at a small gradient, not at its zero
        assert best >= claim * (1 - 1e-8), case.problem  # rounding only: a minimum cannot be undercut


def test_every_layer_of_the_optimum_found_has_the_predicted_geometry(cases: list[Case]) -> None:
    """1e-4: near an optimum the matrices are known to the root of the objective's accuracy."""

    def assert_near(found: Array, target: Array, problem: Problem) -> None:
        scale = float(np.linalg.norm(target))
        allowed = 1e-4 * scale if scale > 0 else 1e-6  # a collapsed network has only the search's own residue
        assert np.linalg.norm(found - target) <= allowed, problem

    for case in cases:
        if not clear_cut(case.problem):
            continue
        best, prediction = case.found[0], case.prediction
        assert prediction.logits is not None
        assert prediction.bias is not None
        assert_near(best.suffix(0) @ best.factors[0], prediction.logits, case.problem)
        for m, layer in enumerate(prediction.layers):
            weights, features = best.suffix(m), best.layer_input(m)
            assert_near(weights @ weights.T, layer.weight_gram, case.problem)
            assert_near(features.T @ features, layer.feature_gram, case.problem)
        assert np.allclose(best.bias, prediction.bias, rtol=0, atol=1e-6)  # the search's gradient tolerance, 1e-9


def test_predicted_optimum_is_stationary_and_has_the_predicted_value() -> None:
    """Without any search: factors built from the predicted logits. 1e-11: rounding through up to six factors."""
    rng = np.random.default_rng(3)
    for problem in random_settings(70, seed=4):
        prediction = predict(problem)
        if prediction.tie is not None:
            continue
        assert prediction.logits is not None
        assert prediction.bias is not None
        instance = Instance.by_class(problem)
        factors = instance.balanced_factors(prediction.logits, rng)
        value, gradients, bias_gradient = instance.value_and_gradient(factors, prediction.bias)
        assert value == pytest.approx(prediction.objective, rel=1e-11)
        scaled = [np.abs(s * g).max() for s, g in zip(instance.scales(), gradients, strict=True)]
        assert max(*scaled, np.abs(bias_gradient).max()) <= 1e-11
        point = Point(value, factors, prediction.bias)
        for m, layer in enumerate(prediction.layers):
            for built, target in (
                (point.suffix(m) @ point.suffix(m).T, layer.weight_gram),
                (point.layer_input(m).T @ point.layer_input(m), layer.feature_gram),
            ):
                assert np.linalg.norm(built - target) <= 1e-11 * np.linalg.norm(target)


@pytest.mark.parametrize(
    ("counts", "depth", "bias", "widths"),
    [
        ((8, 5, 3), 1, False, (4,)),
        ((8, 5, 3), 1, True, (4,)),
        ((9, 4, 2), 3, False, (5, 4, 4)),
        ((9, 4, 2), 3, True, (5, 4, 4)),
        ((12, 6, 4), 2, False, (4, 2)),
    ],
)
def test_samples_of_a_class_share_their_features(
    counts: tuple[int, ...], depth: int, bias: bool, widths: tuple[int, ...]
) -> None:
    """NC1 itself: every sample has a feature vector of its own, and the search brings each class to one point."""
    decays = tuple(0.008 * 1.5**m for m in range(depth))
    problem = make(counts, depth, 0.01, bias=bias, widths=widths, weight_decays=decays)
    prediction = predict(problem)
    assert prediction.logits is not None
    instance = Instance.by_sample(problem)
    best = instance.search(np.random.default_rng(5), prediction.logits[:, instance.labels])[0]
    assert best.value == pytest.approx(prediction.objective, rel=1e-9)  # the search's gradient tolerance, squared
    features = best.factors[0]
    means = np.stack([features[:, instance.labels == k].mean(axis=1) for k in range(len(counts))], axis=1)
    spread = np.linalg.norm(features - means[:, instance.labels]) / np.linalg.norm(features)
    assert spread <= 1e-6  # the root of the objective's accuracy
    gram = means.T @ means
    distance = np.linalg.norm(gram - prediction.layers[0].feature_gram) / np.linalg.norm(gram)
    assert distance <= 1e-5  # likewise
    factors = [features, *best.factors[1:]]
    assert problem.feature_decay is not None
    decay = (problem.feature_decay, *problem.weight_decays)
    for m in range(depth):  # neighbouring layers are balanced at every stationary point
        below, above = decay[m] * factors[m] @ factors[m].T, decay[m + 1] * factors[m + 1].T @ factors[m + 1]
        assert np.linalg.norm(above - below) <= 1e-5 * np.linalg.norm(below)  # likewise


# --- bottlenecks -----------------------------------------------------------------------------------------------------

TIES = [  # counts, widths, bias, rank that is open, number of directions it is chosen from
    ((20, 20, 20, 20), (5, 2), False, 2, 4),
    ((20, 20, 20, 20), (5, 2), True, 2, 3),
    ((9, 9, 9, 30), (2,), False, 1, 3),
    ((9, 9, 9, 30), (2, 6, 5), True, 1, 2),
]


@pytest.mark.parametrize(("counts", "widths", "bias", "rank", "among"), TIES)
def test_tie_at_a_bottleneck(
    counts: tuple[int, ...], widths: tuple[int, ...], bias: bool, rank: int, among: int
) -> None:
    """The optimum found is the determined part plus value * P, P projecting onto part of the stated span."""
    problem = make(counts, len(widths), 2e-3, bias=bias, widths=widths)
    prediction = predict(problem)
    tie = prediction.tie
    assert tie is not None
    assert (tie.rank, tie.basis.shape) == (rank, (len(counts), among))
    assert prediction.collapsed() == [None] * len(counts)
    found = as_json(prediction)
    assert [found[key] for key in ("weight_gram", "feature_gram", "logits", "mean_rank")] == [None] * 4
    assert all(entry["logit"] is None and entry["collapsed"] is None for entry in found["classes"])
    assert "undetermined" in as_table(prediction)

    best = Instance.by_class(problem).search(np.random.default_rng(7))[0]
    assert best.value == pytest.approx(prediction.objective, rel=1e-8)  # the search's gradient tolerance
    assert prediction.logits is not None
    parts = [(best.suffix(0) @ best.factors[0], prediction.logits, tie.logit_value)]
    for m, layer in enumerate(prediction.layers):
        weights, features = best.suffix(m), best.layer_input(m)
        parts.append((weights @ weights.T, layer.weight_gram, tie.weight_values[m]))
        parts.append((features.T @ features, layer.feature_gram, tie.feature_values[m]))
    for matrix, fixed, value in parts:
        projection = (matrix - fixed) / value
        inside = tie.basis @ tie.basis.T @ projection
        assert np.abs(projection @ projection - projection).max() <= 1e-4  # the search's accuracy in the matrices
        assert np.abs(inside - projection).max() <= 1e-4
        assert np.trace(projection) == pytest.approx(rank, abs=1e-4)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("depth", [1, 3])
def test_bottleneck_without_tie_keeps_the_best_low_rank_part(bias: bool, depth: int) -> None:
    """Exact, in the sample-weighted sense for what has one column per class: rounding only."""
    wide = make((60, 40, 25, 12, 7), depth, 1e-4, bias=bias)
    narrow = predict(replace(wide, widths=(2,) + (6,) * (depth - 1)))
    full = predict(wide)
    root = np.sqrt(np.array(wide.counts))

    def best_rank_two(matrix: Array) -> Array:
        left, values, right_t = np.linalg.svd(matrix)
        return np.asarray((left[:, :2] * values[:2]) @ right_t[:2])

    assert full.logits is not None
    assert narrow.logits is not None
    assert narrow.tie is None
    assert np.abs(best_rank_two(full.logits * root) / root - narrow.logits).max() <= 1e-12
    for whole, part in zip(full.layers, narrow.layers, strict=True):
        scale = np.abs(whole.weight_gram).max()
        assert np.abs(best_rank_two(whole.weight_gram) - part.weight_gram).max() <= 1e-12 * scale
    assert full.objective is not None
    assert narrow.objective is not None
    assert narrow.objective > full.objective
