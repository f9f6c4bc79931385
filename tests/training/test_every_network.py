"""Every network trains a step, and what is measured of it is what it does."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command, RunOf, built, rows

from ncrun.data import tensors
from ncrun.objective import Objective
from ncrun.theory import predict
from ncrun.training.evaluate import Evaluator

# Widths so small that a run takes a second.
NETWORKS = [
    "mlp model.depth=2 model.width=12 model.features=relu",
    "resnet18 model.width=0.05",
    "resnet18 model.width=0.05 model.feature_norm=false",
    "vgg11 model.width=0.05 dataset.size=32",
    "vgg11 model.width=0.05 dataset.size=32 model.feature_norm=false",
    "vgg16 model.width=0.05 dataset.size=32 dataset.channels=3",
    "densenet model.width=0.05",
    "densenet model.width=0.05 model.feature_norm=true dataset.size=16",
]
ONE_STEP = ["epochs=1", "threads=1", "batch_size=full"]


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("loss", ["mse", "ce"])
@pytest.mark.parametrize("model", NETWORKS)
def test_every_network_trains_a_step(model: str, loss: str, ncrun: Command, workdir: Path) -> None:
    typed = [*f"model={model}".split(), f"loss={loss}", "counts=[3,3,3,3,3,3,3,2,2,2]", "head.depth=2"]
    result = ncrun("train", *typed, *ONE_STEP, "run_dir=run")
    assert (result.status, result.err) == (0, "")
    first, last = rows(workdir / "run")
    for row in (first, last):
        for key in ("loss", "nc1", "nc4", "train_accuracy", "test_accuracy", "etf_w", "etf_h", "head.2.nc1"):
            assert np.isfinite(row[key]), key
    assert (last["step"], last["loss"] != first["loss"]) == (1, True)
    assert "verdict" not in json.loads((workdir / "run" / "manifest.json").read_text())


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("model", "counts", "claim"),
    [
        ("mlp model.depth=2 model.width=12", "classes=[0,1] counts=[6,6]", "proven"),
        ("mlp model.depth=2 model.width=12 model.features=relu", "classes=[0,1] counts=[6,6]", "proven"),
        ("mlp model.depth=2 model.width=12 model.batch_norm=true", "classes=[0,1] counts=[6,3]", "open"),
        ("deep_linear model.width=12", "classes=[0,1] counts=[6,6]", "proven"),
        ("resnet18 model.width=0.05", "classes=[8,3] counts=[6,6]", "proven"),
        ("vgg11 model.width=0.05 dataset.size=32", "classes=[0,1,2] counts=[4,4,4]", "open"),
        ("vgg16 model.width=0.05 dataset.size=32", "counts=[2,2,2,2,2,2,2,2,2,2] loss=ce", "none"),
        ("densenet model.width=0.05", "classes=[0,1] counts=[6,6]", "proven"),
    ],
)
def test_every_network_trains_a_step_with_a_relu_head(
    model: str, counts: str, claim: str, ncrun: Command, workdir: Path
) -> None:
    """Measured layer by layer, as deep unconstrained features are; a verdict is for free features alone."""
    typed = [*f"model={model}".split(), *counts.split(), "head.relu=true", "head.depth=3"]
    result = ncrun("train", *typed, *ONE_STEP, "run_dir=run")
    assert (result.status, result.err) == (0, "")
    assert json.loads((workdir / "run" / "theory.json").read_text())["claim"] == claim
    manifest = json.loads((workdir / "run" / "manifest.json").read_text())
    assert (manifest["state"], "verdict" in manifest) == ("done", False)
    first, last = rows(workdir / "run")
    for row in (first, last):
        keys = [f"head.{layer}.{key}" for layer in (1, 2, 3) for key in ("nc1", "nc1_trace", "dnc2", "dnc3", "rank")]
        assert {*keys, "head.2.pre_dnc2", "head.3.pre_dnc2"} <= row.keys()
        for key in ("loss", "nc1", "train_accuracy", "test_accuracy", "head.1.dnc3", "head.2.dnc3", "head.3.dnc3"):
            assert np.isfinite(row[key]), key
        assert (row["gap"] is None) == (claim not in ("proven", "certified"))
        assert row["gap"] is None or row["gap"] > 0
    assert (last["step"], last["loss"] != first["loss"]) == (1, True)


@pytest.mark.parametrize("loss", ["mse", "ce"])
@pytest.mark.parametrize("head", ["head.relu=true head.depth=3", "head.depth=3", "head.relu=true head.depth=2"])
def test_what_is_measured_of_a_head_is_what_the_network_does(head: str, loss: str, run_of: RunOf) -> None:
    """Accuracies on both splits and the loss, against the network's own logits. 1e-12: both are in float64."""
    typed = ["classes=[0,1,2]", "counts=[9,9,4]", "dtype=float64", "model.width=12", f"loss={loss}", *head.split()]
    run = run_of(*typed)
    data = tensors.load(run.data, torch.device("cpu"), torch.float64)
    network = built(run).double().eval()
    row = Evaluator(data, Objective.of(run.problem), predict(run.problem))(network)
    with torch.no_grad():
        features, logits = network(data.train_images)
        test_logits = network(data.test_images)[1]
    assert row["train_accuracy"] == pytest.approx(float((logits.argmax(1) == data.train_labels).double().mean()))
    assert row["test_accuracy"] == pytest.approx(float((test_logits.argmax(1) == data.test_labels).double().mean()))
    if loss == "mse":
        wanted = float((logits - torch.eye(3)[data.train_labels]).square().sum()) / (2 * 22)
    else:
        wanted = float(torch.nn.functional.cross_entropy(logits, data.train_labels))
    assert row["data_term"] == pytest.approx(wanted, rel=1e-12)
    wanted += run.problem.weight_decays[0] / 2 * sum(float(w.detach().square().sum()) for w in network.head.weights)
    wanted += run.problem.feature_decay / 2 * float(features.square().sum())
    assert row["loss"] == pytest.approx(wanted, rel=1e-12)
