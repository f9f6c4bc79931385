"""The closed form of the squared loss against golden values, its special cases and its own limits."""

from dataclasses import replace

import numpy as np
import pytest
from posed import assert_printed, assert_shape, feature_norms, make, random_settings, simplex, weight_norms

from ncrun.theory import predict

CIFAR = (100, 100, 200, 200, 300, 300, 400, 400, 500, 500)


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
    prediction = predict(make((200, 100, 50, 50), depth, 5e-4))
    assert_printed(weight_norms(prediction), weights)
    assert_printed(feature_norms(prediction), features)
    assert_printed(prediction.objective, objective)


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
    prediction = predict(make((100,) * 4, depth, 5e-4))
    assert_printed(weight_norms(prediction), " ".join([weights] * 4))
    assert_printed(feature_norms(prediction), " ".join([features] * 4))
    assert_printed(prediction.objective, objective)


@pytest.mark.parametrize(("depth", "objective"), [(1, ".014850"), (3, ".009472")])
def test_golden_balanced_with_bias(depth: int, objective: str) -> None:
    assert_printed(predict(make((100,) * 4, depth, 5e-4, bias=True)).objective, objective)


def test_golden_collapse() -> None:
    prediction = predict(make((40, 20, 10, 1), 3, 1e-2))
    assert_printed(weight_norms(prediction), "14.8278 8.3701 4.5176 0.0000")
    assert_printed(prediction.objective, ".1325952")
    assert prediction.collapsed() == [False, False, False, True]


def test_golden_collapse_with_unequal_decays() -> None:
    problem = make((40, 20, 10, 1), 2, 1e-2, weight_decays=(2e-2, 1e-2), feature_decay=4e-3)
    prediction = predict(problem)
    assert_printed(weight_norms(prediction), "4.65722 2.78985 1.61061 0.00000")
    assert prediction.collapsed() == [False, False, False, True]


def test_golden_cifar10() -> None:
    """The paper's imbalanced CIFAR10 at its effective decay: norms for M = 1, ratios of the extremes."""
    norms = weight_norms(predict(make(CIFAR, 1, 1e-4)))[::2]
    assert_printed(norms, "9.70 13.84 17.02 19.70 22.06")
    for depth, w_ratio, h_ratio in ((1, "1.508", ".674"), (3, "1.838", ".548"), (6, "2.001", ".502")):
        prediction = predict(make(CIFAR, depth, 1e-4))
        assert_printed(np.sqrt(weight_norms(prediction)[-1] / weight_norms(prediction)[0]), w_ratio)
        assert_printed(np.sqrt(feature_norms(prediction)[-1] / feature_norms(prediction)[0]), h_ratio)


# --- special cases ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2, 3, 6])
@pytest.mark.parametrize("bias", [False, True])
def test_balanced_is_an_orthogonal_frame_or_with_bias_a_simplex(depth: int, bias: bool) -> None:
    """Exact identities: rounding only."""
    prediction = predict(make((30,) * 5, depth, 1e-3, bias=bias))
    target = simplex(5) if bias else np.eye(5)
    assert prediction.logits is not None
    assert_shape(prediction.logits, target)
    assert len(prediction.layers) == depth
    for layer in prediction.layers:
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


# --- other settings --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2, 3, 6])
def test_limit_without_bias_is_a_power_of_the_counts(depth: int) -> None:
    """Exact: rounding only."""
    counts = np.array([1000.0, 300.0, 300.0, 20.0])
    prediction = predict(make(tuple(counts), depth, 1e-4, decay_mode="parameters", feature_decay=None))
    assert (prediction.claim, prediction.scale_free, prediction.objective) == ("transferred", True, None)
    power = depth / (depth + 1)
    assert_shape(prediction.layers[0].weight_gram, np.diag(counts**power))
    assert_shape(prediction.layers[0].feature_gram, np.diag(counts**-power))
    assert prediction.logits is not None
    assert_shape(prediction.logits, np.eye(4))


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
        prediction = predict(problem)
        if prediction.tie is not None:
            assert prediction.mean_rank is None
            continue
        values, vectors = np.linalg.eigh(prediction.layers[0].feature_gram)
        means = np.sqrt(np.clip(values, 0, None))[:, None] * vectors.T  # any means with this Gram matrix
        share = np.array(problem.counts) / sum(problem.counts)
        centred = means - (means @ share)[:, None]
        scale = float(np.sqrt(max(values.max(), 1e-300)))
        assert prediction.mean_rank == np.linalg.matrix_rank(centred / scale, tol=1e-6), problem
        partly += 0 < prediction.mean_rank < problem.num_classes - 1
    assert partly >= 10


def test_merged_classes_share_their_mean() -> None:
    """Without bias all collapsed classes sit at zero; with bias and equal counts they keep a mean in common."""
    assert predict(make((40, 20, 1, 1), 3, 1e-2)).merged_with() == [[], [], [3], [2]]
    problem = make((3, 12, 3), 2, 6e-2, bias=True)
    assert predict(problem).collapsed() == [True, False, True]
    assert predict(problem).merged_with() == [[2], [], [0]]
    assert feature_norms(predict(problem)).min() > 0
