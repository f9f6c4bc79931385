"""The collapse metrics of degenerate inputs, and where float32 misleads."""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from metric_cases import Case, case_of, deviations, measured, problem, random_case, reference, torch_head
from reference_metrics import between, class_means, within

from ncrun.metrics.scan import scan
from ncrun.theory import predict

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
        scan(torch.zeros(3, 2), torch.tensor([0, 0, 1]), torch_head([np.ones((3, 2))], np.zeros(3)))


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


@pytest.mark.parametrize("offset", [1e3, 1e7, 1e10])
@pytest.mark.parametrize("bias", [False, True])
def test_the_distance_to_the_simplex_under_an_offset(offset: float, bias: bool) -> None:
    """Class means and rows of a spread of about 1 far from the origin: the ETF distance does not know of the origin. An
    offset costs its own digits, 1e-16 times it, and not their square."""
    rng = np.random.default_rng(3)
    means, weight = rng.normal(size=(4, 6)), rng.normal(size=(4, 6))
    labels = np.repeat(np.arange(4), 3)
    posed = problem((3.0,) * 4, (6,), bias=bias)

    def values(shift: float) -> dict[str, Any]:
        case = case_of((means + shift)[labels], labels, [weight + shift])
        return measured(replace(case, problem=posed))

    for key in ("etf_h", "etf_w"):
        assert values(offset)[key] == pytest.approx(values(0.0)[key], abs=1e-15 * offset), key


@pytest.mark.parametrize("size", [1e-100, 1e-60, 1e60, 1e100])
def test_shapes_do_not_depend_on_the_scale(size: float) -> None:
    """The square of a Gram matrix leaves the floats long before the matrix does. 1e-12: rounding."""
    rng = np.random.default_rng(4)
    labels = np.repeat(np.arange(3), 4)
    points, weight = rng.normal(size=(12, 5)), rng.normal(size=(3, 5))
    plain = measured(case_of(points, labels, [weight]))
    for scaled in (case_of(size * points, labels, [weight]), case_of(points, labels, [size * weight])):
        values = measured(scaled)
        for key in ("nc2_w", "nc2_h", "nc3", "etf_w", "etf_h", "duality"):
            assert values[key] == pytest.approx(plain[key], rel=1e-12), key


def means_with_spread(singular: list[float], spread: float) -> Case:
    """Class means whose differences have these singular values (with equal counts), samples `spread` apart from them in
    every direction."""
    K = len(singular) + 1
    # Orthonormal columns that sum to zero.
    centred, _ = np.linalg.qr(np.eye(K)[:, : K - 1] - 1 / K)
    means = 3 * np.sqrt(K) * (centred * singular)
    features, labels = [], []
    for k, direction in itertools.product(range(K), range(K - 1)):
        for sign in (1, -1):
            features.append(means[k] + sign * spread * np.eye(K - 1)[direction])
            labels.append(k)
    return case_of(np.array(features), labels, [np.eye(K)[:, : K - 1]])


@pytest.mark.parametrize(
    ("singular", "number"),
    [
        ([1.0, 0.9, 0.8], 3),
        ([1.0, 0.9, 0.031], 3),  # 29 times smaller
        ([1.0, 0.9, 0.029], 2),  # 31 times
        ([1.0, 0.1, 0.01], 3),  # no gap, however far it falls
        ([1.0, 0.1, 0.01, 0.00101], 4),
        ([1.0, 0.1, 0.01, 0.00099], 3),  # below a thousandth
        ([1.0, 1e-7, 9e-8], 1),  # what lies beyond a gap is residue, however alike
    ],
)
def test_effective_nc1_counts_directions_before_the_gap(singular: list[float], number: int) -> None:
    """In each direction the spread's variance s^2 / (K - 1) over the eigenvalue 9 s_i^2, over K. 1e-9: the qr's
    rounding over the smallest value."""
    K, spread = len(singular) + 1, 1e-9
    values = measured(means_with_spread(singular, spread))
    terms = [spread**2 / (K - 1) / (9 * s**2) / K for s in singular]
    assert values["nc1_effective_rank"] == number
    assert values["nc1_effective"] == pytest.approx(sum(terms[:number]), rel=1e-5)
    assert values["nc1"] == pytest.approx(sum(terms), rel=1e-5)


@pytest.mark.parametrize(("size", "dead"), [(1e-7, False), (1e-9, True), (1e-24, True)])
def test_dead_class_means_have_no_effective_nc1(size: float, dead: bool) -> None:
    """The two linear layers see means of `size`, whose spread relative to them is a perfect collapse."""
    alive = means_with_spread([1.0, 0.9], 1e-3)
    case = case_of(alive.features * size, alive.labels.tolist(), [np.eye(3)[:, :2]])
    values = measured(case)
    assert values["nc1"] is not None
    assert (values["nc1_effective"] is None) == dead
