"""Whole runs of free features: the optimum that they reach, the steps that they take, restarts, and continuing."""

import itertools
import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Command, Compose, built, contents, rows, state
from free_features import Array, Instance

from ncrun.config import RunConfig
from ncrun.models.free_gradient import FreeGradient
from ncrun.models.free_model import FreeFeatures
from ncrun.records.read import find_records

pytestmark = pytest.mark.usefixtures("undrawn")

# From large initial values deep heads do not fall into the basin of zero.
LARGE = "model.feature_std=0.6 model.weight_std=0.6"
SGD = "optimizer=sgd optimizer.lr=0.3"


def manifest(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "manifest.json").read_text())


def parameters(model: FreeFeatures) -> tuple[list[Array], Array]:
    """H, W_1 .. W_M as columns of samples, and the bias, of the first start: what the reference objective takes."""
    factors = [model.points[0].detach().numpy().T, *(weight[0].detach().numpy() for weight in model.head.weights)]
    bias = np.zeros(len(factors[-1])) if model.head.bias is None else model.head.bias[0].detach().numpy()
    return [factor.copy() for factor in factors], bias.copy()


def trained(run: RunConfig, directory: Path) -> tuple[list[Array], Array]:
    """The same of a finished run, from its checkpoint."""
    model = built(run)
    model.load_state_dict(torch.load(directory / "checkpoint.pt", weights_only=True)["network"])
    return parameters(model)


# ---------------------------------------------------------------- L-BFGS: the optimum itself

PROVEN = [
    "ufm loss=mse counts=[8,4,2] model.width=5 decay.weight=1e-2 decay.feature=2e-3",
    "ufm loss=mse counts=[8,4,2] model.width=5 decay.weight=1e-2 decay.feature=2e-3 head.bias=true",
    f"ufm loss=mse counts=[8,4,2] model.width=5 decay.weight=5e-3 decay.feature=5e-3 head.depth=3 {LARGE}",
    "ufm loss=mse counts=[8,4,2] model.width=5 decay.weight=[2e-3,4e-3,8e-3] decay.feature=5e-3 head.depth=3 "
    f"head.bias=true {LARGE}",
    "ufm loss=mse counts=[8,4,2] model.width=1 decay.weight=1e-2 decay.feature=2e-3",  # a bottleneck
    "ufm loss=mse counts=[1,1] model.width=3 decay.weight=1e-2 decay.feature=2e-3",
    "ufm loss=mse counts=[8,4,2] model.width=5 decay.weight=0.1 decay.feature=1",  # the optimum is zero
    "ufm loss=ce counts=[8,4,2] model.width=5 decay.weight=1e-2 decay.feature=2e-3",
    "ufm loss=ce counts=[8,4,2] model.width=5 decay.weight=1e-2 decay.feature=2e-3 head.bias=true",
    "ufm loss=ce counts=[4,4,4] model.width=5 decay.weight=5e-3 decay.feature=5e-3",
    f"ufm loss=ce counts=[4,4] model.width=5 decay.weight=5e-3 decay.feature=5e-3 head.depth=3 {LARGE}",
    "ufm_relu counts=[6,4,2] model.width=3 decay.weight=5e-3 decay.feature=5e-3 seed=0",
    "ufm_relu counts=[6,4,2] model.width=3 decay.weight=5e-3 decay.feature=5e-3 seed=1",
    "ufm_relu loss=mse counts=[6,4,2] model.width=6 decay.weight=5e-3 decay.feature=5e-3",
    "ufm_relu counts=[50,30,2,1] model.width=8 decay.weight=2e-2 decay.feature=5e-3 seed=0",
    "ufm_relu counts=[50,30,2,1] model.width=8 decay.weight=2e-2 decay.feature=5e-3 seed=1",
    "dufm counts=[6,6] model.width=8 head.depth=4 decay.weight=5e-3 decay.feature=2e-3 seed=1",
    "dufm counts=[6,3] model.width=8 head.depth=1",
]


@pytest.mark.parametrize("typed", PROVEN)
def test_proven_optimum_is_reached(typed: str, ncrun: Command, workdir: Path, run_config: Compose) -> None:
    """The gap: 1e-9 above is what the gradient's tolerance leaves where the problem is flat; 1e-10 below, rounding.
    Shapes go with its square root: 1e-4. Features within a class differ by as much, and NC1 is a square: 1e-8.
    """
    assert ncrun("train", f"model={typed.split()[0]}", *typed.split()[1:], "run_dir=run").status == 0
    row, run = rows(workdir / "run")[-1], run_config(f"model={typed.split()[0]}", *typed.split()[1:])
    assert manifest(workdir / "run")["verdict"]["word"] == "global optimum"
    assert -1e-10 < row["gap"] < 1e-9
    for key in ("nc2_w", "nc2_h", "nc3"):
        assert row[key] is None or row[key] < 1e-4
    vanishes = "decay.feature=1" in typed.split()
    assert (row["nc3"] is None) == vanishes
    assert vanishes or row["nc1"] < 1e-8
    assert row["loss"] == pytest.approx(
        Instance.by_sample(run.problem()).value_and_gradient(*trained(run, Path("run")))[0]
    )
    if "counts=[50,30,2,1]" in typed:
        assert row["loss"] == pytest.approx(0.504730573, abs=0.51e-9)  # found by another program, to its last digit


@pytest.mark.parametrize("seed", range(4))
def test_below_a_refuted_claim(seed: int, ncrun: Command, workdir: Path) -> None:
    """Six balanced classes and three layers: descent finds three pairs of classes, lower than the simplex by 16 %."""
    typed = f"loss=ce counts=[2,2,2,2,2,2] model.width=6 head.depth=3 decay.weight=1e-2 decay.feature=1e-2 {LARGE}"
    assert ncrun("train", "model=ufm", *typed.split(), f"seed={seed}", "run_dir=run").status == 0
    theory = json.loads((workdir / "run" / "theory.json").read_text())
    verdict, row = manifest(workdir / "run")["verdict"], rows(workdir / "run")[-1]
    assert theory["claim"] == "refuted"
    assert row["gap"] is None
    # No start is lower than the lowest value known, by more than rounding.
    assert row["loss"] > theory["best_known"]["objective"] * (1 - 1e-10)
    assert verdict["word"] == "lower than the claim"
    assert verdict["excess"] == pytest.approx(row["loss"] / theory["objective"] - 1)


def test_without_decay_there_is_no_claim(ncrun: Command, workdir: Path) -> None:
    typed = "counts=[5,3] model.width=3 decay.weight=0 decay.feature=0 loss=mse"
    assert ncrun("train", "model=ufm", *typed.split(), "run_dir=run").status == 0
    row = rows(workdir / "run")[-1]
    assert row["loss"] < 1e-12  # the data are fitted to the square of the gradient's tolerance
    assert (row["gap"], row["stationarity"], row["nc3"]) == (None, None, None)
    assert json.loads((workdir / "run" / "theory.json").read_text())["claim"] == "none"


def test_deep_collapse_where_the_theorem_has_it(ncrun: Command, workdir: Path) -> None:
    """Of three ReLU layers, K = 2. DNC1 on every layer; DNC2 on l >= 2 after the ReLU and on l >= 3 before it; DNC3 on
    l >= 2. Not on H_1, nor before the ReLU of layer 2: there this run is far from it, which the theorem allows.
    1e-3: the root of the loss' distance to its optimum (1e-9), times 30 for the many small rows that count in DNC3.
    """
    assert ncrun("train", "model=dufm", "counts=[50,50]", "model.width=16", "run_dir=run").status == 0
    row = rows(workdir / "run")[-1]
    assert manifest(workdir / "run")["verdict"]["word"] == "global optimum"
    assert -1e-10 < row["gap"] < 1e-9
    assert row["loss"] == pytest.approx(0.005314756, abs=0.51e-9)  # found by another program, to its last digit
    for layer in (1, 2, 3):
        assert row[f"head.{layer}.nc1_trace"] < 1e-8
        assert row[f"head.{layer}.rank"] == 2
    for layer in (2, 3):
        assert row[f"head.{layer}.dnc2"] == pytest.approx(1, abs=1e-3)
        assert row[f"head.{layer}.dnc3"] < 1e-3
        assert row[f"head.{layer}.nc2_h"] < 1e-3
    assert row["head.3.pre_dnc2"] == pytest.approx(1, abs=1e-3)
    assert row["head.2.pre_dnc2"] > 1.1
    assert row["head.1.dnc2"] > 1.1
    assert row["head.1.nc2_h"] is None
    assert row["train_accuracy"] == 1


@pytest.mark.parametrize("measure", ["every", "auto"])
def test_last_row_is_of_the_final_model(measure: str, ncrun: Command, workdir: Path, run_config: Compose) -> None:
    """Whatever is measured on the way; a kick that led no lower is taken back. 1e-13: rounding."""
    typed = ["model=ufm_relu", "counts=[4,2,1]", "model.width=3", "decay.weight=1e-2", "decay.feature=1e-2", "seed=1"]
    typed.append(f"measure={measure}")
    assert ncrun("train", *typed, "run_dir=run").status == 0
    run = run_config(*typed)
    value = Instance.by_sample(run.problem()).value_and_gradient(*trained(run, Path("run")))[0]
    assert rows(workdir / "run")[-1]["loss"] == pytest.approx(value, rel=1e-13)


def test_lbfgs_stops_at_its_last_iteration(ncrun: Command, workdir: Path) -> None:
    assert ncrun("train", "model=ufm", "counts=[6,3]", "model.width=3", "epochs=4", "run_dir=run").status == 0
    found = rows(workdir / "run")
    assert [row["epoch"] for row in found[:5]] == [0, 1, 2, 3, 4]
    assert found[-1]["step"] == 4
    assert manifest(workdir / "run")["verdict"]["word"] == "not converged"


# ---------------------------------------------------------------- along a path of decays

UP = [1, 2, 4, 6, 8, 11]
PATH = f"path={[*UP, *UP[-2::-1]]}".replace(" ", "")
SWEEP = f"model=ufm counts=[6,2] model.width=3 decay.weight=2e-2 decay.feature=2e-2 {PATH}".split()


def test_path_of_one_layer_is_the_same_both_ways(ncrun: Command, workdir: Path) -> None:
    """Each point at the optimum of its own decay. The smaller class is gone at the top and comes back: at one layer
    zero is a saddle, from which kicks free the descent. 1e-9 and, for margins, its root 1e-4: as for single runs.
    """
    assert ncrun("train", *SWEEP, "run_dir=run").status == 0
    found = rows(workdir / "run")
    assert [row["factor"] for row in found] == [*UP, *UP[-2::-1]]
    assert [row["epoch"] for row in found] == list(range(1, 12))
    assert all(-1e-10 < row["gap"] < 1e-9 for row in found)
    for up, down in zip(found[:5], found[:5:-1], strict=True):
        assert up["loss"] == pytest.approx(down["loss"], rel=1e-9)
        assert up["class.margin"] == pytest.approx(down["class.margin"], abs=1e-4)
    assert found[5]["class.margin"][1] == pytest.approx(0, abs=1e-4)
    assert found[0]["class.margin"][1] > 0.5
    assert "11 decays" in manifest(workdir / "run")["summary"]


def test_path_of_two_layers_stays_at_zero(ncrun: Command, workdir: Path) -> None:
    """Up to the top all is lost; down again zero is a local minimum at every decay: loss 1/2, to rounding."""
    assert ncrun("train", *SWEEP, "head.depth=2", *LARGE.split(), "run_dir=run").status == 0
    found = rows(workdir / "run")
    assert found[0]["gap"] == pytest.approx(0, abs=1e-9)
    assert min(found[0]["class.margin"]) > 0.5
    assert [row["loss"] for row in found[5:]] == pytest.approx([0.5] * 6, rel=1e-12)
    assert max(abs(margin) for row in found[5:] for margin in row["class.margin"]) < 1e-9
    assert found[-1]["gap"] > 1


# ---------------------------------------------------------------- gradient descent, step by step

DESCENTS = [
    f"ufm head.depth=2 head.bias=true {SGD} optimizer.momentum=0.9",
    f"ufm loss=ce head.bias=true {SGD} optimizer.momentum=0",
    f"ufm_relu {SGD} optimizer.momentum=0.9",
    f"ufm_relu loss=mse {SGD} optimizer.momentum=0",
    f"dufm head.depth=3 model.feature_std=0.5 {SGD} optimizer.momentum=0.5",
    f"dufm head.depth=2 head.width=4 {SGD} optimizer.momentum=0 schedule.step=2",
]
SMALL = "counts=[5,3,1] model.width=6 decay.weight=2e-2 decay.feature=1e-2 measure=every"


@pytest.mark.parametrize("typed", DESCENTS)
def test_sgd_is_the_recurrence_written_by_hand(typed: str, ncrun: Command, workdir: Path, run_config: Compose) -> None:
    """v <- m v + gradient, p <- p - lr v, features of ufm_relu cut at zero: five steps in numpy, with the reference's
    gradients. Every loss and every parameter to 1e-12: rounding of five steps.
    """
    overrides = [f"model={typed.split()[0]}", *typed.split()[1:], *SMALL.split(), "epochs=5"]
    assert ncrun("train", *overrides, "run_dir=run").status == 0
    run = run_config(*overrides)
    instance, momentum = Instance.by_sample(run.problem()), run.optimizer.momentum
    factors, bias = parameters(built(run))
    speeds, bias_speed = [np.zeros_like(factor) for factor in factors], np.zeros_like(bias)
    losses = []
    for step in range(6):
        value, gradients, bias_gradient = instance.value_and_gradient(factors, bias)
        losses.append(value)
        if step == 5:
            break
        rate = run.optimizer.lr * (0.1 ** (step // 2) if run.schedule.step else 1)
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
def test_adam_descends_the_objective(typed: str, ncrun: Command, workdir: Path, run_config: Compose) -> None:
    """Its last row is the objective at its checkpoint, to rounding: 1e-12."""
    overrides = [f"model={typed.split()[0]}", *typed.split()[1:], *SMALL.split(), "epochs=30"]
    overrides += ["optimizer=adam", "optimizer.lr=0.02"]
    assert ncrun("train", *overrides, "run_dir=run").status == 0
    run, losses = run_config(*overrides), [row["loss"] for row in rows(workdir / "run")]
    value = Instance.by_sample(run.problem()).value_and_gradient(*trained(run, Path("run")))[0]
    assert losses[-1] == pytest.approx(value, rel=1e-12)
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("optimizer", ["sgd optimizer.lr=2", "adam optimizer.lr=0.1", "lbfgs"])
def test_features_of_ufm_relu_are_never_negative(
    optimizer: str, ncrun: Command, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After every step, though steps lead below zero (L-BFGS keeps to its bounds by itself). And features that begin
    at zero leave it, where a ReLU would keep them.
    """
    before, after = [], []
    project, gradient = FreeFeatures.project, FreeGradient.__call__

    def projecting(self: FreeFeatures) -> None:
        before.append(float(self.points.detach().min()))
        project(self)

    def seeing(self: FreeGradient) -> None:
        after.append(float(self.model.points.detach().min()))
        gradient(self)

    def at_zero(run: RunConfig) -> FreeFeatures:
        model = built(run)
        model.points.data.zero_()
        return model

    monkeypatch.setattr(FreeFeatures, "project", projecting)
    monkeypatch.setattr(FreeGradient, "__call__", seeing)
    monkeypatch.setattr("ncrun.training.command.build", at_zero)
    typed = ["model=ufm_relu", *SMALL.split(), *f"optimizer={optimizer}".split(), "epochs=40", "run_dir=run"]
    assert ncrun("train", *typed).status == 0
    assert len(after) > 40
    assert min(after) == 0
    assert optimizer == "lbfgs" or min(before) < 0
    first, last = rows(workdir / "run")[0], rows(workdir / "run")[-1]
    assert max(first["class.feature_norm_sq"]) == 0
    assert last["class.feature_norm_sq"][0] > 0.1
    assert last["loss"] < first["loss"]


# ---------------------------------------------------------------- restarts

GROUP = f"model=ufm_relu {SMALL} {SGD} epochs=40 measure=10 seed=5".split()


def assert_rows_agree(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """To 1e-9 of each number or of 1e-3: not to the bit, because batched matrix products add up in another order."""
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.keys() == theirs.keys()
        for key, value in theirs.items():
            numeric = isinstance(value, float | list)
            assert ours[key] == (pytest.approx(value, rel=1e-9, abs=1e-12) if numeric else value), key


def test_restarts_are_the_runs_of_their_seeds(ncrun: Command, workdir: Path) -> None:
    result = ncrun("train", *GROUP, "restarts=3", "run_dir=group")
    assert (result.status, result.err) == (0, "")
    losses = []
    for seed in (5, 6, 7):
        assert ncrun("train", *GROUP, f"seed={seed}", "run_dir=alone-${seed}").status == 0
        alone, member = workdir / f"alone-{seed}", workdir / "group" / f"seed-{seed}"
        assert set(contents(member)) == set(contents(alone))
        assert_rows_agree(rows(member), rows(alone))
        ours, theirs = manifest(member), manifest(alone)
        assert (ours["identity"], ours["state"]) == (theirs["identity"], "done")
        assert ours["verdict"]["word"] == theirs["verdict"]["word"]
        assert (member / "theory.json").read_bytes() == (alone / "theory.json").read_bytes()
        losses.append(rows(member)[-1]["loss"])
    assert len(set(losses)) == 3
    summary = json.loads((workdir / "group" / "summary.json").read_text())
    assert summary["state"] == "done"
    assert [(entry["run"], entry["state"]) for entry in summary["runs"]] == [(f"seed-{s}", "done") for s in (5, 6, 7)]
    assert [entry["loss"] for entry in summary["runs"]] == losses
    assert [record.path.name for record in find_records(workdir / "group")] == ["seed-5", "seed-6", "seed-7"]
    assert result.out.splitlines()[-1] == f"group: {summary['summary']}"

    before = contents(workdir)
    again = ncrun("train", *GROUP, "restarts=3", "run_dir=group")
    assert (again.status, again.out) == (0, "group: finished already; nothing to do\n")
    member = ncrun("train", *GROUP, "seed=6", "run_dir=group/seed-6")
    assert "nothing to do" in member.out
    assert contents(workdir) == before


def test_group_directory_is_not_a_run_of_its_own(ncrun: Command, workdir: Path) -> None:
    assert ncrun("train", *GROUP, "restarts=2", "epochs=2", "run_dir=group").status == 0
    assert ncrun("train", *GROUP, "epochs=2", "run_dir=group").status == 2
    assert ncrun("train", *GROUP, "restarts=3", "epochs=2", "run_dir=group").status == 2


def exploding(run: RunConfig) -> FreeFeatures:
    """The second start begins so far out that its loss is no number a few steps later."""
    model = built(run)
    model.points.data[1] *= 1e70
    return model


def test_diverging_start_leaves_the_others_alone(
    ncrun: Command, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others' numbers are the same to the bit: the starts share a program, not one number."""
    typed = [*GROUP, "loss=mse", "restarts=3"]
    assert ncrun("train", *typed, "run_dir=healthy").status == 0
    monkeypatch.setattr("ncrun.training.command.build", exploding)
    assert ncrun("train", *typed, "run_dir=group").status == 0
    for seed in (5, 7):
        assert rows(workdir / "group" / f"seed-{seed}") == rows(workdir / "healthy" / f"seed-{seed}")
        assert state(workdir / "group" / f"seed-{seed}") == "done"
    assert state(workdir / "group" / "seed-6") == "failed"
    reason = manifest(workdir / "group" / "seed-6")["reason"]
    assert reason.startswith("diverged: ")
    assert "after step 10 (epoch 10)" in reason  # where it was noticed first
    summary = json.loads((workdir / "group" / "summary.json").read_text())
    assert [entry["state"] for entry in summary["runs"]] == ["done", "failed", "done"]
    assert [record.path.name for record in find_records(workdir / "group")] == ["seed-5", "seed-7"]


def test_group_whose_starts_all_diverge(ncrun: Command, workdir: Path) -> None:
    result = ncrun("train", *GROUP, "restarts=2", "loss=mse", "optimizer.lr=1e6", "run_dir=group")
    assert (result.status, result.out) == (1, "")
    assert result.err.count("\n") == 1
    assert "try optimizer.lr=" in result.err
    assert json.loads((workdir / "group" / "summary.json").read_text())["state"] == "failed"
    assert [state(workdir / "group" / name) for name in ("seed-5", "seed-6")] == ["failed", "failed"]


# ---------------------------------------------------------------- interrupted and continued

CONTINUED = {
    "ufm-momentum": f"ufm head.depth=2 head.bias=true {SMALL} {SGD} optimizer.momentum=0.9 epochs=20",
    "ufm_relu-adam": f"ufm_relu {SMALL} optimizer=adam optimizer.lr=0.05 epochs=20",
    "dufm-restarts": f"dufm {SMALL} {SGD} optimizer.momentum=0.9 epochs=20 restarts=3",
    "ufm_relu-lbfgs": f"ufm_relu {SMALL}",
    "ufm-path": f"ufm {SMALL} path=[1,2,3,2]",
}


def interrupt(patch: pytest.MonkeyPatch) -> None:
    """SIGINT while the objective is evaluated for the 30th time, for steps and for measuring."""
    calls, gradient = itertools.count(1), FreeGradient.__call__

    def signalling(self: FreeGradient) -> None:
        if next(calls) == 30:
            signal.raise_signal(signal.SIGINT)
        gradient(self)

    patch.setattr(FreeGradient, "__call__", signalling)


@pytest.mark.parametrize("name", CONTINUED)
def test_interrupted_run_continues_to_the_same_bits(
    name: str, ncrun: Command, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gradient descent goes on from where it was; L-BFGS, a matter of seconds, starts again."""
    typed = CONTINUED[name].split()
    typed[0] = f"model={typed[0]}"
    assert ncrun("train", *typed, "run_dir=straight").status == 0
    with monkeypatch.context() as patch:
        interrupt(patch)
        stopped = ncrun("train", *typed, "run_dir=run")
    assert stopped.status == 128 + signal.SIGINT
    assert stopped.err == "run: interrupted; the same command continues it\n"
    members = ["seed-0", "seed-1", "seed-2"] if "restarts=3" in typed else ["."]
    for member in members:
        so_far, complete = rows(workdir / "run" / member), rows(workdir / "straight" / member)
        assert len(so_far) < len(complete)
        assert so_far == complete[: len(so_far)]
        assert state(workdir / "run" / member) == "interrupted"
    assert ncrun("train", *typed, "run_dir=run").status == 0
    for member in members:
        assert state(workdir / "run" / member) == "done"
        assert rows(workdir / "run" / member) == rows(workdir / "straight" / member)


def test_diverged_start_is_remembered_by_a_continued_group(
    ncrun: Command, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ncrun.training.command.build", exploding)
    typed = [*GROUP, "loss=mse", "restarts=2"]
    assert ncrun("train", *typed, "run_dir=straight").status == 0
    with monkeypatch.context() as patch:
        interrupt(patch)
        ncrun("train", *typed, "run_dir=run")
    assert state(workdir / "run" / "seed-5") == "interrupted"
    assert ncrun("train", *typed, "run_dir=run").status == 0
    assert [state(workdir / "run" / f"seed-{seed}") for seed in (5, 6)] == ["done", "failed"]
    for seed in (5, 6):
        assert rows(workdir / "run" / f"seed-{seed}") == rows(workdir / "straight" / f"seed-{seed}")
