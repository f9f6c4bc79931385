"""Whole runs of L-BFGS on free features: the optimum that they reach, alone and along a path of decays."""

import json
from pathlib import Path

import pytest
from conftest import Command, RunOf, rows
from free_features import Instance
from parameters import manifest, trained

pytestmark = pytest.mark.usefixtures("undrawn")
# From large initial values deep heads do not fall into the basin of zero.
LARGE = "model.feature_std=0.6 model.weight_std=0.6"
SOFT = "loss=ce label_smoothing=0.1 class_weights=balanced"
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
    f"ufm counts=[8,4,2] model.width=5 decay.weight=1e-2 decay.feature=2e-3 {SOFT} head.bias=true logit_adjustment=1",
    f"ufm_relu counts=[8,4,2] model.width=5 decay.weight=1e-2 decay.feature=2e-3 {SOFT}",
    "ufm loss=ce counts=[4,4,4] model.width=5 decay.weight=5e-3 decay.feature=5e-3",
    f"ufm loss=ce counts=[4,4] model.width=5 decay.weight=5e-3 decay.feature=5e-3 head.depth=3 {LARGE}",
    "ufm_relu counts=[6,4,2] model.width=3 decay.weight=5e-3 decay.feature=5e-3 seed=0",
    "ufm_relu counts=[6,4,2] model.width=3 decay.weight=5e-3 decay.feature=5e-3 seed=1",
    "ufm_relu loss=mse counts=[6,4,2] model.width=6 decay.weight=5e-3 decay.feature=5e-3",
    "ufm_relu counts=[50,30,2,1] model.width=8 decay.weight=2e-2 decay.feature=5e-3 seed=0",
    "ufm_relu counts=[50,30,2,1] model.width=8 decay.weight=2e-2 decay.feature=5e-3 seed=1",
    "ufm_relu counts=[40,20,5] model.width=12 decay.weight=5e-3 decay.feature=5e-3 head.bias=true",  # two share
    "ufm_relu loss=mse counts=[40,20,5] model.width=12 decay.weight=5e-3 decay.feature=5e-3 head.bias=true",
    "dufm counts=[6,6] model.width=8 head.depth=4 decay.weight=5e-3 decay.feature=2e-3 seed=1",
    "dufm counts=[6,3] model.width=8 head.depth=1",
]


@pytest.mark.parametrize("typed", PROVEN)
def test_proven_optimum_is_reached(typed: str, ncrun: Command, workdir: Path, run_of: RunOf) -> None:
    """The gap: 1e-9 above is what the gradient's tolerance leaves where the problem is flat; 1e-10 below, rounding.
    Shapes go with its square root: 1e-4. Features within a class differ by as much, and NC1 is a square: 1e-8.
    """
    assert ncrun("train", f"model={typed.split()[0]}", *typed.split()[1:], "run_dir=run").status == 0
    row, run = rows(workdir / "run")[-1], run_of(f"model={typed.split()[0]}", *typed.split()[1:])
    assert manifest(workdir / "run")["verdict"]["word"] == "global optimum"
    assert -1e-10 < row["gap"] < 1e-9
    for key in ("nc2_w", "nc2_h", "nc3"):
        assert row[key] is None or row[key] < 1e-4
    vanishes = "decay.feature=1" in typed.split()
    assert (row["nc3"] is None) == vanishes
    assert vanishes or row["nc1"] < 1e-8
    assert row["loss"] == pytest.approx(
        Instance.by_sample(run.problem).value_and_gradient(*trained(run, Path("run")))[0]
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
def test_last_row_is_of_the_final_model(measure: str, ncrun: Command, workdir: Path, run_of: RunOf) -> None:
    """Whatever is measured on the way; a kick that led no lower is taken back. 1e-13: rounding."""
    typed = ["model=ufm_relu", "counts=[4,2,1]", "model.width=3", "decay.weight=1e-2", "decay.feature=1e-2", "seed=1"]
    typed.append(f"measure={measure}")
    assert ncrun("train", *typed, "run_dir=run").status == 0
    run = run_of(*typed)
    value = Instance.by_sample(run.problem).value_and_gradient(*trained(run, Path("run")))[0]
    assert rows(workdir / "run")[-1]["loss"] == pytest.approx(value, rel=1e-13)


def test_lbfgs_stops_at_its_last_iteration(ncrun: Command, workdir: Path) -> None:
    assert ncrun("train", "model=ufm", "counts=[6,3]", "model.width=3", "epochs=4", "run_dir=run").status == 0
    found = rows(workdir / "run")
    assert [row["epoch"] for row in found[:5]] == [0, 1, 2, 3, 4]
    assert found[-1]["step"] == 4
    assert manifest(workdir / "run")["verdict"]["word"] == "not converged"


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
