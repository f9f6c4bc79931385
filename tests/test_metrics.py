"""The collapse metrics: against a slow reference on random cases, on cases with a known answer, and where float32
misleads.
"""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from reference_metrics import (
    Array,
    Case,
    between,
    class_means,
    deviations,
    measured,
    random_case,
    reference,
    reference_loss,
    tolerance,
    torch_head,
    whole_head,
    within,
)

from ncrun import metrics
from ncrun.objective import Objective
from ncrun.theory import Geometry, Problem, predict

TARGET_FREE = ("nc1", "nc1_rank", "nc1_trace", "etf_w", "etf_h", "duality", "cdnv", "rank", "nc4", "train_accuracy")
LEDGER = ("ledger.within_class", "ledger.duality", "ledger.bias", "ledger.geometry")


def problem(counts: tuple[float, ...], widths: tuple[int, ...], bias: bool = False, decay: float = 1e-3) -> Problem:
    return Problem("mse", counts, widths, bias, (decay,) * len(widths), decay)


def case_of(
    features: Any, labels: Any, weights: list[Array], bias: Any = None, with_bias: bool = False, dtype: Any = float
) -> Case:
    """A case whose test split is its training split, for tests that set every number themselves."""
    features, labels = np.asarray(features, dtype=dtype), np.asarray(labels, dtype=np.int64)
    K = len(weights[-1])
    counts = tuple(float(n) for n in np.bincount(labels, minlength=K))
    made = problem(counts, tuple(weight.shape[1] for weight in weights), with_bias)
    zeros = np.zeros(K) if bias is None else np.asarray(bias, dtype=float)
    return Case(features, labels, features, labels, weights, zeros, made)


def optimum(geometry: Geometry, rng: np.random.Generator) -> tuple[Case, Array]:
    """A case that sits exactly at the predicted optimum (a random member where a bottleneck leaves a choice), and
    its logits.

    The factors follow from the logits alone: all M+1 of them carry the same penalty in every direction.
    """
    made = geometry.problem
    assert geometry.logits is not None
    assert geometry.bias is not None
    assert made.feature_decay is not None
    counts, M = np.array(made.counts), made.depth
    logits = geometry.logits.copy()
    if geometry.tie is not None:
        frame = np.linalg.qr(rng.normal(size=(geometry.tie.basis.shape[1], geometry.tie.rank)))[0]
        kept = geometry.tie.basis @ frame
        logits += geometry.tie.logit_value * kept @ kept.T
    left, z, right_t = np.linalg.svd(logits * np.sqrt(counts))
    rank = int(np.sum(z > 1e-12))
    left, z, right = left[:, :rank], z[:rank], right_t[:rank].T
    energy = (made.feature_decay * np.prod(made.weight_decays) * z**2) ** (1 / (M + 1))
    frames = [np.linalg.qr(rng.normal(size=(width, rank)))[0] for width in made.widths] + [left]
    weights = [(frames[m + 1] * np.sqrt(energy / decay)) @ frames[m].T for m, decay in enumerate(made.weight_decays)]
    means = ((right / np.sqrt(counts)[:, None]) * np.sqrt(energy / made.feature_decay)) @ frames[0].T
    labels = np.repeat(np.arange(len(counts)), counts.astype(int))
    features = means[labels]
    return Case(features, labels, features, labels, weights, geometry.bias, made), logits


# --- random cases


@pytest.mark.parametrize("seed", range(120))
def test_every_metric_equals_the_reference(seed: int) -> None:
    """All keys of all four functions; the tolerances and their reasons stand in `tolerance`."""
    case = random_case(np.random.default_rng(seed))
    off = {
        key: value for key, value in deviations(measured(case), reference(case)).items() if value > tolerance(key, case)
    }
    assert not off


def test_head_1_equals_the_top_level() -> None:
    """Equal to the bit: one is a copy of the other."""
    for seed in range(20):
        values = measured(random_case(np.random.default_rng(seed)))
        first = {key.removeprefix("head.1."): value for key, value in values.items() if key.startswith("head.1.")}
        assert first == {key: values[key] for key in first}
        assert len(first) == 10


# --- the predicted optimum

OPTIMA = {
    "orthogonal frame": problem((6, 6, 6, 6), (9,)),
    "simplex": problem((6, 6, 6, 6), (9,), bias=True),
    "simplex, d = K-1": problem((6, 6, 6, 6), (3, 7), bias=True),
    "two classes": problem((5, 5), (3,), bias=True),
    "general orthogonal frame": problem((12, 7, 3, 1), (8,)),
    "general, bias": problem((12, 7, 3, 1), (8, 6), bias=True),
    "general, deep": problem((12, 7, 3, 1), (8, 6, 5, 9)),
    "minority collapse": problem((40, 20, 10, 1), (6, 6, 6), decay=1e-2),
    "bottleneck": problem((12, 7, 3, 1), (9, 2)),
    "deep bottleneck": problem((12, 7, 3, 1), (9, 2, 5, 4)),
    "tie at a bottleneck": problem((6, 6, 6, 6, 6), (9, 3)),
    "tie at a bottleneck, bias": problem((6, 6, 6, 6, 6), (9, 3), bias=True),
}


@pytest.mark.parametrize("name", OPTIMA)
def test_the_predicted_optimum_is_at_distance_zero(name: str) -> None:
    """Distances and ledger terms to 1e-12, the rounding of O(1) numbers; nc1 is the square of a rounding error."""
    target = predict(OPTIMA[name])
    values = measured(optimum(target, np.random.default_rng(0))[0])
    layers = range(1, target.problem.depth + 1)
    for key in ("nc2_w", "nc2_h", "nc3", *(f"head.{m}.{key}" for m in layers for key in ("nc2_w", "nc2_h", "nc3"))):
        assert values[key] == pytest.approx(0, abs=1e-12), key
    for key in ("gap", *LEDGER):
        assert values[key] == pytest.approx(0, abs=1e-12), key
    assert values["nc1"] < 1e-24
    assert target.mean_rank is None or values["nc1_rank"] == target.mean_rank
    if target.problem.depth > 1:
        assert values["balance"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("bias", [False, True])
def test_the_ledger_at_a_deep_bottleneck_ignores_rounding(bias: bool) -> None:
    """A singular value that is zero but for rounding would enter with 1e-16 ** (2/(M+1)), 4e-7 at M = 4, and turn
    the duality term negative; 1e-12 is what the terms themselves round to.
    """
    target = predict(problem((12, 7, 3, 2), (9, 2, 5, 4), bias))
    values = measured(optimum(target, np.random.default_rng(3))[0])
    assert all(abs(values[key]) < 1e-12 for key in LEDGER), {key: values[key] for key in LEDGER}


def test_collapsed_classes_have_the_etf_of_their_frame() -> None:
    """At the simplex all target-free distances vanish, too (1e-12: rounding); the orthogonal frame, centred, is a
    simplex.
    """
    for name in ("simplex", "orthogonal frame"):
        values = measured(optimum(predict(OPTIMA[name]), np.random.default_rng(1))[0])
        assert values["etf_w"] == pytest.approx(0, abs=1e-12)
        assert values["etf_h"] == pytest.approx(0, abs=1e-12)
        assert values["duality"] == pytest.approx(0, abs=1e-12)


def test_the_usual_set_at_exact_frames() -> None:
    """Simplex: equal norms, cosines -1/(K-1), rank K-1. Orthogonal frame: the same once centred, cosines 0 of the
    classifier as it is, rank K. 1e-12: rounding.
    """
    simplex_values = measured(optimum(predict(OPTIMA["simplex"]), np.random.default_rng(1))[0])
    frame_values = measured(optimum(predict(OPTIMA["orthogonal frame"]), np.random.default_rng(1))[0])
    for values in (simplex_values, frame_values):
        for key in ("equinorm_w", "equinorm_h", "angle_h", "cdnv"):
            assert values[key] == pytest.approx(0, abs=1e-12), key
    assert simplex_values["angle_w"] == pytest.approx(0, abs=1e-12)
    assert frame_values["angle_w"] == pytest.approx(1 / 3, abs=1e-12)
    assert (simplex_values["rank"], frame_values["rank"]) == (3, 4)


def test_class_distance_variance_of_a_known_case() -> None:
    """Two classes of unit variance and of none, three apart: (1 + 0) / (2 * 9). Undefined where means coincide."""
    points = [[1.0, 0.0], [-1.0, 0.0], [0.0, 3.0], [0.0, 3.0]]
    values = measured(case_of(points, [0, 0, 1, 1], [np.eye(2)]))
    assert values["cdnv"] == pytest.approx(1 / 18, rel=1e-14)
    three = [*points, [0.0, 3.0]]
    assert measured(case_of(three, [0, 0, 1, 1, 2], [np.ones((3, 2))]))["cdnv"] is None


def test_the_distance_to_a_wrong_target_is_the_known_one() -> None:
    """A simplex against the orthogonal frame: ||I/sqrt(K) - simplex/sqrt(K-1)||^2 = 2 - 2 sqrt((K-1)/K); 1e-12:
    rounding.
    """
    at_simplex, _ = optimum(predict(OPTIMA["simplex"]), np.random.default_rng(0))
    without_bias = replace(at_simplex, problem=OPTIMA["orthogonal frame"])
    assert measured(without_bias)["nc2_w"] == pytest.approx(np.sqrt(2 - 2 * np.sqrt(3 / 4)), abs=1e-12)


# --- ties at a bottleneck


def test_a_tie_takes_the_nearest_member() -> None:
    """No random projection of the family comes nearer, and the best of many comes close, so that the bound is not
    idle.

    1e-12: rounding of the distances.
    """
    rng = np.random.default_rng(0)
    target = predict(problem((4, 4, 4), (6, 2)))
    assert target.tie is not None
    case, _ = optimum(target, rng)
    case = replace(case, weights=[w + 0.5 * rng.normal(size=w.shape) for w in case.weights])
    ours = measured(case)["nc2_w"]
    head = whole_head(case.weights)
    gram = head @ head.T / np.linalg.norm(head @ head.T)
    found = []
    for _ in range(4000):
        frame = target.tie.basis @ np.linalg.qr(rng.normal(size=(target.tie.basis.shape[1], target.tie.rank)))[0]
        member = target.layers[0].weight_gram + target.tie.weight_values[0] * frame @ frame.T
        found.append(np.linalg.norm(gram - member / np.linalg.norm(member)))
    assert ours <= min(found) + 1e-12
    assert min(found) < ours + 0.01
    assert max(found) > ours + 0.3


# --- degenerate inputs


def test_perfect_collapse_in_float32_is_exactly_zero() -> None:
    """Copies of one float32 vector have an exact float64 mean."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), [7, 5, 3, 1])
    features = (rng.normal(size=(4, 11)) + 5).astype(np.float32)[labels]
    values = measured(case_of(features, labels, [rng.normal(size=(4, 11))], dtype=np.float32))
    assert values["nc1"] == values["nc1_trace"] == values["test.nc1_train_means"] == 0
    assert values["class.nc1"] == [0, 0, 0, 0]
    assert values["nc1_rank"] == 3


def test_a_class_with_one_sample_has_no_spread() -> None:
    """Exactly: its mean is the sample. The other classes' spread stays."""
    rng = np.random.default_rng(0)
    values = measured(case_of(rng.normal(size=(9, 5)), [0] * 4 + [1] * 4 + [2], [rng.normal(size=(3, 5))]))
    assert values["class.nc1"][2] == 0
    assert min(values["class.nc1"][:2]) > 0.01


def test_a_class_without_a_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="every class"):
        metrics.scan(torch.zeros(3, 2), torch.tensor([0, 0, 1]), torch_head([np.ones((3, 2))], np.zeros(3)))


def test_fewer_samples_than_dimensions_is_no_special_case() -> None:
    """Features put isometrically into 300 dimensions keep every number; 1e-9: rounding, amplified by the small
    directions.
    """
    rng = np.random.default_rng(0)
    labels = [0, 0, 0, 1, 1, 2]
    frame = np.linalg.qr(rng.normal(size=(300, 5)))[0]
    features, weight = rng.normal(size=(6, 5)), rng.normal(size=(3, 5))
    small = measured(case_of(features, labels, [weight]))
    large = measured(case_of(features @ frame.T, labels, [weight @ frame.T]))
    assert max(deviations(large, small).values()) < 1e-9


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("with_bias", [False, True])
def test_equal_features_have_no_directions(dtype: Any, with_bias: bool) -> None:
    """Rank 0, so null, in float64 too, where the class means of equal samples differ by rounding."""
    rng = np.random.default_rng(0)
    features = np.tile(0.1 * np.arange(1, 6), (17, 1))
    weights = [rng.normal(size=(4, 5))]
    values = measured(case_of(features, np.repeat(np.arange(4), [7, 5, 3, 2]), weights, None, with_bias, dtype))
    assert values["nc1_rank"] == 0
    for key in ("nc1", "nc1_trace", "class.nc1", "test.nc1", "test.nc1_train_means", "test.nc1_trace", "etf_h"):
        assert values[key] is None, key
    for key in ("nc2_h", "nc3", "duality"):  # with a bias the means are centred, and nothing is left of them
        assert (values[key] is None) == with_bias, key


@pytest.mark.parametrize("row", [[0.0, 0.0, 0.0], [0.1, 0.7, -0.3]])
def test_equal_rows_of_the_classifier_have_no_simplex(row: list[float]) -> None:
    """Centred they are zero but for rounding: null, not the distance of rounding errors to a simplex."""
    rng = np.random.default_rng(0)
    values = measured(case_of(rng.normal(size=(7, 3)), [0, 0, 0, 1, 1, 2, 2], [np.tile(row, (3, 1))]))
    assert values["etf_w"] is None


def test_zero_weights_give_null_and_never_nan() -> None:
    rng = np.random.default_rng(0)
    zeros = [np.zeros((4, 5)), np.zeros((3, 4))]
    values = measured(case_of(rng.normal(size=(7, 5)), [0, 0, 0, 1, 1, 2, 2], zeros))
    for key in ("nc2_w", "nc3", "etf_w", "duality", "head.2.nc2_h", "head.2.nc1", "head.2.etf_h", "balance"):
        assert values[key] is None, key
    assert values["nc1"] > 0
    assert values["nc4_ties"] == 1
    flat = [x for value in values.values() for x in (value if isinstance(value, list) else [value])]
    assert all(np.isfinite(x) for x in flat if x is not None)


def test_a_prediction_of_zero_gives_null() -> None:
    """Decays so strong that the optimum is zero have no shape to compare with; the loss at zero is 1/2."""
    target = predict(problem((5, 5, 5), (4,), decay=1.0))
    assert target.objective == pytest.approx(0.5, abs=1e-12)
    case = replace(random_case(np.random.default_rng(0)), problem=target.problem, weights=[np.ones((3, 4))])
    case = replace(case, features=np.eye(4)[np.arange(15) % 4], labels=np.arange(15) % 3, bias=np.zeros(3))
    case = replace(case, test_features=case.features, test_labels=case.labels)
    values = measured(case)
    assert [values[key] for key in ("nc2_w", "nc2_h", "nc3")] == [None] * 3
    assert values["gap"] > 0


# --- two classes, ranks


def test_two_classes_nc1_is_blind_where_the_trace_sees() -> None:
    """Means at +-e_1, all spread along e_2 with variance 4: exact in binary arithmetic."""
    features = [[1, 2], [1, -2], [-1, 2], [-1, -2]]
    values = measured(case_of(features, [0, 0, 1, 1], [np.eye(2)]))
    assert values["nc1"] == 0
    assert values["nc1_trace"] == pytest.approx(4, rel=1e-14)
    assert values["nc1_rank"] == 1


@pytest.mark.parametrize(("factor", "rank"), [(0.5, 1), (2.0, 2)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_direction_counts_from_k_eps_on(factor: float, rank: int, dtype: Any) -> None:
    """The second singular value of the means stands at factor x K eps of the first, in a column of its own so that
    no rounding reaches it. nc1 is the share along e_1 alone, 1/K x s^2 / (1/K), or with e_2's added; 1e-6: float32
    features.
    """
    a, b, s = 1 / np.sqrt(2), factor * 3 * np.finfo(dtype).eps / np.sqrt(6), 2.0**-10
    means = np.array([[a, b], [-a, b], [0, -2 * b]])  # singular values 1 and factor K eps
    features = np.repeat(means, 2, axis=0) + np.array([[s, 0], [-s, 0]] * 3)
    values = measured(case_of(features, [0, 0, 1, 1, 2, 2], [np.eye(3, 2)], dtype=dtype))
    assert values["nc1_rank"] == rank
    assert values["nc1"] == pytest.approx(s**2, rel=1e-6)


def test_fewer_dimensions_than_directions_is_full_rank_not_degenerate() -> None:
    """K = 6 in d = 2: Sigma_B is invertible and nc1 = tr(Sigma_W Sigma_B^-1) / K; 1e-12: rounding of a 2 x 2
    inverse.
    """
    rng = np.random.default_rng(0)
    labels = np.arange(30) % 6
    features = rng.normal(size=(6, 2))[labels] + 0.3 * rng.normal(size=(30, 2))
    values = measured(case_of(features, labels, [rng.normal(size=(6, 2))]))
    means, overall = class_means(features, labels, 6)
    sigma_b = (means - overall).T @ (means - overall) / 6
    assert values["nc1_rank"] == 2
    expected = np.trace(within(features, labels, means)[0] @ np.linalg.inv(sigma_b)) / 6
    assert values["nc1"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("offset", [0.0, 10.0, 1e3])
def test_a_large_common_mean_adds_no_direction_in_float64(offset: float) -> None:
    """The sample-weighted sum of the centred means is zero, so the K-th direction is rounding, of the size of the
    means and not of their differences: counted, it makes nc1 1e25. Shifting all features changes nothing else;
    1e-8: 1e3 x eps / 0.1^2.
    """
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), [7, 5, 3, 2])
    features = rng.normal(size=(4, 20))[labels] + 0.1 * rng.normal(size=(17, 20))
    weights = [np.eye(4, 20)]
    plain = measured(case_of(features, labels, weights))
    shifted = measured(case_of(features + offset * rng.normal(size=20), labels, weights))
    assert shifted["nc1_rank"] == 3
    for key in ("nc1", "nc1_trace", "etf_h", "class.nc1"):
        assert shifted[key] == pytest.approx(plain[key], rel=1e-8), key


# --- what float32 gets wrong


def test_float32_pseudo_inverse_hides_minority_collapse() -> None:
    """Two class means all but coincide (Sigma_B's eigenvalues 1 : 2e-7), below float32's default cutoff at d = 64,
    where nearly all of NC1 lies. 1e-6 is asked; the pseudo-inverse misses more than nine tenths.
    """
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 20)
    means = np.zeros((3, 64))
    means[0, 0], means[1, 1], means[2, 1] = 2.0, 1.0, 1.0
    means[1, 2], means[2, 2] = 6e-4, -6e-4
    features = (means[labels] + 1e-3 * rng.normal(size=(60, 64))).astype(np.float32)
    case = case_of(features, labels, [np.eye(3, 64)], dtype=np.float32)
    expected = reference(case)["nc1"]
    single, overall = class_means(features.astype(float), labels, 3)
    sigma_b, _, _ = between(single, overall, case.eps)
    sigma_w, _ = within(features.astype(float), labels, single)
    inverse = torch.linalg.pinv(torch.from_numpy(sigma_b.astype(np.float32)))
    usual = float(torch.trace(torch.from_numpy(sigma_w.astype(np.float32)) @ inverse)) / 3
    assert usual < 0.1 * expected
    assert measured(case)["nc1"] == pytest.approx(expected, rel=1e-6)


def test_one_pass_float32_variance_is_wrong_near_collapse() -> None:
    """E x^2 - (E x)^2 in float32 with a mean of 10 and a spread of 1e-3 is off by more than its value; ours to 1e-9
    (rounding of 10 in float64, relative to the spread).
    """
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 200)
    means = 10 + rng.normal(size=(3, 8))
    features = (means[labels] + 1e-3 * rng.normal(size=(600, 8))).astype(np.float32)
    case = case_of(features, labels, [np.eye(3, 8)], dtype=np.float32)
    expected = reference(case)["nc1_trace"]
    exact_means, overall = class_means(features.astype(float), labels, 3)
    one_pass = np.float32(0)
    for k in range(3):
        own = features[labels == k]
        one_pass += np.sum(np.mean(own**2, axis=0) - np.mean(own, axis=0) ** 2) / np.float32(3)
    sigma_b, _, _ = between(exact_means, overall, case.eps)
    assert abs(one_pass / np.trace(sigma_b) / expected - 1) > 1
    assert measured(case)["nc1_trace"] == pytest.approx(expected, rel=1e-9)


def test_the_global_mean_weights_samples_and_sigma_b_weights_classes() -> None:
    """At 5:1 and means +-1, tr Sigma_B is 13/9 about the sample-weighted mean, 1 about the class-weighted one, and
    5/9 where Sigma_B is weighted by samples, too. 1e-14: rounding.
    """
    spread = np.array([0.5, -0.5])
    features = np.concatenate([np.tile(1 + spread, 5), -1 + spread])[:, None]
    values = measured(case_of(features, [0] * 10 + [1] * 2, [np.array([[1.0], [-1.0]])]))
    assert values["nc1_trace"] == pytest.approx(0.25 / (13 / 9), rel=1e-14)
    assert values["nc1"] == pytest.approx(0.25 / (13 / 9) / 2, rel=1e-14)


def test_no_matrix_of_dimension_squared_is_formed() -> None:
    """d = 200 000: one d x d matrix in float64 would take 320 GB. The numbers are those of the same features in d =
    5; 1e-9.
    """
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), [6, 4, 2])
    features, weight, first = rng.normal(size=(12, 5)), rng.normal(size=(3, 4)), rng.normal(size=(4, 5))
    padded, padded_first = np.zeros((12, 200_000)), np.zeros((4, 200_000))
    padded[:, ::40_000], padded_first[:, ::40_000] = features, first
    small = measured(case_of(features, labels, [first, weight]))
    large = measured(case_of(padded, labels, [padded_first, weight]))
    assert max(deviations(large, small).values()) < 1e-9


# --- the ledger and the gap


@pytest.mark.parametrize("seed", range(40))
def test_the_ledger_accounts_for_the_gap(seed: int) -> None:
    """Each term at least -1e-12, their sum the loss minus the optimum to 1e-12 of the loss: both are rounding."""
    rng = np.random.default_rng(1000 + seed)
    case = random_case(rng)
    M, K = len(case.weights), case.problem.num_classes
    decays = tuple(float(v) for v in 10 ** rng.uniform(-4, -1, M))
    case = replace(case, problem=Problem("mse", case.problem.counts, case.problem.widths, bool(seed % 2), decays, 1e-3))
    case = replace(case, bias=rng.normal(size=K) if seed % 2 else np.zeros(K))
    target = predict(case.problem)
    assert target.objective is not None
    values = measured(case)
    loss = reference_loss(case.problem, case.weights, case.bias, case.features, case.labels)
    assert min(values[key] for key in LEDGER) >= -1e-12
    assert sum(values[key] for key in LEDGER) == pytest.approx(loss - target.objective, rel=0, abs=1e-12 * loss)


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("with_bias", [False, True])
def test_the_gap_is_never_negative_and_shrinks_to_zero(depth: int, with_bias: bool) -> None:
    """Free features and head under L-BFGS: at least -1e-12 (rounding) at every step, and below 1e-6 in the end, so
    that the bound is tight. The counts are unequal, one class has a single sample.
    """
    torch.manual_seed(depth)
    made = problem((9, 6, 3, 1), (7,) * depth, with_bias)
    target = predict(made)
    labels = torch.repeat_interleave(torch.arange(4), torch.tensor([9, 6, 3, 1]))
    objective = Objective("mse", "features", made.weight_decays, made.feature_decay, 19)
    features = torch.randn(19, 7, dtype=torch.float64, requires_grad=True)
    sizes = [*made.widths, 4]
    weights = [(torch.randn(b, a, dtype=torch.float64) / a**0.5).requires_grad_() for a, b in itertools.pairwise(sizes)]
    bias = torch.zeros(4, dtype=torch.float64, requires_grad=with_bias)
    trained = [features, *weights, *([bias] if with_bias else [])]
    optimiser = torch.optim.LBFGS(
        trained, max_iter=60, history_size=40, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        logits = features
        for weight in weights:
            logits = logits @ weight.T
        loss = objective.on_batch(logits + bias, labels, features, weights, [])
        loss.backward()
        return loss

    gaps: list[float] = []
    while len(gaps) < 12 and (not gaps or gaps[-1] > 1e-7):
        optimiser.step(closure)
        head = torch_head([weight.detach().numpy() for weight in weights], bias.detach().numpy())
        split = metrics.scan(features.detach(), labels, head, data_term=objective.data_sum)
        values = metrics.gap_metrics(split, head, target, float(closure().detach()))
        gaps.append(values["gap"])
        assert min(values[key] for key in LEDGER) >= -1e-12
    assert min(gaps) >= -1e-12
    assert gaps[-1] < 1e-6


def test_without_a_proof_there_is_no_gap() -> None:
    for change in ({"loss": "ce", "feature_sign": "nonnegative"}, {"decay_mode": "parameters", "feature_decay": None}):
        case, _ = optimum(predict(OPTIMA["simplex"]), np.random.default_rng(0))
        values = measured(replace(case, problem=replace(case.problem, **change)))
        assert values["gap"] is None
        assert not any(key.startswith("ledger") for key in values)


# --- nearest class mean


def test_a_known_number_of_disagreements() -> None:
    """The classifier swaps classes 1 and 2, whose 3 + 2 of 9 samples stand at their means: exact counts."""
    labels = [0] * 4 + [1] * 3 + [2] * 2
    values = measured(case_of(np.eye(3)[labels], labels, [np.eye(3)[[0, 2, 1]]]))
    assert values["nc4"] == 5 / 9
    assert values["nc4_ties"] == 0
    assert values["train_accuracy"] == 4 / 9
    assert values["class.train_accuracy"] == [1, 0, 0]


def test_ties_are_counted_apart() -> None:
    """Classes 1 and 2 share mean and logits, as two collapsed classes do: 5 of 9 samples are tied, none disagrees."""
    labels = [0] * 4 + [1] * 3 + [2] * 2
    points = np.eye(2)[[0, 1, 1]]
    values = measured(case_of(points[labels], labels, [points]))
    assert values["nc4"] == 0
    assert values["nc4_ties"] == 5 / 9


def test_a_tie_of_one_side_agrees_if_the_other_is_among_the_tied() -> None:
    """The classifier cannot tell classes 1 and 2, the means can: 5 of 9 samples tied, none disagrees; exact counts."""
    labels = [0] * 4 + [1] * 3 + [2] * 2
    values = measured(case_of(np.eye(3)[labels], labels, [np.array([[1.0, 0, 0], [0, 1, 1], [0, 1, 1]])]))
    assert values["nc4"] == 0
    assert values["nc4_ties"] == 5 / 9


def test_the_test_split_is_compared_with_the_train_means() -> None:
    """Train means at 0 and 4, test means at 3 and 9, classifier split at 2: the test sample at 3 is nearest to the
    train mean 4, where the classifier puts it as well, so nothing disagrees; about the test means it would. Exact
    in binary arithmetic.
    """
    head, bias = [np.array([[-1.0], [1.0]])], [2.0, -2.0]
    case = case_of([[-1], [1], [3], [5]], [0, 0, 1, 1], head, bias, with_bias=True)
    case = replace(case, test_features=np.array([[2.5], [3.5], [9.0], [9.0]]), test_labels=np.array([0, 0, 1, 1]))
    values = measured(case)
    assert values["test.nc4"] == 0
    assert values["test_accuracy"] == 0.5
    assert values["test.nc1_trace"] == pytest.approx(0.125 / 9, rel=1e-14)  # spread 1/2 and 0 about 3 and 9
    assert values["test.nc1_train_means"] == pytest.approx((9.25 + 25) / 2 / 4 / 2, rel=1e-14)
    own = replace(case, features=case.test_features)
    assert measured(own)["nc4"] == 0.5


# --- invariance


def invariant_cases() -> list[Case]:
    """Random float64 cases, a few of every depth."""
    cases = [random_case(np.random.default_rng(5000 + seed)) for seed in range(60)]
    return [case for case in cases if case.features.dtype == np.float64][:20]


def test_rotating_features_and_head_changes_nothing() -> None:
    """1e-8: rounding, amplified by small directions of Sigma_B."""
    rng = np.random.default_rng(0)
    for case in invariant_cases():
        d = case.features.shape[1]
        turn = np.linalg.qr(rng.normal(size=(d, d)))[0]
        turned = replace(
            case,
            features=case.features @ turn.T,
            test_features=case.test_features @ turn.T,
            weights=[case.weights[0] @ turn.T, *case.weights[1:]],
        )
        assert max(deviations(measured(turned), measured(case)).values()) < 1e-8


def test_the_order_of_the_samples_changes_nothing() -> None:
    """1e-8: only sums are reordered."""
    rng = np.random.default_rng(0)
    for case in invariant_cases():
        order = rng.permutation(len(case.labels))
        shuffled = replace(case, features=case.features[order], labels=case.labels[order])
        assert max(deviations(measured(shuffled), measured(case)).values()) < 1e-8


def test_relabelling_permutes_the_classes() -> None:
    """Old class k becomes new[k]; class.* moves with it, all else stays. 1e-7: a nearest tied member solves an
    eigenproblem.
    """
    rng = np.random.default_rng(0)
    for case in invariant_cases():
        new = rng.permutation(case.problem.num_classes)
        old = np.argsort(new)
        renamed = replace(
            case,
            labels=new[case.labels],
            test_labels=new[case.test_labels],
            weights=[*case.weights[:-1], case.weights[-1][old]],
            bias=case.bias[old],
            problem=replace(case.problem, counts=tuple(case.problem.counts[k] for k in old)),
        )
        if len(case.weights) == 1:
            renamed = replace(renamed, weights=[case.weights[0][old]])
        expected = measured(case)
        for key, value in expected.items():
            if key.startswith("class.") and value is not None:
                expected[key] = [value[k] for k in old]
        assert max(deviations(measured(renamed), expected).values()) < 1e-7
