"""Whole runs: what they write, and that they repeat."""

import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import TINY, Command, RunOf, contents, rows, state

from ncrun.problem import Problem


def only_run(workdir: Path) -> Path:
    (directory,) = (workdir / "runs").iterdir()
    return directory


def test_run_directory_holds_what_the_contract_says(ncrun: Command, workdir: Path, run_of: RunOf) -> None:
    typed = ["dataset=digits", "imbalance=0.5", "head.depth=2", *[o for o in TINY if "counts" not in o]]
    result = ncrun("train", *typed)
    assert (result.status, result.err) == (0, "")  # quiet where nobody watches
    directory = only_run(workdir)
    assert directory.name.startswith("digits-mlp-M2-")
    assert set(contents(directory)) == {
        "config.yaml",
        "manifest.json",
        "problem.json",
        "theory.json",
        "geometry.json",
        "metrics.jsonl",
        "snapshots.npz",
        "checkpoint.pt",
        "curves.png",
    }
    manifest = json.loads((directory / "manifest.json").read_text())
    assert manifest["state"] == "done"
    assert (manifest["class_counts"][0], manifest["class_counts"][9]) == (140, 70)
    assert manifest["num_samples"] == sum(manifest["class_counts"])
    assert manifest["effective_decays"] == {"weight": [5e-4, 5e-4], "feature": 1e-5}
    assert (manifest["experiment"], manifest["scale"], manifest["caption"]) == (None, None, None)
    assert manifest["words"] == {"model": "MLP", "loss": "squared loss", "dataset": "digits"}
    assert manifest["threads"] == 1
    assert len(manifest["index_hash"]) == 64
    assert manifest["code"]["version"]
    assert {"python", "torch", "torchvision", "numpy"} <= manifest["versions"].keys()
    assert manifest["wall_seconds"] > 0
    assert 0 < manifest["measuring_share"] < 1
    assert result.out == f"runs/{directory.name}: {manifest['summary']}\n"
    assert json.loads((directory / "theory.json").read_text()) == json.loads(ncrun("theory", "--json", *typed).out)

    assert Problem.from_json(json.loads((directory / "problem.json").read_text())) == run_of(*typed).problem

    from omegaconf import OmegaConf

    config = OmegaConf.load(directory / "config.yaml")
    assert (config.imbalance, config.batch_size, config.decay.feature) == (0.5, 128, 1e-5)

    metrics = pd.read_json(directory / "metrics.jsonl", lines=True)
    assert metrics["epoch"].tolist() == [0, 1, 2]
    steps = -(-manifest["num_samples"] // 128)
    assert metrics["step"].tolist() == [0, steps, 2 * steps]
    wanted = {"loss", "nc1", "nc2_w", "nc2_h", "nc3", "nc4", "train_accuracy", "test_accuracy", "seconds"}
    assert wanted | {"head.1.nc1", "head.2.nc1"} <= set(metrics.columns)
    assert metrics["loss"].notna().all()
    assert metrics["train_accuracy"].between(0, 1).all()
    assert metrics["seconds"].is_monotonic_increasing


@pytest.mark.parametrize(
    ("typed", "members"),
    [
        ("model=dufm counts=[4,2] optimizer=sgd restarts=2", ["seed-0", "seed-1"]),
        ("model=ufm counts=[4,2] path=[1,2,1]", ["."]),
    ],
)
def test_directory_of_free_features(typed: str, members: list[str], ncrun: Command, workdir: Path) -> None:
    result = ncrun("train", *typed.split(), "model.width=4", "epochs=20", "run_dir=run")
    assert (result.status, result.err) == (0, "")
    usual = {"config.yaml", "manifest.json", "problem.json", "theory.json", "geometry.json", "metrics.jsonl"}
    usual |= {"checkpoint.pt", "curves.png"} | ({"snapshots.npz"} if "path" not in typed else set())
    for member in members:
        assert set(contents(workdir / "run" / member)) == usual
        manifest = json.loads((workdir / "run" / member / "manifest.json").read_text())
        assert (manifest["dataset"], manifest["index_hash"], manifest["threads"]) == (None, None, 1)
        assert (manifest["class_counts"], manifest["num_samples"]) == ([4, 2], 6)
        geometry = json.loads((workdir / "run" / member / "geometry.json").read_text())
        values = geometry.pop("singular_values")
        assert all(2 >= len(each) > 0 and each == sorted(each, reverse=True) for each in values.values())
        assert {name: np.shape(matrix) for name, matrix in geometry.items()} == dict.fromkeys(geometry, (2, 2))
    if members != ["."]:
        assert {path.name for path in (workdir / "run").iterdir()} == {"summary.json", *members}


@pytest.mark.usefixtures("undrawn")
def test_same_seed_same_numbers(ncrun: Command, workdir: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        assert ncrun("train", *TINY, f"run_dir={name}", f"seed={seed}").status == 0
    assert rows(workdir / "a") == rows(workdir / "b")
    assert [row["loss"] for row in rows(workdir / "a")] != [row["loss"] for row in rows(workdir / "c")]


@pytest.mark.usefixtures("undrawn")
def test_finished_run_is_not_trained_again(ncrun: Command, workdir: Path) -> None:
    assert ncrun("train", *TINY).status == 0
    before = contents(workdir)
    result = ncrun("train", *TINY)
    assert (result.status, result.err) == (0, "")
    assert "nothing to do" in result.out
    assert contents(workdir) == before


@pytest.mark.usefixtures("undrawn")
def test_training_descends_the_objective_that_is_logged(ncrun: Command, workdir: Path) -> None:
    """The loss falls towards the proven optimum, never below it, and is the sum of its parts."""
    typed = [*TINY, "epochs=60", "batch_size=full", "optimizer.lr=1e-2", "dtype=float64"]
    assert ncrun("train", *typed, "decay.feature=5e-4", "run_dir=run").status == 0
    records = rows(workdir / "run")
    losses = [row["loss"] for row in records]
    optimum = json.loads((workdir / "run" / "theory.json").read_text())["objective"]
    assert losses[-1] < 0.6 * losses[0]
    assert min(losses) > optimum
    for row in records:
        assert row["gap"] == pytest.approx(row["loss"] / optimum - 1)
        parts = [row[f"ledger.{part}"] for part in ("within_class", "duality", "bias", "geometry")]
        assert min(parts) >= -1e-12
        assert sum(parts) == pytest.approx(row["loss"] - optimum)


COMBINATIONS = list(
    itertools.product(
        ["mlp model.depth=1 model.width=8", "deep_linear model.width=8", "resnet18 model.width=0.03"],
        ["mse", "ce"],
        ["features", "parameters"],
        ["float32", "float64"],
        ["adam", "sgd optimizer.lr=1e-3"],
    )
)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(("model", "loss", "mode", "dtype", "optimizer"), COMBINATIONS, ids=lambda v: v.split()[0])
def test_everything_goes_with_everything(
    model: str, loss: str, mode: str, dtype: str, optimizer: str, ncrun: Command, workdir: Path
) -> None:
    overrides = [
        "counts=[3,3,3,3,3,3,3,2,2,2]",
        "epochs=1",
        "threads=1",
        "head.depth=2",
        "head.bias=true",
        "batch_size=14",
    ]
    overrides += [
        *f"model={model} optimizer={optimizer}".split(),
        f"loss={loss}",
        f"decay.mode={mode}",
        f"dtype={dtype}",
    ]
    result = ncrun("train", *overrides, "run_dir=run")
    assert (result.status, result.err) == (0, "")
    first, last = rows(workdir / "run")
    for row in (first, last):
        for key in ("loss", "nc1", "nc4", "train_accuracy", "test_accuracy", "etf_w", "etf_h"):
            assert np.isfinite(row[key]), key
    assert last["step"] == 2
    assert last["loss"] != first["loss"]
    assert "nan" not in result.out


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    "overrides",
    [
        "model=mlp model.depth=2 model.batch_norm=true",
        "batch_size=1",
        "batch_size=full",
        "counts=[1,1,1,1,1,1,1,1,1,1]",
        "counts=[9,1,9,1,9,1,9,1,9,1]",
        "model.width=1",
        "head.depth=3 head.width=2",
        "head.depth=2 decay.weight=[1e-3,2e-3] decay.feature=0",
        "decay.weight=0",
        "decay.weight=10",
        "epochs=1 measure=log",
        "progress=true",
        "schedule.step=1",
    ],
)
def test_unusual_settings(overrides: str, ncrun: Command, workdir: Path) -> None:
    result = ncrun("train", *TINY, *overrides.split(), "run_dir=run")
    assert result.status == 0
    assert all(np.isfinite(row["loss"]) for row in rows(workdir / "run"))
    assert state(workdir / "run") == "done"
