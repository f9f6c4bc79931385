"""The independent optimiser itself: its objective, its gradient, and values that others found or that were kept."""

from dataclasses import replace

import numpy as np
import pytest
from free_feature_problems import KINDS, random_setting
from free_feature_shapes import circle, partitions, simplices
from free_features import Array, Instance

from ncrun.theory import Problem


def make(loss: str, counts: tuple[float, ...], depth: int, decay: float, **changes: object) -> Problem:
    """All decays equal and layers one wider than the number of classes, no bias, unless told otherwise."""
    wide = (len(counts) + 1,) * depth
    problem = Problem(loss, tuple(map(float, counts)), wide, False, (decay,) * depth, decay)
    return replace(problem, **changes)  # type: ignore[arg-type]


def lowest(problem: Problem, seed: int = 0) -> float:
    return Instance.by_class(problem).search(np.random.default_rng(seed))[0].value


# --- objective and gradient ------------------------------------------------------------------------------------------


def random_point(instance: Instance, seed: int) -> tuple[list[Array], Array]:
    rng = np.random.default_rng(seed)
    factors = [rng.standard_normal(shape) for shape in instance.shapes()]
    return factors, rng.standard_normal(instance.problem.num_classes)


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("head", ["linear", "relu"])
@pytest.mark.parametrize("loss", ["mse", "ce"])
def test_objective_is_the_sum_over_samples(loss: str, head: str, depth: int) -> None:
    """Sample by sample and entry by entry; 1e-13: rounding."""
    problem = make(loss, (3, 2, 1), depth, 0.1, head=head, bias=True, feature_decay=0.3)
    instance = Instance.by_sample(problem)
    (H, *weights), bias = random_point(instance, 0)
    total = 0.0
    for column, label in zip(H.T, instance.labels, strict=True):
        signal = column
        for weight in weights[:-1]:
            signal = weight @ signal
            if head == "relu":
                signal = np.array([max(entry, 0.0) for entry in signal])
        scores = weights[-1] @ signal + bias
        if loss == "mse":
            total += sum((score - (k == label)) ** 2 for k, score in enumerate(scores)) / 2 / 6
        else:
            total -= np.log(np.exp(scores[label]) / np.exp(scores).sum()) / 6
    total += 0.3 / 2 * (H**2).sum() + sum(0.1 / 2 * (weight**2).sum() for weight in weights)
    assert instance.value_and_gradient([H, *weights], bias)[0] == pytest.approx(total, rel=1e-13)


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("head", ["linear", "relu"])
@pytest.mark.parametrize("loss", ["mse", "ce"])
def test_gradient_against_finite_differences(loss: str, head: str, bias: bool, depth: int) -> None:
    """Central differences with steps of 1e-6 of values up to 1e4 are good to about 1e-6 of the largest entry."""
    decays = tuple(0.02 * (m + 1) for m in range(depth))
    problem = make(loss, (7, 4, 2), depth, 0.05, head=head, bias=bias, weight_decays=decays)
    instance = Instance.by_class(problem)
    factors, start_bias = random_point(instance, 1)
    _, gradients, bias_gradient = instance.value_and_gradient(factors, start_bias)
    if not bias:
        assert not bias_gradient.any()
    variables = [*factors, start_bias] if bias else factors
    for variable, gradient in zip(variables, [*gradients, bias_gradient], strict=False):
        slopes = np.zeros_like(variable)
        for index in np.ndindex(variable.shape):
            kept = variable[index]
            values = []
            for step in (1e-6, -1e-6):
                variable[index] = kept + step
                values.append(instance.value_and_gradient(factors, start_bias)[0])
            variable[index] = kept
            slopes[index] = (values[0] - values[1]) / 2e-6
        assert np.abs(slopes - gradient).max() <= 1e-6 * max(1.0, np.abs(gradient).max())


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "relu-head" not in kind and "limit" not in kind])
def test_search_ends_where_the_gradient_is_gone(kind: str) -> None:
    """In units with the penalty 1/2 ||X||^2, along directions that bounds leave open. ReLU heads may end at a kink.

    1e-6: some line searches stop at rounding before 1e-9, which is still an error of 1e-12 in the value."""
    rng = np.random.default_rng(5)
    for _ in range(3):
        instance = Instance.of(random_setting(rng, kind), rng)
        best = instance.search(rng)[0]
        value, gradients, bias_gradient = instance.value_and_gradient(best.factors, best.bias)
        assert best.value == pytest.approx(value, rel=1e-15)
        if instance.problem.feature_sign == "nonnegative":
            assert best.factors[0].min() >= 0
            gradients[0] = np.where((best.factors[0] == 0) & (gradients[0] > 0), 0.0, gradients[0])
        slopes = [np.abs(scale * slope).max() for scale, slope in zip(instance.scales(), gradients, strict=True)]
        assert max(*slopes, np.abs(bias_gradient).max()) <= 1e-6


def test_a_start_is_only_a_start() -> None:
    """A wrong prediction changes nothing about the best value found; 1e-9: the search's tolerance."""
    problem = make("ce", (30, 20, 5), 1, 0.01)
    wrong = np.random.default_rng(0).standard_normal((3, 3))
    best = Instance.by_class(problem).search(np.random.default_rng(1), wrong)[0].value
    assert best == pytest.approx(lowest(problem), rel=1e-9)


@pytest.mark.parametrize("feature_sign", ["free", "nonnegative"])
def test_samples_of_a_class_find_the_value_of_one_column_per_class(feature_sign: str) -> None:
    """Cross-entropy is convex in the features. 1e-9: the search's tolerance."""
    problem = make("ce", (6, 4, 1), 1, 0.05, feature_sign=feature_sign)
    by_sample = Instance.by_sample(problem).search(np.random.default_rng(2))[0].value
    assert by_sample == pytest.approx(lowest(problem), rel=1e-9)


def test_shapes_of_logits() -> None:
    assert sorted(map(tuple, partitions(4))) == [(1, 1, 1, 1), (2, 1, 1), (2, 2), (3, 1), (4,)]
    assert len(partitions(7)) == 15
    assert np.allclose(simplices([2, 1]), [[0.5, -0.5, 0], [-0.5, 0.5, 0], [0, 0, 1]])
    assert np.linalg.matrix_rank(circle(7)) == 2


# --- values that are known -------------------------------------------------------------------------------------------

RELU_FEATURES = [  # counts, lam_W, lam_H, optimum
    ((50, 30, 2, 1), 2e-2, 5e-3, 0.504730573),
    ((60, 40, 1, 1), 3e-2, 5e-3, 0.608435951),
]


@pytest.mark.parametrize(("counts", "weight_decay", "feature_decay", "optimum"), RELU_FEATURES)
def test_cross_entropy_on_nonnegative_features(
    counts: tuple[int, ...], weight_decay: float, feature_decay: float, optimum: float
) -> None:
    """Half of the last printed digit."""
    changes = {"weight_decays": (weight_decay,), "feature_decay": feature_decay, "feature_sign": "nonnegative"}
    assert lowest(make("ce", counts, 1, 0.0, **changes)) == pytest.approx(optimum, abs=0.51e-9)


RELU_HEAD_TWO = {
    (2, 0.2): 0.318599,
    (2, 0.8): 0.472206,
    (3, 0.2): 0.345579,
    (3, 0.8): 0.475672,
    (4, 0.2): 0.368247,
    (4, 0.8): 0.479467,
}


@pytest.mark.parametrize(("depth", "share"), RELU_HEAD_TWO)
def test_relu_head_on_two_classes(depth: int, share: float) -> None:
    """share: of the product of all decays at which zero takes over. Half of the last printed digit."""
    border = (depth - 1) ** (depth - 1) / (2 ** (depth + 1) * depth ** (2 * depth))
    decay = (share * border / 5) ** (1 / (depth + 1))
    value = lowest(make("mse", (5, 5), depth, decay, head="relu"))
    assert value == pytest.approx(RELU_HEAD_TWO[depth, share], abs=0.51e-6)


DEEP_CROSS_ENTROPY = [  # K, n, M, decay, value from a start of these groups, number of printed digits
    ([4], 20, 2, 0.02, 0.645855, 6),
    ([2, 2], 20, 2, 0.02, 0.631356, 6),
    ([5], 20, 2, 1e-3, 0.062718, 6),
    ([3, 2], 20, 2, 1e-3, 0.062508, 6),
    ([10], 100, 1, 1e-4, 0.0711, 4),
    ([10], 100, 2, 1e-4, 0.0279, 4),
    ([2] * 5, 100, 2, 1e-4, 0.0246, 4),
    ([10], 100, 3, 1e-4, 0.0182, 4),
    ([2] * 5, 100, 3, 1e-4, 0.0144, 4),
    ([10], 100, 6, 1e-4, 0.0121, 4),
    ([2] * 5, 100, 6, 1e-4, 0.0083, 4),
]


@pytest.mark.parametrize(("groups", "count", "depth", "decay", "value", "digits"), DEEP_CROSS_ENTROPY)
def test_deep_cross_entropy_from_groups_of_classes(
    groups: list[int], count: int, depth: int, decay: float, value: float, digits: int
) -> None:
    """Unperturbed, a descent keeps the symmetry of its start. Half of the last printed digit."""
    instance = Instance.by_class(make("ce", (count,) * sum(groups), depth, decay))
    assert from_shape(instance, simplices(groups)) == pytest.approx(value, abs=0.51 * 10**-digits)


def test_deep_cross_entropy_from_the_circle() -> None:
    """Half of the last printed digit."""
    instance = Instance.by_class(make("ce", (100,) * 10, 6, 1e-4))
    assert from_shape(instance, circle(10)) == pytest.approx(0.0067, abs=0.51e-4)


def from_shape(instance: Instance, logits: Array) -> float:
    bias = instance.start_bias()
    start = instance.rescaled(instance.balanced_factors(logits, np.random.default_rng(0)), bias)
    return instance.descend(start, bias).value


LOWER = [  # a simplex over all classes, and what the search has found below it; the last only thanks to its bias
    (make("ce", (20,) * 5, 2, 1e-3), 0.0627179, 0.0621320),
    (make("ce", (100,) * 10, 3, 1e-4), 0.0181734, 0.0137835),
    (make("ce", (20,) * 3, 4, 5e-3, bias=True), 0.0979700, 0.0837825),
]


@pytest.mark.parametrize(("problem", "simplex", "found"), LOWER)
def test_search_leaves_the_simplex_where_deep_heads_have_something_better(
    problem: Problem, simplex: float, found: float
) -> None:
    """Values of this search, kept so that it does not get worse. Half of the last digit."""
    assert from_shape(Instance.by_class(problem), simplices([problem.num_classes])) == pytest.approx(simplex, abs=5e-8)
    assert lowest(problem) == pytest.approx(found, abs=5e-8)


def test_a_bias_with_features_of_either_sign() -> None:
    """Recorded values: squared loss 4 x 100 and cross-entropy 200:100:50:50. Half of the last printed digit."""
    changes = {"weight_decays": (2e-3,), "feature_decay": 4e-4, "bias": True}
    squared = make("mse", (100,) * 4, 1, 0.0, **changes)
    assert lowest(squared) == pytest.approx(0.026353, abs=0.51e-6)
    assert lowest(replace(squared, feature_sign="nonnegative")) == pytest.approx(0.030344, abs=0.51e-6)
    unequal = make("ce", (200, 100, 50, 50), 1, 0.0, feature_sign="nonnegative", **changes)
    assert lowest(unequal) == pytest.approx(0.157928, abs=0.51e-6)
    assert lowest(replace(unequal, bias=False)) == pytest.approx(0.164778, abs=0.51e-6)
