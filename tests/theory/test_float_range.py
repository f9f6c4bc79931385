"""Decays whose products leave the range of floats: against 40 digits, and `none` where no float holds the answer."""

import math
from dataclasses import replace

import mpmath
import numpy as np
import pytest
from posed import free

from ncrun.theory import Problem, predict
from ncrun.theory.report import as_json, as_table
from ncrun.theory.squared_loss import global_border

mpmath.mp.dps = 40
# A Gram matrix is a product of up to M+1 numbers that are each right to a few roundings.
ROUNDINGS = 2e-14


def drawn(rng: np.random.Generator, **changes: object) -> Problem:
    """Depths to 120; decays over many orders of magnitude, around a mean at which some or all classes survive."""
    depth = int(rng.integers(1, 121))
    counts = tuple(float(n) for n in rng.integers(1, 200, size=rng.integers(2, 6)))
    logs = rng.normal(size=depth + 1) * rng.choice([0.0, 2.0, 8.0])
    target = rng.uniform(0.05, 0.9) * global_border(depth)
    at = rng.choice(counts)
    mean = math.log(target / sum(counts)) + depth / (depth + 1) * math.log(at)
    decays = np.exp(logs - logs.mean() + mean)
    problem = free("mse", list(counts), 1.0, depth)
    return replace(problem, weight_decays=tuple(decays[1:]), feature_decay=float(decays[0]), **changes)  # type: ignore[arg-type]


def exact(problem: Problem) -> tuple[mpmath.mpf, list[tuple[mpmath.mpf, ...]]]:
    """Without a bias, in 40 digits: the optimum; of each class kappa, and the diagonals of W W^T and Hbar^T Hbar."""
    M, N = problem.depth, mpmath.mpf(sum(problem.counts))
    decays = [mpmath.mpf(d) for d in problem.weight_decays]
    top = mpmath.mpf(problem.feature_decay)
    mean = mpmath.exp((mpmath.log(top) + sum(map(mpmath.log, decays))) / (M + 1))
    power, objective, classes = mpmath.mpf(M - 1) / (M + 1), mpmath.mpf(0), []
    for count in map(mpmath.mpf, problem.counts):
        kappa = N * mean * count ** (-mpmath.mpf(M) / (M + 1))
        kept = mpmath.mpf(0)
        if kappa < global_border(M):
            low, high = mpmath.mpf(M - 1) / M, mpmath.mpf(1)
            kept = mpmath.findroot(
                lambda a, kappa=kappa: (1 - a) * a**power - kappa, (low, high), solver="anderson", tol=1e-70
            )
        z = kept * mpmath.sqrt(count)
        energy = mean * z ** (mpmath.mpf(2) / (M + 1))
        objective += (z - mpmath.sqrt(count)) ** 2 / (2 * N) + mpmath.mpf(M + 1) / 2 * energy
        classes.append((kappa, energy**M / mpmath.fprod(decays), energy / top / count))
    return objective, classes


def test_every_depth_and_decay_against_40_digits() -> None:
    rng, kept, beyond = np.random.default_rng(0), 0, 0
    for _ in range(60):
        problem = drawn(rng)
        objective, classes = exact(problem)
        if any(abs(kappa / global_border(problem.depth) - 1) < 0.02 for kappa, _, _ in classes):
            continue  # near the border the kept share itself loses digits
        geometry = predict(problem)
        if geometry.claim == "none":
            assert max(max(w, h) for _, w, h in classes) > 1e307 or min(h for _, w, h in classes if w) < 1e-307
            assert "outside the range of floats" in geometry.note
            continue
        assert geometry.claim == "proven"
        tolerance = ROUNDINGS * (problem.depth + 10)
        assert geometry.objective == pytest.approx(float(objective), rel=1e-13)
        assert geometry.decay_to_collapse is not None
        for k, (kappa, w, h) in enumerate(classes):
            border = float(global_border(problem.depth) / kappa)
            assert geometry.decay_to_collapse[k] == pytest.approx(border, rel=1e-13)
            assert geometry.layers[0].weight_gram[k, k] == pytest.approx(float(w), rel=tolerance, abs=0)
            assert geometry.layers[0].feature_gram[k, k] == pytest.approx(float(h), rel=tolerance, abs=0)
            kept += w > 0
        product = math.fsum(map(math.log10, (*problem.weight_decays, problem.feature_decay)))  # type: ignore[arg-type]
        beyond += abs(product) > 300
    assert kept > 50
    assert beyond > 5  # settings whose product of decays no float holds


@pytest.mark.parametrize(("decay", "depth"), [(5e-4, 97), (1e-12, 26), (1e3, 120)])
@pytest.mark.parametrize("loss", ["mse", "ce"])
@pytest.mark.parametrize("bias", [False, True])
def test_predictions_of_deep_heads_are_numbers(decay: float, depth: int, loss: str, bias: bool) -> None:
    """Their products of decays, 1e-323, 1e-324 and 1e363, came out as zero or without an end."""
    geometry = predict(free(loss, [20.0] * 3, decay, depth, bias=bias))
    everything = 0.5 * (2 / 3 if bias else 1) if loss == "mse" else math.log(3)
    assert geometry.objective is not None
    assert 0 < geometry.objective <= everything * (1 + 1e-12)
    assert (geometry.collapsed() == [True] * 3) == (decay == 1e3)
    assert geometry.layers[0].weight_gram.any() == (decay != 1e3)
    assert "inf" not in as_table(geometry)
    assert as_json(geometry)["threshold"]


@pytest.mark.parametrize(
    "problem",
    [
        free("mse", [20, 10], (1e-300, 1e300), 5),
        free("mse", [20, 10], 1e-320, 3),
        free("ce", [20, 20], 1e-320),
        free("ce", [20, 10], 1e-300, bias=True),
    ],
)
def test_what_no_float_holds_is_not_predicted(problem: Problem) -> None:
    geometry = predict(problem)
    assert (geometry.claim, geometry.objective, geometry.layers) == ("none", None, ())
    assert "outside the range of floats" in geometry.note or "duality gap" in geometry.note
    assert as_json(geometry)["threshold"] == ""


@pytest.mark.parametrize("depth", [200, 400])
def test_a_relu_head_of_any_depth(depth: int) -> None:
    """The cost of a strongly regular graph grows like a power of the depth."""
    geometry = predict(free("mse", [20.0] * 10, 1e-4, depth, head="relu", widths=(64,) * depth))
    assert geometry.objective is not None
    assert 0 < geometry.objective < 0.5
    assert geometry.best_known is not None
    assert geometry.best_known.objective is not None
    assert 0 < geometry.best_known.objective < geometry.objective
