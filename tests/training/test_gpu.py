"""What only a CUDA device can show. Run with  .venv/bin/pytest -m gpu."""

import itertools
import json
import signal
from pathlib import Path

import pytest
import torch
from conftest import rows

from ncrun.losses import LOSSES
from ncrun.metrics.rows import training_metrics
from ncrun.metrics.scan import Head
from ncrun.models.free_model import FreeFeatures
from ncrun.objective import Objective
from ncrun.theory import Problem, predict

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


def test_metrics_on_the_device_equal_those_on_the_cpu() -> None:
    """Float64 sums in another order: equal to 1e-9, far below what any reader of a metric sees."""
    generator = torch.Generator().manual_seed(0)
    counts = (40, 20, 10, 1)
    labels = torch.repeat_interleave(torch.arange(4), torch.tensor(counts))
    features = torch.randn(4, 32, generator=generator)[labels] + 0.1 * torch.randn(71, 32, generator=generator)
    weights = [torch.randn(16, 32, generator=generator).double(), torch.randn(4, 16, generator=generator).double()]
    target = predict(Problem("mse", counts, (32, 16), False, (1e-3, 1e-3), 1e-3))
    objective = Objective(LOSSES["mse"], "features", (1e-3, 1e-3), 1e-3, len(labels))
    found = []
    for device in ("cpu", "cuda"):
        head = Head([weight.to(device) for weight in weights], torch.zeros(4, dtype=torch.float64, device=device))
        found.append(training_metrics(features.to(device), labels.to(device), head, objective, target, target)[0])
    for key, value in found[0].items():
        assert found[1][key] == (value if value is None else pytest.approx(value, rel=1e-9, abs=1e-12)), key


@pytest.mark.parametrize("model", ["model=mlp", "model.batch_norm=true", "model=resnet18 model.width=0.25"])
def test_training_on_the_device(model: str, ncrun, workdir: Path) -> None:
    result = ncrun("train", "epochs=3", "device=cuda", *model.split(), "run_dir=run")
    assert result.status == 0
    assert json.loads((workdir / "run" / "manifest.json").read_text())["device"] != "cpu"


CLASSES = "counts=[200,100,50,50]"
OPTIONS = "loss=ce label_smoothing=0.1 class_weights=balanced logit_adjustment=1"
GRAPHED = {
    "free features, sgd": f"model=ufm {CLASSES} head.depth=3 optimizer=sgd epochs=300 schedule.drops=[0.5]",
    "free features, adam": f"model=ufm_relu {CLASSES} optimizer=adam epochs=300",
    "free features, options": f"model=ufm {CLASSES} {OPTIONS} optimizer=sgd epochs=300",
    "batches, options": f"model=mlp {OPTIONS} batch_size=100 imbalance=0.1 epochs=5 dtype=float64",
    "full batch": "model=mlp batch_size=full epochs=30 dtype=float64",
    "batches, a partial one last": "model=mlp batch_size=100 epochs=5 dtype=float64",
    "fixed statistics": "model=mlp model.batch_norm=true batch_size=100 epochs=6 freeze_norm=0.5 dtype=float64",
}


@pytest.mark.parametrize("name", GRAPHED)
def test_recorded_steps_are_the_steps(name: str, ncrun, workdir: Path) -> None:
    """The same kernels in float64: 1e-9. The learning rate lies on the device in float32, so that it is one which that
    holds exactly: the first epochs make a thousand times of its rounding."""
    typed = ["train", *GRAPHED[name].split(), "device=cuda", "optimizer.lr=0.0009765625", "schedule.gamma=0.5"]
    for graphs in ("false", "true"):
        assert ncrun(*typed, f"cuda_graphs={graphs}", f"run_dir=graphs-{graphs}").status == 0
    for ours, theirs in zip(rows(workdir / "graphs-true"), rows(workdir / "graphs-false"), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-9)


def test_recorded_run_continues(ncrun, workdir: Path) -> None:
    """A run of half the epochs is another run; what is interrupted goes on to the same bits."""
    typed = ["train", "model=ufm", CLASSES, "optimizer=adam", "epochs=400", "device=cuda", "cuda_graphs=true"]
    assert ncrun(*typed, "run_dir=straight").status == 0
    with pytest.MonkeyPatch.context() as patch:
        calls, project = itertools.count(1), FreeFeatures.project

        def signalling(self: FreeFeatures) -> None:  # called while it is recorded, not when it is replayed
            if next(calls) == 3:
                signal.raise_signal(signal.SIGINT)
            project(self)

        patch.setattr(FreeFeatures, "project", signalling)
        assert ncrun(*typed, "run_dir=run").status == 128 + signal.SIGINT
    assert ncrun(*typed, "run_dir=run").status == 0
    assert rows(workdir / "run")[-1]["loss"] == pytest.approx(rows(workdir / "straight")[-1]["loss"], rel=1e-9)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch.compile imports what is deprecated
@pytest.mark.parametrize("option", ["precision=tf32", "precision=bfloat16", "compile=true"])
@pytest.mark.parametrize("model", ["model=mlp", "model=resnet18 model.width=0.25"])
def test_options_train(model: str, option: str, ncrun, workdir: Path) -> None:
    """To a loss within 10 % of that without the option: rounding of 8 bits, over three epochs."""
    for extra in ([], [option]):
        directory = f"run_dir=run{len(extra)}"
        assert ncrun("train", "epochs=3", "device=cuda", *model.split(), *extra, directory).status == 0
    ours, theirs = rows(workdir / "run1")[-1], rows(workdir / "run0")[-1]
    assert ours["loss"] == pytest.approx(theirs["loss"], rel=0.1)


def test_together_on_the_device(ncrun, workdir: Path) -> None:
    typed = ["model=ufm", CLASSES, "optimizer=sgd", "epochs=300", "device=cuda"]
    assert (
        ncrun("train", "-m", *typed, "seed=0,1", "optimizer.lr=0.05,0.1", "together=true", "cuda_graphs=true").status
        == 0
    )
    assert ncrun("train", *typed, "seed=1", "optimizer.lr=0.1", "run_dir=alone").status == 0
    losses = [rows(folder)[-1]["loss"] for folder in (workdir / "runs").iterdir()]
    assert len(losses) == 4
    assert any(loss == pytest.approx(rows(workdir / "alone")[-1]["loss"], rel=1e-6) for loss in losses)
