"""The gap to the optimum, and the ledger that says where it comes from."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from metric_cases import LEDGER, OPTIMA, Case, measured, optimum, problem, random_case, torch_head
from reference_metrics import reference_loss

from ncrun.losses import LOSSES
from ncrun.metrics.ledger import squared_loss_ledger
from ncrun.metrics.rows import training_metrics
from ncrun.objective import Objective
from ncrun.theory import Problem, predict


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
    objective = Objective(LOSSES["mse"], "features", made.weight_decays, made.feature_decay, 19)
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
        loss = objective.on_batch(logits + bias, labels, features, weights, bias, [])
        loss.backward()
        return loss

    gaps: list[float] = []
    while len(gaps) < 12 and (not gaps or gaps[-1] > 1e-7):
        optimiser.step(closure)
        head = torch_head([weight.detach().numpy() for weight in weights], bias.detach().numpy())
        values, _ = training_metrics(features.detach(), labels, head, objective, target, target)
        gaps.append(values["gap"])
        assert min(values[key] for key in LEDGER) >= -1e-12
    assert min(gaps) >= -1e-12
    assert gaps[-1] < 1e-6


def test_without_a_proof_there_is_no_gap() -> None:
    case, _ = optimum(predict(OPTIMA["simplex"]), np.random.default_rng(0))
    values = measured(replace(case, problem=replace(case.problem, decay_mode="parameters", feature_decay=None)))
    assert values["gap"] is None
    assert not any(key.startswith("ledger") for key in values)


def test_a_certified_optimum_has_a_gap_and_no_ledger() -> None:
    """Features after a ReLU with a bias: the optimum lies above the spectral one that the terms are counted from."""
    made = replace(problem((9, 6, 3, 1), (7,), True), feature_sign="nonnegative")
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), [9, 6, 3, 1])
    features, bias = np.abs(rng.normal(size=(19, 7))), rng.normal(size=4)
    values = measured(Case(features, labels, features, labels, [rng.normal(size=(4, 7))], bias, made))
    assert values["gap"] > 0
    assert not any(key.startswith("ledger") for key in values)


@pytest.mark.parametrize("decay", [5e-4, 1e-12])
def test_the_ledger_of_a_head_whose_decays_have_no_product_in_floats(decay: float) -> None:
    """97 layers: their sum is the loss minus the optimum, and an optimum has no term. 1e-12 of the loss is rounding."""
    posed = Problem("mse", (20.0, 10.0), (2,) * 97, False, (decay,) * 97, decay)
    target = predict(posed)
    assert target.objective is not None
    assert target.logits is not None
    root = np.sqrt(posed.counts)
    shares = (np.diag(target.logits) * root) ** (1 / 98)  # each of 97 layers and the means times sqrt(n)
    weights, means = [np.diag(shares)] * 97, np.diag(shares / root)
    at_optimum = squared_loss_ledger(posed, target.objective, weights, np.zeros(2), means, 0.0, 0.0)
    for term in (at_optimum.within_class, at_optimum.duality, at_optimum.bias, at_optimum.geometry):
        assert abs(term) <= 1e-12 * target.objective
    unbalanced = [np.diag(shares * (2.0 if m % 2 else 0.5)) for m in range(96)] + [np.diag(shares)]
    found = squared_loss_ledger(posed, target.objective, unbalanced, np.zeros(2), means, 0.0, 0.0)
    penalty = decay / 2 * (sum((w**2).sum() for w in unbalanced) + (shares**2).sum())
    fit = sum((z - 1) ** 2 * n for z, n in zip(np.diag(target.logits), posed.counts, strict=True)) / (2 * 30)
    assert found.total == pytest.approx(penalty + fit - target.objective, rel=1e-12)
    assert found.duality == pytest.approx(found.total, rel=1e-9)
