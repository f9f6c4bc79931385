"""Schedules, and whole runs: what they write, that they repeat, stop, continue and fail as they should."""

import gc
import itertools
import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import TINY, Command, Compose, built, contents, rows, state

from ncrun.data.tensors import load
from ncrun.objective import Objective
from ncrun.theory import predict
from ncrun.training.evaluate import Evaluator
from ncrun.training.schedule import learning_rate, measured_epochs

# ---------------------------------------------------------------- schedules


@pytest.mark.parametrize(
    ("epoch", "rate"),
    [(0, 1.0), (4, 1.0), (5, 0.1), (7, 0.1), (8, 0.01), (9, 0.01)],
    ids=lambda value: f"{value}",
)
def test_rate_drops_once_a_share_of_the_epochs_has_passed(epoch: int, rate: float) -> None:
    assert learning_rate(1.0, epoch, 10, [0.5, 0.75], None, 0.1) == pytest.approx(rate)


def test_rate_drops_every_so_many_epochs() -> None:
    rates = [learning_rate(2.0, epoch, 7, [], 3, 0.5) for epoch in range(7)]
    assert rates == [2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 0.5]


def test_rate_without_drops_stays() -> None:
    assert {learning_rate(0.3, epoch, 9, [], None, 0.1) for epoch in range(9)} == {0.3}


@pytest.mark.parametrize(
    ("measure", "epochs", "full_batch", "epochs_measured"),
    [
        ("auto", 4, False, {0, 1, 2, 3, 4}),
        ("every", 4, True, {0, 1, 2, 3, 4}),
        ("auto", 4, True, {0, 1, 2, 3, 4}),
        (3, 10, False, {0, 3, 6, 9, 10}),
        (100, 10, False, {0, 10}),
        (1, 2, True, {0, 1, 2}),
    ],
)
def test_measured_epochs(measure: str | int, epochs: int, full_batch: bool, epochs_measured: set[int]) -> None:
    assert measured_epochs(measure, epochs, full_batch) == epochs_measured


@pytest.mark.parametrize("epochs", [1, 2, 199, 200, 201, 250, 4000, 100_000])
def test_log_measures_about_two_hundred_epochs_evenly_in_their_logarithm(epochs: int) -> None:
    chosen = sorted(measured_epochs("log", epochs, True))
    assert (chosen[0], chosen[-1]) == (0, epochs)
    assert min(epochs, 195) + 1 <= len(chosen) <= 206
    if epochs >= 4000:
        late = np.diff(np.log([epoch for epoch in chosen if epoch > 200]))
        assert late.max() < 2 * late.min()
    assert measured_epochs("auto", epochs, True) == set(chosen)


# ---------------------------------------------------------------- one run


def only_run(workdir: Path) -> Path:
    (directory,) = (workdir / "runs").iterdir()
    return directory


def test_run_directory_holds_what_the_contract_says(ncrun: Command, workdir: Path) -> None:
    typed = ["dataset=digits", "imbalance=0.5", "head.depth=2", *[o for o in TINY if "counts" not in o]]
    result = ncrun("train", *typed)
    assert (result.status, result.err) == (0, "")  # quiet where nobody watches
    directory = only_run(workdir)
    assert directory.name.startswith("digits-mlp-M2-")
    assert set(contents(directory)) == {
        "config.yaml",
        "manifest.json",
        "theory.json",
        "geometry.json",
        "metrics.jsonl",
        "checkpoint.pt",
        "curves.png",
    }
    manifest = json.loads((directory / "manifest.json").read_text())
    assert manifest["state"] == "done"
    assert (manifest["class_counts"][0], manifest["class_counts"][9]) == (140, 70)
    assert manifest["num_samples"] == sum(manifest["class_counts"])
    assert manifest["effective_decays"] == {"weight": [5e-4, 5e-4], "feature": 1e-5}
    assert manifest["threads"] == 1
    assert len(manifest["index_hash"]) == 64
    assert manifest["code"]["version"]
    assert {"python", "torch", "torchvision", "numpy"} <= manifest["versions"].keys()
    assert manifest["wall_seconds"] > 0
    assert 0 < manifest["measuring_share"] < 1
    assert manifest["device"] == "cpu" or manifest["device"]
    assert result.out == f"runs/{directory.name}: {manifest['summary']}\n"
    assert json.loads((directory / "theory.json").read_text()) == json.loads(ncrun("theory", "--json", *typed).out)

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
    usual = {"config.yaml", "manifest.json", "theory.json", "geometry.json", "metrics.jsonl", "checkpoint.pt"}
    for member in members:
        assert set(contents(workdir / "run" / member)) == usual | {"curves.png"}
        manifest = json.loads((workdir / "run" / member / "manifest.json").read_text())
        assert (manifest["dataset"], manifest["index_hash"], manifest["threads"]) == (None, None, 1)
        assert (manifest["class_counts"], manifest["num_samples"]) == ([4, 2], 6)
        geometry = json.loads((workdir / "run" / member / "geometry.json").read_text())
        values = geometry.pop("singular_values")
        assert all(2 >= len(each) > 0 and each == sorted(each, reverse=True) for each in values.values())
        assert {name: np.shape(matrix) for name, matrix in geometry.items()} == dict.fromkeys(geometry, (2, 2))
    if members != ["."]:
        assert {path.name for path in (workdir / "run").iterdir()} == {
            "config.yaml",
            "theory.json",
            "summary.json",
            "checkpoint.pt",
            *members,
        }


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


@pytest.mark.usefixtures("undrawn")
def test_rates_of_the_schedule_are_used(ncrun: Command, workdir: Path) -> None:
    overrides = ["epochs=4", "schedule.drops=[0.5]", "optimizer=sgd", "optimizer.lr=0.01"]
    assert ncrun("train", *TINY, *overrides, "run_dir=run").status == 0
    assert [row["lr"] for row in rows(workdir / "run")] == pytest.approx([0.01, 0.01, 0.01, 0.001, 0.001])


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
def test_what_is_measured_of_a_head_is_what_the_network_does(head: str, loss: str, run_config: Compose) -> None:
    """Accuracies on both splits and the loss, against the network's own logits. 1e-12: both are in float64."""
    typed = ["classes=[0,1,2]", "counts=[9,9,4]", "dtype=float64", "model.width=12", f"loss={loss}", *head.split()]
    run = run_config(*typed)
    data = load(run.data_request(), torch.device("cpu"), torch.float64)
    torch.manual_seed(0)
    network = built(run).double().eval()
    objective = Objective(loss, run.decay.mode, run.weight_decays(), run.decay.feature, run.num_samples)
    row = Evaluator(data, objective, predict(run.problem()))(network)
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
    wanted += run.decay.weight / 2 * sum(float(w.detach().square().sum()) for w in network.head.weights)
    wanted += run.decay.feature / 2 * float(features.square().sum())
    assert row["loss"] == pytest.approx(wanted, rel=1e-12)


# ---------------------------------------------------------------- ends before the end

DIVERGING = [
    "optimizer=sgd optimizer.lr=1e6 epochs=30",
    "optimizer=sgd optimizer.lr=1e6 epochs=30 batch_size=full",
    "optimizer=sgd optimizer.lr=1e6 epochs=30 loss=ce",
    "optimizer=sgd optimizer.lr=1e6 epochs=30 dtype=float64",
    "optimizer=sgd optimizer.lr=1e4 epochs=10 model.depth=3",
    # so early that the loss is still a number: 1e65
    "optimizer=sgd optimizer.lr=1e6 epochs=2",
    "optimizer=sgd optimizer.lr=1e6 epochs=2 loss=ce",
]


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("overrides", DIVERGING)
def test_diverging_run(overrides: str, ncrun: Command, workdir: Path) -> None:
    result = ncrun("train", *TINY, *overrides.split(), "run_dir=run")
    assert result.status == 1
    assert result.out == ""
    assert result.err.count("\n") == 1, result.err
    assert result.err.startswith("ncrun: ")
    assert "step" in result.err
    assert "try optimizer.lr=" in result.err
    assert state(workdir / "run") == "failed"
    assert "step" in json.loads((workdir / "run" / "manifest.json").read_text())["reason"]
    assert all(np.isfinite(row["loss"]) for row in rows(workdir / "run"))


# Where a signal comes: the step, and the overrides that decide what part of an epoch that is (60 samples).
STOPS = {
    "SIGTERM-in-an-epoch": (signal.SIGTERM, 8, ["batch_size=13", "model.batch_norm=true"]),
    "SIGINT-full-batch": (signal.SIGINT, 3, ["batch_size=full"]),
    "SIGTERM-augmented": (signal.SIGTERM, 8, ["batch_size=13", "augment=[crop,flip]"]),
    "SIGINT-last-step-of-an-epoch": (signal.SIGINT, 10, ["batch_size=13"]),
    "SIGKILL": (signal.SIGKILL, 7, ["batch_size=13"]),  # must come last: nobody survives it
}
FIVE_EPOCHS = [*TINY, "epochs=5"]

# A process that trains every run above and sends itself the signal at its step. The moment is exact, nobody has
# to wait, and torch is started once for all of them.
STOPPING = """
import os, sys
import torch
from ncrun import cli
original = torch.optim.Adam.step
for name, (number, stop_at, overrides) in {stops!r}.items():
    taken = 0
    def step(self, *rest):
        global taken
        taken += 1
        if taken == stop_at:
            os.kill(os.getpid(), number)
        return original(self, *rest)
    torch.optim.Adam.step = step
    print(name, cli.run(["train", *overrides, "run_dir=" + name]), flush=True)
"""


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, "subprocess.CompletedProcess[str]"]:
    """A folder with the run directories that the signals left behind, and how their process ended."""
    folder = tmp_path_factory.mktemp("stopped")
    stops = {name: (int(number), at, [*FIVE_EPOCHS, *extra]) for name, (number, at, extra) in STOPS.items()}
    command = [sys.executable, "-c", STOPPING.format(stops=stops)]
    return folder, subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100)


@pytest.mark.parametrize("name", STOPS)
@pytest.mark.usefixtures("undrawn")
def test_stopped_run_continues_to_the_same_bits(
    name: str, stopped: tuple[Path, "subprocess.CompletedProcess[str]"], ncrun: Command, workdir: Path
) -> None:
    number, _, extra = STOPS[name]
    folder, process = stopped
    assert process.returncode == -signal.SIGKILL, process.stderr
    statuses = dict(line.split() for line in process.stdout.splitlines())
    assert ncrun("train", *FIVE_EPOCHS, *extra, "run_dir=straight").status == 0
    complete, so_far = rows(workdir / "straight"), rows(folder / name)
    if number == signal.SIGKILL:
        assert state(folder / name) == "running"
        with (folder / name / "metrics.jsonl").open("a") as file:
            file.write('{"epoch": 7, "lo')  # it might have died while writing
    else:
        assert statuses[name] == str(128 + number)
        assert process.stderr.count(f"{name}: interrupted; the same command continues it\n") == 1
        assert state(folder / name) == "interrupted"
    assert 0 < len(so_far) < len(complete) == 6
    assert so_far == complete[: len(so_far)]
    torch.manual_seed(99)  # what happened elsewhere in the process must not matter
    assert ncrun("train", *FIVE_EPOCHS, *extra, f"run_dir={folder / name}").status == 0
    assert state(folder / name) == "done"
    assert rows(folder / name) == complete


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_run_in_another_process(ncrun: Command, workdir: Path) -> None:
    """While one process trains, another is refused; SIGTERM from outside ends the first with its own exit status."""
    typed = [*TINY, "epochs=1000000", "run_dir=run"]
    process = subprocess.Popen(
        [sys.executable, "-m", "ncrun.cli", "train", *typed],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    metrics, deadline = workdir / "run" / "metrics.jsonl", time.monotonic() + 60
    try:
        while not metrics.is_file() or metrics.stat().st_size == 0:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        result = ncrun("train", *typed)
    finally:
        process.terminate()
        out, err = process.communicate(timeout=30)
    assert (result.status, result.out) == (2, "")
    holder = f"process {process.pid} on {socket.gethostname()}"
    assert result.err == f"ncrun: run_dir=run: another process ({holder}) is training this run\n"
    assert (process.returncode, out) == (128 + signal.SIGTERM, "")
    assert err == "run: interrupted; the same command continues it\n"
    assert state(workdir / "run") == "interrupted"
    gc.collect()
