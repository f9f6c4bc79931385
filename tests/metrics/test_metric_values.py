"""The collapse metrics against a slow reference on random cases, and on cases with a known answer."""

from dataclasses import replace

import numpy as np
import pytest
from metric_cases import (
    LEDGER,
    OPTIMA,
    Case,
    case_of,
    deviations,
    measured,
    optimum,
    problem,
    random_case,
    reference,
    tolerance,
)
from reference_metrics import whole_head

from ncrun.theory import predict

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


def test_nc1_before_the_last_layer_is_within_its_bound() -> None:
    """Whatever the head: of any rank, with a bias, under either loss. 1e-6: float32 deviations. It is reached by
    balanced layers and a spread along the class means' difference: variance 0.04 over 4 (1e-12: rounding)."""
    for seed in range(3000, 3120):
        case = random_case(np.random.default_rng(seed))
        M = len(case.weights)
        plain = replace(case.problem, weight_decays=(1e-3,) * M, feature_decay=None, decay_mode="parameters")
        values = measured(replace(case, problem=plain))
        assert ("nc1_bound" in values) == (M > 1)
        if M > 1 and values["nc1_bound"] is not None:
            for key in ("nc1", "nc1_trace"):
                assert values[f"head.{M}.{key}"] <= values[f"{key}_bound"] * (1 + 1e-6), seed
    points = [[1.1, 0.0], [0.9, 0.0], [-1.1, 0.0], [-0.9, 0.0]]
    reached = case_of(points, [0, 0, 1, 1], [np.diag([2.0, 1.0]), np.diag([2.0, 1.0])])
    values = measured(replace(reached, problem=replace(reached.problem, feature_decay=None, decay_mode="parameters")))
    for key in ("head.2.nc1", "nc1_bound"):
        assert values[key] == pytest.approx(0.01 / 2, rel=1e-12)
    for key in ("head.2.nc1_trace", "nc1_trace_bound"):
        assert values[key] == pytest.approx(0.01, rel=1e-12)


# --- the predicted optimum


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


def test_cosines_at_exact_frames() -> None:
    """Of four classes: a simplex has six cosines of -1/3, in bin 13 of 41 (2/3 * 20.5 = 13.7), an orthogonal frame six
    of 0, in the middle. A row of zeros has no angle, and a single other row no pair."""
    for name, column, place in (("simplex", "cosines.w", 13), ("orthogonal frame", "cosines.h", 20)):
        found = measured(optimum(predict(OPTIMA[name]), np.random.default_rng(1))[0])[column]
        assert found == [6 if each == place else 0 for each in range(41)]
    points, labels = np.eye(3)[[0, 0, 1, 1, 2, 2]], [0, 0, 1, 1, 2, 2]
    ends = measured(case_of(points, labels, [np.array([[1.0, 0, 0], [-2.0, 0, 0], [0, 0, 0]])]))["cosines.w"]
    assert ends == [1] + [0] * 40
    assert measured(case_of(points, labels, [np.diag([1.0, 0, 0])]))["cosines.w"] is None


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
