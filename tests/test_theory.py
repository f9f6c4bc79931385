"""The closed form of the squared loss against golden values, a numerical search, and its own limits and thresholds."""

import json
import subprocess
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest
from free_features import Array, Instance, Point, random_setting

from ncrun.theory import Geometry, Problem, predict
from ncrun.theory.report import as_json, as_table
from ncrun.theory.squared_loss import (
    existence_border,
    global_border,
    kept_fraction,
    label_spectrum,
    shrinkage_strength,
)

CIFAR = (100, 100, 200, 200, 300, 300, 400, 400, 500, 500)
CONTRACT = {"objective", "classes", "bias", "weight_gram", "feature_gram", "logits", "claim", "source", "references"}
CLASS_CONTRACT = {"count", "weight_norm_sq", "feature_norm_sq", "logit", "margin", "collapsed", "merged_with"}


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


def weight_norms(geometry: Geometry) -> Array:
    return np.diag(geometry.layers[0].weight_gram)


def feature_norms(geometry: Geometry) -> Array:
    return np.diag(geometry.layers[0].feature_gram)


def simplex(K: int) -> Array:
    return np.eye(K) - np.ones((K, K)) / K


# --- golden values ---------------------------------------------------------------------------------------------------

IMBALANCED = {  # depth: |w|^2, |h|^2, objective for n = 200, 100, 50, 50 with all decays 5e-4
    1: ("13.9421 9.8000 6.8711 6.8711", ".0697 .0980 .1374 .1374", ".018942"),
    3: ("52.8827 31.3223 18.5022 18.5022", ".0188 .0315 .0529 .0529", ".012218"),
    6: ("93.480 51.451 28.249 28.249", ".0107 .0193 .0349 .0349", ".013220"),
}
BALANCED = {  # depth: |w|^2, |h|^2, objective for 4 x 100 with all decays 5e-4
    1: ("9.8000", ".0980", ".019800"),
    3: ("31.3223", ".03152", ".012629"),
    6: ("51.4514", ".01929", ".013507"),
    9: ("62.735", ".01584", ".015844"),
}


@pytest.mark.parametrize("depth", IMBALANCED)
def test_golden_imbalanced(depth: int) -> None:
    weights, features, objective = IMBALANCED[depth]
    geometry = predict(make((200, 100, 50, 50), depth, 5e-4))
    assert_printed(weight_norms(geometry), weights)
    assert_printed(feature_norms(geometry), features)
    assert_printed(geometry.objective, objective)


def test_golden_imbalanced_roots_and_logits() -> None:
    """Two more columns of the same table: the root x, |w|^2 = N lam_H x^M, and the logits for M = 1."""
    for depth, printed in ((3, "6.4184 5.3902 4.5227"), (6, "2.7858 2.5219 2.2821")):
        norms = weight_norms(predict(make((200, 100, 50, 50), depth, 5e-4)))[:3]
        assert_printed((norms / (400 * 5e-4)) ** (1 / depth), printed)
    logits = predict(make((200, 100, 50, 50), 1, 5e-4)).logits
    assert logits is not None
    assert_printed(np.diag(logits)[:3], ".9859 .9800 .9717")


@pytest.mark.parametrize("depth", BALANCED)
def test_golden_balanced(depth: int) -> None:
    weights, features, objective = BALANCED[depth]
    geometry = predict(make((100,) * 4, depth, 5e-4))
    assert_printed(weight_norms(geometry), " ".join([weights] * 4))
    assert_printed(feature_norms(geometry), " ".join([features] * 4))
    assert_printed(geometry.objective, objective)


@pytest.mark.parametrize(("depth", "objective"), [(1, ".014850"), (3, ".009472")])
def test_golden_balanced_with_bias(depth: int, objective: str) -> None:
    assert_printed(predict(make((100,) * 4, depth, 5e-4, bias=True)).objective, objective)


def test_golden_collapse() -> None:
    geometry = predict(make((40, 20, 10, 1), 3, 1e-2))
    assert_printed(weight_norms(geometry), "14.8278 8.3701 4.5176 0.0000")
    assert_printed(geometry.objective, ".1325952")
    assert geometry.collapsed() == [False, False, False, True]


def test_golden_collapse_with_unequal_decays() -> None:
    problem = make((40, 20, 10, 1), 2, 1e-2, weight_decays=(2e-2, 1e-2), feature_decay=4e-3)
    geometry = predict(problem)
    assert_printed(weight_norms(geometry), "4.65722 2.78985 1.61061 0.00000")
    assert geometry.collapsed() == [False, False, False, True]


def test_golden_cifar10() -> None:
    """The paper's imbalanced CIFAR10 at its effective decay: norms for M = 1, ratios of the extremes."""
    norms = weight_norms(predict(make(CIFAR, 1, 1e-4)))[::2]
    assert_printed(norms, "9.70 13.84 17.02 19.70 22.06")
    for depth, w_ratio, h_ratio in ((1, "1.508", ".674"), (3, "1.838", ".548"), (6, "2.001", ".502")):
        geometry = predict(make(CIFAR, depth, 1e-4))
        assert_printed(np.sqrt(weight_norms(geometry)[-1] / weight_norms(geometry)[0]), w_ratio)
        assert_printed(np.sqrt(feature_norms(geometry)[-1] / feature_norms(geometry)[0]), h_ratio)


# --- random settings against the numerical search --------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One random setting, what theory claims, and the end points of the search, best first."""

    problem: Problem
    geometry: Geometry
    found: list[Point]


def random_settings(count: int, seed: int) -> list[Problem]:
    rng = np.random.default_rng(seed)
    return [random_setting(rng) for _ in range(count)]


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    rng = np.random.default_rng(1)
    result = []
    for problem in random_settings(70, seed=2):
        geometry = predict(problem)
        result.append(Case(problem, geometry, Instance.by_class(problem).search(rng, geometry.logits)))
    return result


def clear_cut(problem: Problem) -> bool:
    """No tie, and no direction within 5% of its collapse or of being the first that a bottleneck drops."""
    counts = np.array(problem.counts)
    values = label_spectrum(counts, problem.bias).values
    rank = min(problem.num_classes, *problem.widths)
    assert problem.feature_decay is not None
    product = problem.feature_decay * float(np.prod(problem.weight_decays))
    kappa = shrinkage_strength(values, counts.sum(), problem.depth, product)[:rank]
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
    collapsed = [case.geometry.collapsed() for case in cases]
    assert sum(any(flags) and not all(flags) for flags in collapsed) >= 15
    assert sum(all(flags) for flags in collapsed) >= 2
    assert sum(clear_cut(problem) for problem in settings) >= 30


def test_objective_is_the_best_that_a_search_finds(cases: list[Case]) -> None:
    for case in cases:
        claim = case.geometry.objective
        assert claim is not None
        assert case.geometry.claim == "proven"
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
        best, geometry = case.found[0], case.geometry
        assert geometry.logits is not None
        assert geometry.bias is not None
        assert_near(best.suffix(0) @ best.factors[0], geometry.logits, case.problem)
        for m, layer in enumerate(geometry.layers):
            weights, features = best.suffix(m), best.layer_input(m)
            assert_near(weights @ weights.T, layer.weight_gram, case.problem)
            assert_near(features.T @ features, layer.feature_gram, case.problem)
        assert np.allclose(best.bias, geometry.bias, rtol=0, atol=1e-6)  # the search's gradient tolerance, 1e-9


def test_predicted_optimum_is_stationary_and_has_the_predicted_value() -> None:
    """Without any search: factors built from the predicted logits. 1e-11: rounding through up to six factors."""
    rng = np.random.default_rng(3)
    for problem in random_settings(70, seed=4):
        geometry = predict(problem)
        if geometry.tie is not None:
            continue
        assert geometry.logits is not None
        assert geometry.bias is not None
        instance = Instance.by_class(problem)
        factors = instance.balanced_factors(geometry.logits, rng)
        value, gradients, bias_gradient = instance.value_and_gradient(factors, geometry.bias)
        assert value == pytest.approx(geometry.objective, rel=1e-11)
        scaled = [np.abs(s * g).max() for s, g in zip(instance.scales(), gradients, strict=True)]
        assert max(*scaled, np.abs(bias_gradient).max()) <= 1e-11
        point = Point(value, factors, geometry.bias)
        for m, layer in enumerate(geometry.layers):
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
    geometry = predict(problem)
    assert geometry.logits is not None
    instance = Instance.by_sample(problem)
    best = instance.search(np.random.default_rng(5), geometry.logits[:, instance.labels])[0]
    assert best.value == pytest.approx(geometry.objective, rel=1e-9)  # the search's gradient tolerance, squared
    features = best.factors[0]
    means = np.stack([features[:, instance.labels == k].mean(axis=1) for k in range(len(counts))], axis=1)
    spread = np.linalg.norm(features - means[:, instance.labels]) / np.linalg.norm(features)
    assert spread <= 1e-6  # the root of the objective's accuracy
    gram = means.T @ means
    distance = np.linalg.norm(gram - geometry.layers[0].feature_gram) / np.linalg.norm(gram)
    assert distance <= 1e-5  # likewise
    factors = [features, *best.factors[1:]]
    assert problem.feature_decay is not None
    decay = (problem.feature_decay, *problem.weight_decays)
    for m in range(depth):  # neighbouring layers are balanced at every stationary point
        below, above = decay[m] * factors[m] @ factors[m].T, decay[m + 1] * factors[m + 1].T @ factors[m + 1]
        assert np.linalg.norm(above - below) <= 1e-5 * np.linalg.norm(below)  # likewise


# --- special cases ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2, 3, 6])
@pytest.mark.parametrize("bias", [False, True])
def test_balanced_is_an_orthogonal_frame_or_with_bias_a_simplex(depth: int, bias: bool) -> None:
    """Exact identities: rounding only."""
    geometry = predict(make((30,) * 5, depth, 1e-3, bias=bias))
    target = simplex(5) if bias else np.eye(5)
    assert geometry.logits is not None
    assert_shape(geometry.logits, target)
    assert len(geometry.layers) == depth
    for layer in geometry.layers:
        assert_shape(layer.weight_gram, target)
        assert_shape(layer.feature_gram, target)


def test_bias_is_the_share_of_each_class() -> None:
    """Exact: rounding only. A setting without bias has none."""
    counts = np.array([70.0, 20.0, 9.0, 1.0])
    for depth in (1, 3):
        with_bias = predict(make(tuple(counts), depth, 1e-4, bias=True)).bias
        without = predict(make(tuple(counts), depth, 1e-4)).bias
        assert with_bias is not None
        assert without is not None
        assert np.abs(with_bias - counts / 100).max() <= 1e-12
        assert not without.any()


# --- thresholds ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("depth", "ratio"), [(2, "1.19"), (3, "1.41"), (6, "2.13")])
def test_ratio_of_the_two_borders(depth: int, ratio: str) -> None:
    assert_printed(existence_border(depth) / global_border(depth), ratio)


@pytest.mark.parametrize("depth", [1, 2, 3, 6])
def test_borders_against_a_fine_grid(depth: int) -> None:
    """1e-6: the grid's spacing, 1e-5, enters squared at a smooth extreme; for M = 1 the extreme is an end."""
    lost = np.linspace(0, 1, 100001)[1:-1]
    pull = lost * (1 - lost) ** ((depth - 1) / (depth + 1))
    assert existence_border(depth) == pytest.approx(pull.max(), rel=2e-5 if depth == 1 else 1e-6)
    # Zero wins once the penalty of keeping a share a outweighs the gain for every a, in units of t^2 / N.
    kept = 1 - lost
    gain = (1 - lost**2) / 2
    price = (depth + 1) / 2 * kept ** (2 / (depth + 1))
    assert global_border(depth) == pytest.approx((gain / price).max(), rel=2e-5 if depth == 1 else 1e-6)


@pytest.mark.parametrize("depth", [1, 2, 3, 5, 9])
def test_kept_fraction_solves_its_equation(depth: int) -> None:
    """Plugged back in. 1.2e-16 is half the spacing of the floats below and above a = 1; the rest is rounding."""
    border = global_border(depth)
    kappa = np.concatenate([np.logspace(-14, -1, 60), border * np.array([0.3, 0.6, 0.9, 0.999, 1 - 1e-9])])
    kappa = kappa[kappa < border]
    kept = kept_fraction(kappa, depth)
    assert np.all(np.abs((1 - kept) * kept ** ((depth - 1) / (depth + 1)) - kappa) <= 1.2e-16 + 2e-15 * kappa)
    assert np.all(kept >= (depth - 1) / depth)  # the larger root: the smaller one is a saddle
    assert not kept_fraction(np.array([border, 1.000001 * border, 1e3]), depth).any()


def flips(problem: Problem, k: int, factor: float) -> bool:
    """Whether class k collapses just there. 1e-6 relative: far above the bisection's last bit."""
    before, after = (predict(times(problem, factor * (1 + step))).collapsed()[k] for step in (-1e-6, 1e-6))
    return (before, after) == (False, True)


@pytest.mark.parametrize(("bias", "count"), [(False, 60), (True, 12)])
def test_decay_to_collapse_is_where_a_class_collapses(bias: bool, count: int) -> None:
    """Classes of different sizes, with bottlenecks among the settings: each at exactly its own factor."""
    checked = 0
    for drawn in random_settings(count, seed=6):
        counts = tuple(size + 0.125 * k for k, size in enumerate(drawn.counts))
        problem = replace(drawn, counts=counts, bias=bias)
        geometry = predict(problem)
        assert geometry.decay_to_collapse is not None
        for k, factor in enumerate(geometry.decay_to_collapse):
            if factor == 0:  # a bottleneck leaves it out whatever the decays
                assert predict(times(problem, 1e-6)).collapsed()[k]
            elif np.isinf(factor):
                assert bias  # the share of the largest class stays its favourite
                assert not predict(times(problem, 1e6)).collapsed()[k]
            else:
                assert flips(problem, k, factor), (problem, k, factor)
                checked += 1
            assert geometry.collapsed()[k] == (factor <= 1), (problem, k, factor)
    assert checked >= 2 * count


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("counts", [(3, 12, 3), (40, 40, 4, 4), (18, 21, 18), (10, 10, 10)])
def test_decay_to_collapse_of_equal_classes(counts: tuple[int, ...], depth: int, bias: bool) -> None:
    """Equal classes lose their difference first: from there on their margin is zero, not rounding noise."""
    problem = make(counts, depth, 1e-3, bias=bias)
    factors = predict(problem).decay_to_collapse
    assert factors is not None
    for k, factor in enumerate(factors):
        assert factors[counts.index(counts[k])] == pytest.approx(factor, rel=1e-9)  # bisection to 60 bits
        assert np.isinf(factor) or flips(problem, k, factor), (k, factor)


def test_a_tie_leaves_the_collapse_of_its_classes_open_even_where_all_is_zero() -> None:
    """Four equal classes, two of which fit: no two of them may be told apart by the prediction."""
    for bias in (False, True):
        factors = predict(make((10,) * 4, 1, 10.0, bias=bias, widths=(2,))).decay_to_collapse
        assert factors is None or np.isnan(factors).all()


def test_class_threshold_of_one_layer() -> None:
    """n_k <= N^2 lam_W lam_H, class by class; the middle class is put 1e-9 to either side of it."""
    counts = np.array([50.0, 10.0, 2.0])
    for side, gone in ((-1e-9, False), (1e-9, True)):
        product = 10.0 / counts.sum() ** 2 * (1 + side)
        problem = make(tuple(counts), 1, 0.02, feature_decay=product / 0.02)
        assert predict(problem).collapsed() == [False, gone, True]


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
    geometry = predict(problem)
    tie = geometry.tie
    assert tie is not None
    assert (tie.rank, tie.basis.shape) == (rank, (len(counts), among))
    assert geometry.collapsed() == [None] * len(counts)
    found = as_json(geometry)
    assert [found[key] for key in ("weight_gram", "feature_gram", "logits", "mean_rank")] == [None] * 4
    assert all(entry["logit"] is None and entry["collapsed"] is None for entry in found["classes"])
    assert "undetermined" in as_table(geometry)

    best = Instance.by_class(problem).search(np.random.default_rng(7))[0]
    assert best.value == pytest.approx(geometry.objective, rel=1e-8)  # the search's gradient tolerance
    assert geometry.logits is not None
    parts = [(best.suffix(0) @ best.factors[0], geometry.logits, tie.logit_value)]
    for m, layer in enumerate(geometry.layers):
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


# --- other settings --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2, 3, 6])
def test_limit_without_bias_is_a_power_of_the_counts(depth: int) -> None:
    """Exact: rounding only."""
    counts = np.array([1000.0, 300.0, 300.0, 20.0])
    geometry = predict(make(tuple(counts), depth, 1e-4, decay_mode="parameters", feature_decay=None))
    assert (geometry.claim, geometry.scale_free, geometry.objective) == ("transferred", True, None)
    power = depth / (depth + 1)
    assert_shape(geometry.layers[0].weight_gram, np.diag(counts**power))
    assert_shape(geometry.layers[0].feature_gram, np.diag(counts**-power))
    assert geometry.logits is not None
    assert_shape(geometry.logits, np.eye(4))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_limit_is_what_vanishing_decay_approaches(bias: bool, depth: int) -> None:
    """1e-7: with decays of 1e-9 the shares lost are a few 1e-8."""
    tiny = make((50, 20, 20, 5), depth, 1e-10, bias=bias)
    limit = predict(replace(tiny, decay_mode="parameters", feature_decay=None))
    exact = predict(tiny)
    assert exact.logits is not None
    assert limit.logits is not None
    assert_shape(limit.logits, exact.logits, 1e-7)
    for at_limit, at_tiny in zip(limit.layers, exact.layers, strict=True):
        assert_shape(at_limit.weight_gram, at_tiny.weight_gram, 1e-7)
        assert_shape(at_limit.feature_gram, at_tiny.feature_gram, 1e-7)


UNCOVERED = [
    make((5, 5, 2), 2, 1e-3, loss="ce"),
    make((5, 5, 2), 2, 1e-3, loss="ce", decay_mode="parameters", feature_decay=None),
    make((5, 5, 2), 2, 1e-3, feature_decay=0.0),
    make((5, 5, 2), 2, 1e-3, weight_decays=(1e-3, 0.0)),
    make((5, 5, 2), 1, 0.0, decay_mode="parameters", feature_decay=None),
]


@pytest.mark.parametrize("problem", UNCOVERED)
def test_no_theory_no_numbers(problem: Problem) -> None:
    geometry = predict(problem)
    assert (geometry.claim, geometry.objective, geometry.layers, geometry.logits) == ("none", None, (), None)
    assert geometry.note
    assert geometry.collapsed() == [None] * 3


def test_nonnegative_features() -> None:
    """Without bias a frame fits into the orthant and nothing changes; with bias only the lower bound is left."""
    free = make((30, 20, 4), 2, 2e-3)
    orthant = predict(replace(free, feature_sign="nonnegative"))
    assert orthant.claim == "proven"
    assert orthant.objective == predict(free).objective
    with_bias = predict(replace(free, feature_sign="nonnegative", bias=True))
    assert (with_bias.claim, with_bias.layers, with_bias.logits) == ("none", (), None)
    assert with_bias.objective is not None
    assert orthant.objective is not None
    assert with_bias.objective == predict(replace(free, bias=True)).objective
    assert with_bias.objective < orthant.objective  # b = 0 is allowed, so the bound cannot lie above


def test_features_from_inputs_keep_the_bound_and_say_so() -> None:
    problem = make((30, 20, 4), 2, 2e-3)
    limited = predict(replace(problem, free_features=False))
    assert limited.objective == predict(problem).objective
    assert "lower bound" in limited.note


def test_balanced_baseline() -> None:
    """Exact: the average of these counts is a whole number."""
    baseline = make((50, 30, 10), 2, 1e-3).balanced()
    assert baseline.counts == (30.0, 30.0, 30.0)
    assert predict(baseline).objective == predict(make((30, 30, 30), 2, 1e-3)).objective


def test_mean_rank_is_the_rank_of_the_centred_means() -> None:
    """Against numpy's rank of the means themselves, 1e-6 being far below any mean that has not collapsed."""
    partly = 0
    for problem in random_settings(70, seed=8):
        geometry = predict(problem)
        if geometry.tie is not None:
            assert geometry.mean_rank is None
            continue
        values, vectors = np.linalg.eigh(geometry.layers[0].feature_gram)
        means = np.sqrt(np.clip(values, 0, None))[:, None] * vectors.T  # any means with this Gram matrix
        share = np.array(problem.counts) / sum(problem.counts)
        centred = means - (means @ share)[:, None]
        scale = float(np.sqrt(max(values.max(), 1e-300)))
        assert geometry.mean_rank == np.linalg.matrix_rank(centred / scale, tol=1e-6), problem
        partly += 0 < geometry.mean_rank < problem.num_classes - 1
    assert partly >= 10


def test_merged_classes_share_their_mean() -> None:
    """Without bias all collapsed classes sit at zero; with bias and equal counts they keep a mean in common."""
    assert predict(make((40, 20, 1, 1), 3, 1e-2)).merged_with() == [[], [], [3], [2]]
    problem = make((3, 12, 3), 2, 6e-2, bias=True)
    assert predict(problem).collapsed() == [True, False, True]
    assert predict(problem).merged_with() == [[2], [], [0]]
    assert feature_norms(predict(problem)).min() > 0


# --- the report ------------------------------------------------------------------------------------------------------

REPORTED = [
    *random_settings(40, seed=9),
    *UNCOVERED,
    *(make(counts, len(widths), 2e-3, bias=bias, widths=widths) for counts, widths, bias, _, _ in TIES),
    make((10, 10), 1, 1e3),
    make((10, 10), 1, 1e3, bias=True),
    make((10, 20), 2, 1e3, bias=True),
    make((10,) * 4, 1, 10.0, widths=(2,)),
    make((30, 20, 4), 2, 2e-3, bias=True, feature_sign="nonnegative"),
    make((30, 20, 4), 2, 2e-3, free_features=False),
    make((30, 20, 4), 2, 1e-4, decay_mode="parameters", feature_decay=None),
    make((30, 20, 4), 2, 1e-4, bias=True, decay_mode="parameters", feature_decay=None),
]


def test_report_is_plain_json_and_a_table_for_every_setting() -> None:
    for problem in REPORTED:
        geometry = predict(problem)
        found = json.loads(json.dumps(as_json(geometry), allow_nan=False))
        assert set(found) >= CONTRACT
        assert len(found["classes"]) == problem.num_classes
        assert all(set(entry) >= CLASS_CONTRACT for entry in found["classes"])
        table = as_table(geometry)
        assert f"claim: {geometry.claim}" in table
        assert "nan" not in table


def test_report_holds_the_numbers_of_the_geometry() -> None:
    """Exact: the report only copies."""
    geometry = predict(make((40, 20, 10, 1), 3, 1e-2, bias=True))
    found = as_json(geometry)
    margins = geometry.margins()
    assert margins is not None
    assert geometry.logits is not None
    assert geometry.bias is not None
    scores = geometry.logits + geometry.bias[:, None]
    for k, entry in enumerate(found["classes"]):
        assert entry["count"] == (40, 20, 10, 1)[k]
        assert entry["weight_norm_sq"] == found["weight_gram"][k][k]
        assert entry["feature_norm_sq"] == found["feature_gram"][k][k]
        assert entry["logit"] == found["logits"][k][k]
        assert entry["margin"] == margins[k] == scores[k, k] - max(np.delete(scores[:, k], k))
    assert found["classes"][3]["collapsed"] is True
    assert found["bias"] == pytest.approx([40 / 71, 20 / 71, 10 / 71, 1 / 71], rel=1e-15)


def test_a_prediction_needs_no_torch() -> None:
    code = "import sys, ncrun.theory, ncrun.theory.report; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"
