"""What a CUDA device computes, held against the CPU: losses, gradients at each precision, interrupted runs, and
memory that runs out. Run with  .venv/bin/pytest -m gpu."""

import itertools
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from conftest import TINY, Command, RunOf, built, rows, state

from ncrun.models.network import Network
from ncrun.objective import Objective
from ncrun.training.gradients import NetworkGradient

# torch.compile imports what PyTorch itself calls deprecated.
TORCHS_OWN = "ignore:`torch.jit:DeprecationWarning"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    pytest.mark.usefixtures("undrawn"),
    pytest.mark.filterwarnings(TORCHS_OWN),
]

MODELS = ["model=mlp", "model=mlp model.batch_norm=true", "model=resnet18 model.width=0.25 dataset.size=32"]
COUNTS = "counts=[30,24,20,16,12,10,8,6,4,2]"


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("loss", ["mse", "ce"])
def test_losses_are_those_of_the_cpu(model: str, loss: str, ncrun: Command, workdir: Path) -> None:
    """In float64 the same sums in another order: three steps of descent (not of Adam, which makes full steps of
    gradients that are rounding alone) agree to 1e-8."""
    typed = [*model.split(), f"loss={loss}", COUNTS, "epochs=3", "batch_size=full", "dtype=float64", "optimizer=sgd"]
    for device in ("cpu", "cuda"):
        assert ncrun("train", *typed, "optimizer.lr=0.01", f"device={device}", f"run_dir={device}").status == 0
    for ours, theirs in zip(rows(workdir / "cuda"), rows(workdir / "cpu"), strict=True):
        for key in ("loss", "data_term", "nc1", "nc2_w", "nc3", "train_accuracy", "test_accuracy"):
            assert ours[key] == pytest.approx(theirs[key], rel=1e-8, abs=1e-10), key


def gradient(run_of: RunOf, model: str, precision: str, device: str, compiled: bool = False) -> torch.Tensor:
    """Of 60 random images, in one vector of float64."""
    run = run_of(*model.split(), f"precision={precision}")
    network = built(run).to(device)
    assert isinstance(network, Network)
    shape = run.data.image_shape  # type: ignore[union-attr]
    images = torch.randn(60, *shape, generator=torch.Generator().manual_seed(1)).to(device)
    labels = (torch.arange(60) % 10).to(device)
    NetworkGradient(network, Objective.of(run.problem), precision, compiled)(images, labels)
    assert all(parameter.dtype == torch.float32 for parameter in network.parameters())
    return torch.cat([parameter.grad.ravel() for parameter in network.parameters()]).double().cpu()


def distance(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("model", MODELS)
def test_products_are_as_precise_as_asked(model: str, run_of: RunOf) -> None:
    """Factors keep 24, 11 or 8 bits. How much a network makes of an error is its own affair (with BatchNorm, much), but
    it makes the same of all three: full precision is 20 times as near to the CPU as TF32, PyTorch's default for
    convolutions, is to full precision, where the bits say 8000 (convolutions by Winograd's way take a part of that);
    bfloat16 is farther away."""
    full = gradient(run_of, model, "full", "cuda")
    off = {precision: distance(gradient(run_of, model, precision, "cuda"), full) for precision in ("tf32", "bfloat16")}
    assert distance(full, gradient(run_of, model, "full", "cpu")) < off["tf32"] / 20
    assert off["tf32"] < off["bfloat16"] / 1.5
    assert off["bfloat16"] < 0.6


@pytest.mark.parametrize("model", MODELS)
def test_compiled_gradient_is_the_gradient(model: str, run_of: RunOf) -> None:
    """Fused, and in another order of summation; products are not rounded, which would move it 20 times as far."""
    full, rounded = (gradient(run_of, model, precision, "cuda") for precision in ("full", "tf32"))
    assert distance(gradient(run_of, model, "full", "cuda", compiled=True), full) < distance(rounded, full) / 20


@pytest.mark.parametrize("graphs", ["false", "true"])
@pytest.mark.parametrize("then", ["cuda", "cpu"])
def test_interrupted_network_continues(graphs: str, then: str, ncrun: Command, workdir: Path) -> None:
    """On the device to the numbers of a run in one go, on the CPU to within what three epochs make of rounding."""
    typed = ["train", *TINY, "epochs=6", "dtype=float64"]
    assert ncrun(*typed, "device=cuda", f"cuda_graphs={graphs}", "run_dir=straight").status == 0
    with pytest.MonkeyPatch.context() as patch:
        calls, project = itertools.count(1), Network.project

        def signalling(self: Network) -> None:
            if next(calls) == 3:
                signal.raise_signal(signal.SIGINT)
            project(self)

        patch.setattr(Network, "project", signalling)
        stopped = ncrun(*typed, "device=cuda", f"cuda_graphs={graphs}", "run_dir=run")
    assert stopped.status == 128 + signal.SIGINT
    assert state(workdir / "run") == "interrupted"
    on = f"cuda_graphs={graphs}" if then == "cuda" else "cuda_graphs=false"
    continued = ncrun(*typed, f"device={then}", on, "run_dir=run")
    assert continued.status == 0
    assert ("device cpu instead of" in continued.err) is (then == "cpu")
    ours, theirs = rows(workdir / "run"), rows(workdir / "straight")
    assert [row["epoch"] for row in ours] == [row["epoch"] for row in theirs]
    assert ours[-1]["loss"] == pytest.approx(theirs[-1]["loss"], rel=1e-9 if then == "cuda" else 1e-6)


@pytest.fixture
def little_memory() -> Iterator[None]:
    """140 MiB more than what is in use."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 140 * 2**20) / total)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


def test_memory_that_runs_out_in_training(little_memory: None, ncrun: Command, workdir: Path) -> None:
    """Parameters of 84 MB fit, their gradients do not: one line, a record that says so, and no traceback."""
    result = ncrun("train", *TINY, "model.depth=4", "model.width=2048", "device=cuda", "run_dir=run")
    assert result.status == 1
    assert result.err == "ncrun: run: out of memory; try a smaller batch_size or model.width\n"
    assert state(workdir / "run") == "failed"
    assert "out of memory" in json.loads((workdir / "run" / "manifest.json").read_text())["reason"]


def test_network_that_does_not_fit(little_memory: None, ncrun: Command, workdir: Path) -> None:
    """Refused before anything is written."""
    result = ncrun("train", *TINY, "model.depth=4", "model.width=4096", "device=cuda", "run_dir=run")
    assert result.status == 2
    assert result.err == "ncrun: model=mlp: does not fit into memory with this width and data\n"
    assert not (workdir / "run").exists()
