"""The decays at which classes collapse: where the prediction says so, and in words."""

from dataclasses import replace

import numpy as np
import pytest
from posed import assert_printed, free, make, random_settings, times

from ncrun.theory import Problem, predict
from ncrun.theory.report import as_json
from ncrun.theory.squared_loss import existence_border, global_border, kept_fraction


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
        prediction = predict(problem)
        assert prediction.decay_to_collapse is not None
        for k, factor in enumerate(prediction.decay_to_collapse):
            if factor == 0:  # a bottleneck leaves it out whatever the decays
                assert predict(times(problem, 1e-6)).collapsed()[k]
            elif np.isinf(factor):
                assert bias  # the share of the largest class stays its favourite
                assert not predict(times(problem, 1e6)).collapsed()[k]
            else:
                assert flips(problem, k, factor), (problem, k, factor)
                checked += 1
            assert prediction.collapsed()[k] == (factor <= 1), (problem, k, factor)
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


def test_thresholds_in_words() -> None:
    def words(problem: Problem) -> str:
        return str(as_json(predict(problem))["threshold"])

    # n = 1 collapses at lam_W lam_H = n (K-1)/K / N^2, here at lam_W = .75 / (83^2 * 5e-3) = .0218
    assert words(free("ce", [50, 30, 2, 1], (2e-2, 5e-3), feature_sign="nonnegative")).startswith(
        "class 3 is lost if weight decay exceeds 0.0218 at this feature decay"
    )
    collapsed = free("ce", [50, 30, 2, 1], (3e-2, 5e-3), feature_sign="nonnegative")
    assert words(collapsed).startswith("class 2 is lost if weight decay exceeds 0.0435")
    everything = free("mse", [50, 50], (0.06, 0.05), 3, head="relu")
    assert words(everything).startswith("all classes stay lost unless weight decay falls below 0.0516")
    assert as_json(predict(everything))["metastable"] == [0, 1]


def test_threshold_in_words_is_the_threshold() -> None:
    """Setting the decay to just below and above the printed one keeps and loses the class."""
    for problem in (free("mse", [60, 30, 4], (1e-3, 2e-3), 3), free("ce", [60, 30, 4], (1e-3, 2e-3), bias=True)):
        words = str(as_json(predict(problem))["threshold"])
        assert words.startswith("class 2 is lost if weight decay exceeds ")
        printed = float(words.split("exceeds ")[1].split()[0])
        kept = []
        for decay in (printed * 0.99, printed * 1.01):  # three digits are printed
            moved = free(problem.loss, list(problem.counts), (decay, 2e-3), problem.depth, bias=problem.bias)
            kept.append(not predict(moved).collapsed()[2])
        assert kept == [True, False]


def test_a_threshold_with_a_decayed_bias_is_one_of_all_decays() -> None:
    problem = free("ce", [60, 30, 4], (1e-3, 2e-3), bias=True, bias_decay=5e-3, label_smoothing=0.1)
    words = str(as_json(predict(problem))["threshold"])
    assert words.startswith("class 2 is lost if all decays, including the bias', grow ")
    printed = float(words.split("grow ")[1].removesuffix("-fold"))
    kept = [not predict(problem.scaled(printed * side)).collapsed()[2] for side in (0.99, 1.01)]
    assert kept == [True, False]  # three digits are printed
    strong = problem.scaled(20 * printed)
    words = str(as_json(predict(strong))["threshold"])
    assert words.startswith("class 1 stays lost unless all decays, including the bias', shrink ")
    printed = float(words.split("shrink ")[1].removesuffix("-fold"))
    kept = [not predict(strong.scaled(side / printed)).collapsed()[1] for side in (0.99, 1.01)]
    assert kept == [True, False]
