"""The metrics of a ReLU head, layer by layer: against a slow reference on random heads, and on heads with a known
answer.
"""

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from reference_metrics import (
    Array,
    before_gap,
    between,
    class_distance_variance,
    class_means,
    distance,
    effective_nc1,
    to_etf,
    within,
)

from ncrun.losses import LOSSES
from ncrun.metrics.rows import training_metrics
from ncrun.metrics.scan import Head
from ncrun.objective import Objective
from ncrun.theory import Problem, predict


@dataclass(frozen=True)
class Case:
    """Features (N, d) with their labels, and W_1 .. W_L."""

    features: NDArray[Any]
    labels: NDArray[np.int64]
    weights: list[Array]
    problem: Problem

    @property
    def eps(self) -> float:
        return float(np.finfo(self.features.dtype).eps)


def case_of(features: Any, counts: list[int], weights: list[Any], dtype: Any = float) -> Case:
    weights = [np.array(weight, dtype=float) for weight in weights]
    widths, L = tuple(weight.shape[1] for weight in weights), len(weights)
    problem = Problem("mse", tuple(map(float, counts)), widths, False, (1e-3,) * L, 1e-3, head="relu")
    return Case(np.array(features, dtype=dtype), np.repeat(np.arange(len(counts)), counts), weights, problem)


def measured(case: Case) -> dict[str, Any]:
    """As an evaluator does it."""
    bias = torch.zeros(len(case.weights[-1]), dtype=torch.float64)
    head = Head([torch.from_numpy(weight) for weight in case.weights], bias, relu=True)
    features, labels = torch.from_numpy(case.features), torch.from_numpy(case.labels)
    target, baseline = predict(case.problem), predict(case.problem.balanced())
    objective = Objective(
        LOSSES["mse"], "features", case.problem.weight_decays, case.problem.feature_decay, len(labels)
    )
    return training_metrics(features, labels, head, objective, target, baseline)[0]


def random_case(seed: int) -> Case:
    """K from 2 on, single samples, layers narrower than K, dead classes, both precisions."""
    rng = np.random.default_rng(seed)
    K, L = int(rng.integers(2, 6)), int(rng.integers(1, 5))
    counts = rng.integers(1, 6, K)
    counts[rng.integers(K)] = 1
    sizes = [*(int(width) for width in rng.integers(K - 1 if rng.random() < 0.3 else K + 2, 13, L)), K]
    weights = [rng.normal(size=(b, a)) / math.sqrt(a) for a, b in itertools.pairwise(sizes)]
    means = 2 * rng.normal(size=(K, sizes[0]))
    features = means[np.repeat(np.arange(K), counts)] + 10 ** rng.uniform(-3, 0) * rng.normal(
        size=(sum(counts), sizes[0])
    )
    return case_of(features, [int(n) for n in counts], weights, np.float32 if rng.random() < 0.3 else np.float64)


def condition(means: Array, eps: float) -> float | None:
    """s_1 / s_K of the class means; none where they are dependent."""
    values = np.sqrt(np.maximum(np.sort(np.linalg.eigvalsh(means @ means.T))[::-1], 0))
    singular = np.linalg.svd(means, compute_uv=False)
    if min(means.shape) < len(means) or singular[-1] <= len(means) * eps * singular[0]:
        return None
    return float(values[0] / values[-1])


def row_angles(weight: Array, means: Array) -> float | None:
    """Mean sine of the angle between a row and the nearest mean, weighted by the rows' norms, from arc cosines."""
    total, sizes = 0.0, 0.0
    for row in weight:
        size = math.sqrt(row @ row)
        angles = []
        for mean in means:
            other = math.sqrt(mean @ mean)
            if size > 0 and other > 0:
                cosine = max(-1.0, min(1.0, float(row @ mean) / size / other))
                angles.append(min(math.acos(cosine), math.pi / 2))
        if size > 0 and angles:
            total += size * math.sin(min(angles))
        sizes += size
    return total / sizes if sizes and means.any() else None


def reference(case: Case) -> dict[str, Any]:
    """Every head.l.* from the definitions, one sample and one row at a time."""
    values: dict[str, Any] = {}
    K, grams = len(case.weights[-1]), predict(case.problem).input_grams
    points, raw = case.features.astype(float), None
    for layer, weight in enumerate(case.weights):
        means, overall = class_means(points, case.labels, K)
        sigma_b, inverse, rank = between(means, overall, case.eps)
        sigma_w, _ = within(points, case.labels, means)
        predicted = grams[layer] if grams else None
        effective, number = effective_nc1(means, overall, sigma_w, rank, None)
        found = {
            "nc1": float(np.trace(sigma_w @ inverse)) / K if rank else None,
            "nc1_effective": effective,
            "nc1_effective_rank": number,
            "nc1_rank": rank,
            "nc1_trace": float(np.trace(sigma_w) / np.trace(sigma_b)) if rank else None,
            "cdnv": class_distance_variance(points, case.labels, means, case.eps) if rank else None,
            "etf_h": to_etf(means @ means.T),
            "dnc2": condition(means, case.eps),
            "dnc3": row_angles(weight, means),
            "nc2_h": None if predicted is None else distance(means @ means.T, predicted),
            "rank": before_gap(np.linalg.svd(means, compute_uv=False)),
        }
        if raw is not None:
            found["pre_dnc2"] = condition(class_means(raw, case.labels, K)[0], case.eps)
        values |= {f"head.{layer + 1}.{key}": value for key, value in found.items()}
        raw = np.array([weight @ x for x in points])
        points = np.maximum(raw, 0)
    return values


@pytest.mark.parametrize("seed", range(40))
def test_every_layer_equals_the_reference(seed: int) -> None:
    """1e-6: the reference pays for explicit scatter and Gram matrices with the square of the condition number, and for
    its arc cosines with half of the digits near zero.
    """
    case = random_case(seed)
    ours, theirs = measured(case), reference(case)
    assert {key for key in ours if key.startswith("head.")} == theirs.keys()
    for key, value in theirs.items():
        assert ours[key] == (value if value is None else pytest.approx(value, rel=1e-6, abs=1e-7)), key
    L = len(case.weights)
    for key in ("nc1", "nc1_rank", "nc1_trace"):
        assert ours[key] == pytest.approx(ours[f"head.{L}.{key}"], rel=1e-9) if ours[key] is not None else True


def test_random_cases_cover_what_may_happen() -> None:
    """Independent and dependent means, with and without a prediction, both precisions, one to four layers."""
    cases = [random_case(seed) for seed in range(40)]
    assert {len(case.weights) for case in cases} == {1, 2, 3, 4}
    assert {case.features.dtype for case in cases} == {np.dtype("float32"), np.dtype("float64")}
    values = [reference(case) for case in cases]
    for key in ("dnc2", "pre_dnc2", "nc2_h"):
        assert {v[name] is None for v in values for name in v if name.endswith(f".{key}")} == {True, False}


def chains(K: int, counts: list[int], L: int = 3) -> Case:
    """Deep neural collapse itself: each class through a neuron of its own, in every layer."""
    sizes = [K + 3, *[K + 2] * (L - 1), K]
    weights = [np.pad(np.eye(K), ((0, b - K), (0, a - K))) for a, b in itertools.pairwise(sizes)]
    return case_of(np.repeat(np.eye(K, K + 3), counts, axis=0), counts, weights)


@pytest.mark.parametrize(("K", "counts"), [(2, [4, 4]), (2, [1, 1]), (3, [5, 5, 5]), (4, [2, 2, 2, 2])])
def test_deep_neural_collapse_is_measured_as_such(K: int, counts: list[int]) -> None:
    """Zeros and ones only: 1e-15 for roundings of roots. The prediction is this shape from layer 2 on."""
    values = measured(chains(K, counts))
    for layer in (1, 2, 3):
        assert values[f"head.{layer}.nc1"] == 0
        assert values[f"head.{layer}.nc1_trace"] == 0
        assert values[f"head.{layer}.nc1_rank"] == K - 1
        assert values[f"head.{layer}.rank"] == K
        assert values[f"head.{layer}.dnc2"] == pytest.approx(1, abs=1e-15)
        assert values[f"head.{layer}.dnc3"] == 0
    assert values["head.2.nc2_h"] == pytest.approx(0, abs=1e-15)
    assert values["head.1.nc2_h"] is None
    assert values["head.2.pre_dnc2"] == values["head.3.pre_dnc2"] == pytest.approx(1, abs=1e-15)
    assert values["nc4"] == 0
    assert values["train_accuracy"] == 1


def test_known_angles() -> None:
    """Rows at 30 degrees to the nearest mean, along a mean, at an obtuse angle to all, and zero: norms 2, 1, 3, 0."""
    half, root = 0.5, math.sqrt(0.75)
    weight = [[2 * root, 2 * half, 0], [0, 1, 0], [-3, 0, 0], [0, 0, 0]]
    case = case_of([[5, 0, 0], [0, 7, 0]], [1, 1], [weight, np.ones((2, 4))])
    # sin 30 = 1/2; along: 0; obtuse: counts as a right angle, 1; rounding only
    assert measured(case)["head.1.dnc3"] == pytest.approx((2 * 0.5 + 0 + 3 * 1) / 6, rel=1e-15)


def test_small_angles_keep_their_digits() -> None:
    """1e-11 beside a mean: from sqrt(1 - cos^2) nothing would be left of it."""
    case = case_of([[1, 0], [0, 1]], [1, 1], [[[1, 1e-11], [0, 1]], np.eye(2)])
    assert measured(case)["head.1.dnc3"] == pytest.approx(1e-11 / 2, rel=1e-9)


def test_known_condition_number_before_and_after_the_relu() -> None:
    """Means (3, -3) and (-1, 1) before it are dependent, (3, 0) and (0, 1) after it are at right angles."""
    case = case_of([[3.0], [-1.0]], [1, 1], [[[1.0], [-1.0]], np.eye(2)])
    values = measured(case)
    assert values["head.2.pre_dnc2"] is None
    assert values["head.2.dnc2"] == pytest.approx(3, rel=1e-15)
    assert values["head.1.dnc2"] is None  # one dimension for two classes
    assert (values["head.1.rank"], values["head.2.rank"]) == (1, 2)


def test_dead_head() -> None:
    """Nothing but zeros behind the first layer: no shape, no number; and no failure."""
    K = 3
    alive = [[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0], [0, 0, 2.0]]
    values = measured(case_of(alive, [1, 1, 2], [-np.eye(K), np.eye(K), np.eye(K)]))
    for layer in (2, 3):
        for key in ("nc1", "nc1_trace", "dnc2", "dnc3", "nc2_h"):
            assert values[f"head.{layer}.{key}"] is None, key
        assert values[f"head.{layer}.rank"] == 0
        assert values[f"head.{layer}.nc1_rank"] == 0
    assert values["head.1.rank"] == 3
    assert values["class.margin"] == [0, 0, 0]
    assert values["nc4_ties"] == 1
    zeros = measured(case_of(np.zeros((4, K)), [1, 1, 2], [np.zeros((K, K))] * 2))
    assert all(zeros[f"head.{layer}.{key}"] is None for layer in (1, 2) for key in ("nc1", "dnc2", "dnc3"))


def test_one_dead_class() -> None:
    """Its mean is zero, so the means are dependent; the others are measured, and rows go by the nearest other mean."""
    case = case_of([[1, 0, 0], [0, 1, 0], [0, 0, -1]], [1, 1, 1], [np.eye(3), np.eye(3)])
    values = measured(case)
    assert values["head.2.dnc2"] is None
    assert values["head.2.rank"] == 2
    assert values["head.2.nc1"] == 0
    # rows e_1 and e_2 lie along means, e_3 is at right angles to both
    assert values["head.2.dnc3"] == pytest.approx(1 / 3, rel=1e-15)
