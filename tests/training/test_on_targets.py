"""Runs on targets of numbers, from the command line to what is read back."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Command

import ncrun as library
from ncrun.records.read import load_record

SMALL = ("model.depth=2", "model.width=12", "threads=1", "device=cpu")


def trained(ncrun: Command, *typed: str) -> library.LoadedRun:
    result = ncrun("train", *typed, "run_dir=run")
    assert result.status == 0, result
    return library.load("run")


def test_free_features_reach_the_proven_optimum(ncrun: Command, undrawn: None) -> None:
    """Of linnerud, whose third direction a layer of width 2 drops."""
    head = ("head.depth=2", "head.bias=true", "head.width=2")
    run = trained(ncrun, "model=ufm", "dataset=linnerud", "decay.weight=5e-3", "decay.feature=5e-3", *head)
    last = run.metrics.iloc[-1]
    assert abs(last["gap"]) < 1e-9
    assert max(last["nc2_w"], last["nc2_h"], last["nc3"]) < 1e-4
    assert last["nrc2"] < 1e-8
    kept = [entry["kept"] for entry in run.theory["directions"]]
    assert last["direction.kept"] == pytest.approx(kept, abs=1e-4)
    assert kept[2] == 0
    assert run.summary.startswith("global optimum; ")
    assert "1 of 3 directions lost" in run.summary
    features, targets = run.features()
    assert (features.shape, targets.shape) == ((16, 64), (16, 3))


def test_one_hot_targets_train_as_classes_do(ncrun: Command, workdir: Path, undrawn: None) -> None:
    """The same file once with labels, once with their one-hot rows: the same loss at every epoch, to the rounding of
    sums in another order."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 40)
    images = rng.standard_normal((40, 5)) + labels[:, None]
    found = {}
    for name, given in (("labels", labels), ("targets", np.eye(3)[labels])):
        arrays = {
            f"{part}_{what}": each for part in ("train", "test") for what, each in (("images", images), (name, given))
        }
        np.savez(f"{name}.npz", **arrays)
        typed = ("dataset=npz", f"dataset.path={name}.npz", "epochs=3", "batch_size=16", "dtype=float64", *SMALL)
        result = ncrun("train", *typed, "head.depth=2", "head.bias=true", f"run_dir={name}")
        assert result.status == 0, result
        found[name] = load_record(Path(name))
    one, other = found["labels"], found["targets"]
    assert other.metrics["loss"].to_list() == pytest.approx(one.metrics["loss"].to_list(), rel=1e-11)
    assert other.metrics["gap"].to_list() == pytest.approx(one.metrics["gap"].to_list(), rel=1e-9)
    assert other.metrics["nc2_w"].to_list() == pytest.approx(one.metrics["nc2_w"].to_list(), rel=1e-7)
    assert "train_accuracy" not in other.metrics


def test_a_record_on_targets(ncrun: Command, workdir: Path) -> None:
    """It is drawn, read back, listed and tabled; continued it is the run it was; of classes nothing is made up."""
    run = trained(ncrun, "dataset=diabetes", "epochs=4", "head.bias=true", *SMALL)
    assert Path("run/curves.png").is_file()
    assert run.on_targets
    assert run.problem.targets is not None
    assert run.prediction.claim == "proven"
    assert run.prediction.objective == run.theory["objective"]
    last = run.metrics.iloc[-1]
    assert last["gap"] > 0
    assert 0 < last["r2"] < 1
    assert np.isfinite(last["test.r2"])
    assert not [key for key in run.metrics if key.startswith("class.") or key in ("nc1", "test_accuracy")]
    assert json.loads(Path("run/geometry.json").read_text())["weight_gram"][0][0] > 0
    features, targets = run.features("test")
    network = run.network()
    outputs = features @ network.head.weights[0].detach().numpy().T + network.head.layers[-1].bias.detach().numpy()
    assert np.mean((outputs - targets) ** 2) == pytest.approx(last["test.mse"], rel=1e-5)
    for command in (("table", "run"), ("runs", "run")):
        result = ncrun(*command)
        assert result.status == 0, (command, result)
    again = ncrun("train", "dataset=diabetes", "epochs=4", "head.bias=true", *SMALL, "run_dir=run")
    assert "finished" in again.out + again.err


def test_restarts_and_costs(ncrun: Command, workdir: Path, undrawn: None) -> None:
    """Several starts in one program are judged; what a run would cost is told without training."""
    typed = ("model=ufm", "dataset=linnerud", "decay.weight=5e-3", "decay.feature=5e-3", "optimizer=adam", "epochs=30")
    result = ncrun("train", *typed, "restarts=2", "threads=1", "run_dir=starts")
    assert result.status == 0, result
    assert "2 restarts: 2 not converged" in result.out
    for chosen in (typed, ("dataset=linnerud", "head.bias=true")):
        planned = ncrun("train", *chosen, "dry_run=true")
        assert planned.status == 0, planned
