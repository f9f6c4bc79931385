"""Whole runs of gradient descent on free features, step by step."""

from pathlib import Path

import numpy as np
import pytest
from conftest import Command, RunOf, built, rows
from free_features import Instance
from parameters import parameters, trained

from ncrun.models.free_gradient import FreeGradient
from ncrun.models.free_model import FreeFeatures
from ncrun.run import SGD, Run
from ncrun.training import program

pytestmark = pytest.mark.usefixtures("undrawn")
# From large initial values deep heads do not fall into the basin of zero.
LARGE = "model.feature_std=0.6 model.weight_std=0.6"
PLAIN = "optimizer=sgd optimizer.lr=0.3"
DESCENTS = [
    f"ufm head.depth=2 head.bias=true {PLAIN} optimizer.momentum=0.9",
    f"ufm loss=ce head.bias=true {PLAIN} optimizer.momentum=0",
    f"ufm_relu {PLAIN} optimizer.momentum=0.9",
    f"ufm_relu loss=mse {PLAIN} optimizer.momentum=0",
    f"dufm head.depth=3 model.feature_std=0.5 {PLAIN} optimizer.momentum=0.5",
    f"dufm head.depth=2 head.width=4 {PLAIN} optimizer.momentum=0 schedule.step=2",
]
SMALL = "counts=[5,3,1] model.width=6 decay.weight=2e-2 decay.feature=1e-2 measure=every"


@pytest.mark.parametrize("typed", DESCENTS)
def test_sgd_is_the_recurrence_written_by_hand(typed: str, ncrun: Command, workdir: Path, run_of: RunOf) -> None:
    """v <- m v + gradient, p <- p - lr v, features of ufm_relu cut at zero: five steps in numpy, with the reference's
    gradients. Every loss and every parameter to 1e-12: rounding of five steps.
    """
    overrides = [f"model={typed.split()[0]}", *typed.split()[1:], *SMALL.split(), "epochs=5"]
    assert ncrun("train", *overrides, "run_dir=run").status == 0
    run = run_of(*overrides)
    optimizer = run.descent.optimizer
    assert isinstance(optimizer, SGD)
    instance, momentum = Instance.by_sample(run.problem), optimizer.momentum
    factors, bias = parameters(built(run))
    speeds, bias_speed = [np.zeros_like(factor) for factor in factors], np.zeros_like(bias)
    losses = []
    for step in range(6):
        value, gradients, bias_gradient = instance.value_and_gradient(factors, bias)
        losses.append(value)
        if step == 5:
            break
        rate = optimizer.lr * (0.1 ** (step // 2) if run.descent.drop_every else 1)
        speeds = [momentum * speed + gradient for speed, gradient in zip(speeds, gradients, strict=True)]
        factors = [factor - rate * speed for factor, speed in zip(factors, speeds, strict=True)]
        bias_speed = momentum * bias_speed + bias_gradient
        bias = bias - rate * bias_speed
        if run.model.name == "ufm_relu":
            factors[0] = np.maximum(factors[0], 0)
    assert [row["loss"] for row in rows(workdir / "run")] == pytest.approx(losses, rel=1e-12)
    assert losses[-1] < losses[0]
    found, found_bias = trained(run, Path("run"))
    for ours, theirs in zip([*found, found_bias], [*factors, bias], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("typed", [f"ufm head.depth=3 {LARGE}", "ufm loss=ce head.bias=true", "ufm_relu", "dufm"])
def test_adam_descends_the_objective(typed: str, ncrun: Command, workdir: Path, run_of: RunOf) -> None:
    """Its last row is the objective at its checkpoint, to rounding: 1e-12."""
    overrides = [f"model={typed.split()[0]}", *typed.split()[1:], *SMALL.split(), "epochs=30"]
    overrides += ["optimizer=adam", "optimizer.lr=0.02"]
    assert ncrun("train", *overrides, "run_dir=run").status == 0
    run, losses = run_of(*overrides), [row["loss"] for row in rows(workdir / "run")]
    value = Instance.by_sample(run.problem).value_and_gradient(*trained(run, Path("run")))[0]
    assert losses[-1] == pytest.approx(value, rel=1e-12)
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("optimizer", ["sgd optimizer.lr=2", "adam optimizer.lr=0.1", "lbfgs"])
def test_features_of_ufm_relu_are_never_negative(
    optimizer: str, ncrun: Command, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After every step, though steps lead below zero (L-BFGS keeps to its bounds by itself). And features that begin
    at zero leave it, where a ReLU would keep them.
    """
    before: list[float] = []
    after: list[float] = []
    project, gradient, network_of = FreeFeatures.project, FreeGradient.__call__, program.network_of

    def projecting(self: FreeFeatures) -> None:
        before.append(float(self.points.detach().min()))
        project(self)

    def seeing(self: FreeGradient) -> None:
        after.append(float(self.points.detach().min()))
        gradient(self)

    def at_zero(run: Run) -> FreeFeatures:
        model = network_of(run)
        assert isinstance(model, FreeFeatures)
        model.points.data.zero_()
        return model

    monkeypatch.setattr(FreeFeatures, "project", projecting)
    monkeypatch.setattr(FreeGradient, "__call__", seeing)
    monkeypatch.setattr(program, "network_of", at_zero)
    typed = ["model=ufm_relu", *SMALL.split(), *f"optimizer={optimizer}".split(), "epochs=40", "run_dir=run"]
    assert ncrun("train", *typed).status == 0
    assert len(after) > 40
    assert min(after) == 0
    assert optimizer == "lbfgs" or min(before) < 0
    first, last = rows(workdir / "run")[0], rows(workdir / "run")[-1]
    assert max(first["class.feature_norm_sq"]) == 0
    assert last["class.feature_norm_sq"][0] > 0.1
    assert last["loss"] < first["loss"]
