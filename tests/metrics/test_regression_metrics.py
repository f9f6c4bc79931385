"""Metrics on targets of numbers: by slow formulas in NumPy and scikit-learn, and where their values are exact."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from sklearn.metrics import mean_squared_error, r2_score

from ncrun.metrics.on_targets import target_row, target_transfer
from ncrun.metrics.scan import Head
from ncrun.objective import Objective
from ncrun.targets import Targets
from ncrun.theory import Problem, predict

N, D, Q = 40, 7, 3


def problem_of(targets: np.ndarray, bias: bool, depth: int = 1, decay: float = 1e-3) -> Problem:
    widths, moments = (D,) * depth, Targets.of(targets)
    return Problem("mse", (), widths, bias, (decay,) * depth, decay / 2, targets=moments)


def row_of(features: np.ndarray, targets: np.ndarray, weights: list[np.ndarray], bias: np.ndarray, problem: Problem):
    layers = [torch.from_numpy(weight) for weight in weights]
    head = Head(layers, torch.from_numpy(bias))
    return target_row(
        torch.from_numpy(features), torch.from_numpy(targets), head, Objective.of(problem), predict(problem)
    )


def drawn(seed: int, q: int = Q) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, targets and a classifier without any structure, far from centred."""
    rng = np.random.default_rng(seed)
    targets = rng.standard_normal((N, q)) @ rng.standard_normal((q, q)) + 2
    return rng.standard_normal((N, D)) * np.arange(1, D + 1) + 1, targets, rng.standard_normal((q, D))


def outside(points: np.ndarray, rows: np.ndarray) -> float:
    """Mean squared distance of the normalised deviations to the span of rows, sample by sample by least squares."""
    deviations = points - points.mean(axis=0)
    found = []
    for h in deviations / np.linalg.norm(deviations, axis=1)[:, None]:
        shares = np.linalg.lstsq(rows.T, h, rcond=None)[0]
        found.append(np.sum((h - rows.T @ shares) ** 2))
    return float(np.mean(found))


def nrc3(gram: np.ndarray, sigma: np.ndarray) -> float:
    """By a fine search over the family."""
    values, axes = np.linalg.eigh(sigma)
    root = (axes * np.sqrt(values)) @ axes.T

    def distance(c: float) -> float:
        shape = root - c * np.eye(len(root))
        return float(np.sum((gram / np.linalg.norm(gram) - shape / np.linalg.norm(shape)) ** 2))

    least = float(np.sqrt(values[0]))
    start = min(np.linspace(0, least, 400), key=distance)
    inside = (max(0, start - least / 200), min(least, start + least / 200))
    return min(distance(start), minimize_scalar(distance, inside, bounds=inside, options={"xatol": 1e-12}).fun)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_slow_formulas(seed: int, bias: bool) -> None:
    points, targets, weight = drawn(seed)
    problem = problem_of(targets, bias)
    offset = targets.mean(axis=0) * bias
    row = row_of(points, targets, [weight], offset, problem)
    outputs = points @ weight.T + offset
    assert problem.feature_decay is not None
    penalty = problem.weight_decays[0] / 2 * np.sum(weight**2) + problem.feature_decay / 2 * np.sum(points**2)
    assert row["data_term"] == pytest.approx(np.sum((outputs - targets) ** 2) / (2 * N), rel=1e-13)
    assert row["loss"] == pytest.approx(row["data_term"] + penalty, rel=1e-13)
    assert row["gap"] == pytest.approx(row["loss"] / predict(problem).objective - 1, rel=1e-12)
    assert row["mse"] == pytest.approx(mean_squared_error(targets, outputs), rel=1e-13)
    assert row["r2"] == pytest.approx(r2_score(targets, outputs, multioutput="variance_weighted"), rel=1e-12)
    principal = np.linalg.svd(points - points.mean(axis=0))[2][:Q]
    assert row["nrc1"] == pytest.approx(outside(points, principal), rel=1e-10)
    assert row["nrc2"] == pytest.approx(outside(points, weight), rel=1e-10)
    sigma = np.cov(targets.T, bias=True) if bias else targets.T @ targets / N
    assert row["nrc3"] == pytest.approx(nrc3(weight @ weight.T, sigma), rel=1e-9)
    # The samples' own N x N Gram matrices, written out.
    along = predict(problem).directions
    assert along is not None
    h, y = (points - bias * points.mean(axis=0), targets - bias * targets.mean(axis=0))
    predicted = y @ along.feature_root(0).T @ along.feature_root(0) @ y.T
    assert row["nc2_h"] == pytest.approx(shape_distance(h @ h.T, predicted), rel=1e-10)
    assert row["nc2_w"] == pytest.approx(shape_distance(weight @ weight.T, along.weight_gram(0)), rel=1e-10)
    assert row["nc3"] == pytest.approx(shape_distance(h @ weight.T, y @ along.output_map()), rel=1e-10)
    for i, axis in enumerate(along.axes.T):
        assert row["direction.weight_norm_sq"][i] == pytest.approx(axis @ weight @ weight.T @ axis, rel=1e-12)
        slope = np.polyfit(y @ axis, h @ weight.T @ axis, 1)[0] if bias else None
        if slope is not None:
            assert row["direction.kept"][i] == pytest.approx(slope, rel=1e-9, abs=1e-12)


def shape_distance(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.linalg.norm(first / np.linalg.norm(first) - second / np.linalg.norm(second)))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_predicted_optimum_is_recognised(depth: int, bias: bool) -> None:
    """Everything is at rounding there; of one layer NRC3 too, whose family holds no deeper optimum."""
    rng = np.random.default_rng(depth)
    targets = drawn(4)[1]
    problem = problem_of(targets, bias, depth)
    along = predict(problem).directions
    assert along is not None
    turn = [np.linalg.qr(rng.standard_normal((D, Q)))[0] for _ in range(depth)]
    points = (targets - bias * targets.mean(axis=0)) @ along.feature_root(0).T @ turn[0].T
    sizes = [np.sqrt(power) for power in along.weight_powers] + [np.ones(Q)]
    ends = [*turn[1:], along.axes]
    weights = [(ends[m] * (sizes[m] / sizes[m + 1])) @ turn[m].T for m in range(depth)]
    row = row_of(points, targets, weights, targets.mean(axis=0) * bias, problem)
    assert row["gap"] == pytest.approx(0, abs=1e-13)
    for key in ("nc2_w", "nc2_h", "nc3"):
        assert row[key] == pytest.approx(0, abs=1e-13)
    assert row["nrc2"] == pytest.approx(0, abs=1e-25)
    if bias:  # without one the optimal features have a mean, which NRC1 takes off
        assert row["nrc1"] == pytest.approx(0, abs=1e-25)
    assert (row["nrc3"] < 1e-20) == (depth == 1)
    assert row["direction.weight_norm_sq"] == pytest.approx(along.weight_powers[0].tolist(), rel=1e-12)
    assert row["direction.kept"] == pytest.approx(along.kept.tolist(), rel=1e-12)


def test_features_may_be_turned() -> None:
    """By any rotation of features and classifier together nothing changes but rounding."""
    points, targets, weight = drawn(5)
    turn = np.linalg.qr(np.random.default_rng(6).standard_normal((D, D)))[0]
    problem = problem_of(targets, bias=True)
    before = row_of(points, targets, [weight], np.zeros(Q), problem)
    after = row_of(points @ turn, targets, [weight @ turn], np.zeros(Q), problem)
    assert after.keys() == before.keys()
    for key, value in before.items():
        assert after[key] == (None if value is None else pytest.approx(value, rel=1e-9)), key


@pytest.mark.parametrize(
    ("change", "null"),
    [
        ("one number", {"nrc3"}),
        ("as many numbers as dimensions", {"nrc1"}),
        ("no spread", {"nrc1", "nrc2", "nc2_h", "nc3"}),
        ("no classifier", {"nrc2", "nrc3", "nc2_w", "nc3"}),
        ("given up", {"nc2_w", "nc2_h", "nc3"}),
        ("no decays", {"gap", "nc2_w", "nc2_h", "nc3", "direction.weight_norm_sq", "direction.kept"}),
        (
            "constant targets",
            {"r2", "nrc3", "gap", "nc2_w", "nc2_h", "nc3", "direction.weight_norm_sq", "direction.kept"},
        ),
    ],
)
def test_nothing_is_made_up(change: str, null: set[str]) -> None:
    q = {"one number": 1, "as many numbers as dimensions": D}.get(change, Q)
    points, targets, weight = drawn(7, q)
    if change == "no spread":
        points = np.broadcast_to(points[0], points.shape).copy()
    if change == "no classifier":
        weight = np.zeros_like(weight)
    if change == "constant targets":
        targets = np.full_like(targets, 2.0)
    problem = problem_of(targets, bias=True, decay=50.0 if change == "given up" else 1e-3)
    if change == "no decays":
        problem = replace(problem, weight_decays=(0.0,), feature_decay=0.0)
    row = row_of(points, targets, [weight], np.zeros(q), problem)
    always: set[Any] = {"balance"}  # of one layer there is none
    assert {key for key, value in row.items() if value is None} == null | always


def test_a_test_split() -> None:
    points, targets, weight = drawn(8)
    problem = problem_of(targets, bias=False)
    head = Head([torch.from_numpy(weight)], torch.zeros(Q, dtype=torch.float64))
    row = target_transfer(torch.from_numpy(points[:9]), torch.from_numpy(targets[:9]), head, predict(problem))
    outputs = points[:9] @ weight.T
    assert set(row) == {"test.nrc1", "test.nrc2", "test.r2", "test.mse"}
    assert row["test.mse"] == pytest.approx(mean_squared_error(targets[:9], outputs), rel=1e-13)
    assert row["test.r2"] == pytest.approx(r2_score(targets[:9], outputs, multioutput="variance_weighted"), rel=1e-12)
