"""Training with products of less precision: what stays in full precision. (What needs a GPU is in test_gpu.py.)"""

import math
from pathlib import Path

import pytest
import torch
from conftest import TINY, Command, RunOf, built, rows

from ncrun.models.network import Network
from ncrun.objective import Objective
from ncrun.training.gradients import NetworkGradient, tf32
from ncrun.training.optimisers import StepRule, build_optimiser, set_rates

pytestmark = pytest.mark.usefixtures("undrawn")


def gradient_of(run_of: RunOf, precision: str) -> tuple[Network, torch.Tensor]:
    """A small network after one call, and its gradients in one vector."""
    run = run_of(*TINY, f"precision={precision}", "head.depth=2")
    network = built(run)
    assert isinstance(network, Network)
    images, labels = torch.randn(60, 1, 8, 8), torch.arange(60) % 10
    NetworkGradient(network, Objective.of(run.problem), precision)(images, labels)
    return network, torch.cat([parameter.grad.ravel() for parameter in network.parameters()])


def test_bfloat16_rounds_products_only(run_of: RunOf) -> None:
    """A product's factors keep 8 bits, an error of 0.4 % each at most, through four layers: between 0.01 % and 3 %."""
    network, full = gradient_of(run_of, "full")
    _, rounded = gradient_of(run_of, "bfloat16")
    assert {parameter.dtype for parameter in network.parameters()} == {rounded.dtype} == {torch.float32}
    assert 1e-4 < float((rounded - full).norm() / full.norm()) < 3e-2


def test_bfloat16_run_is_measured_in_full(
    ncrun: Command, workdir: Path, run_of: RunOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its records are those of its parameters in float32 forwards: training with a rate of (nearly) zero moves no
    parameter, and then both runs have the same records, to the bit."""
    typed = [*TINY, "optimizer.lr=1e-30"]
    for precision in ("full", "bfloat16"):
        assert ncrun("train", *typed, f"precision={precision}", f"run_dir={precision}").status == 0
    assert rows(workdir / "full") == rows(workdir / "bfloat16")
    assert ncrun("train", *TINY, "precision=bfloat16", "epochs=20", "run_dir=moved").status == 0
    found = rows(workdir / "moved")
    assert found[-1]["loss"] < 0.9 * found[0]["loss"]
    assert all(math.isfinite(row["loss"]) for row in found)


def test_tf32_is_allowed_inside_a_step_alone() -> None:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    with tf32(True):
        assert torch.backends.cuda.matmul.allow_tf32
        assert torch.backends.cudnn.allow_tf32
    with tf32(False):
        assert not torch.backends.cudnn.allow_tf32
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_rate_stays_where_a_recorded_step_reads_it(optimizer: str, run_of: RunOf) -> None:
    """Whatever the sitting before had: as a tensor with CUDA graphs, as a number without."""
    run = run_of(*TINY, f"optimizer={optimizer}")
    network = built(run)
    for recorded in (True, False):
        then, first = (StepRule.of(run.descent.optimizer, on_device) for on_device in (recorded, not recorded))
        optimiser = build_optimiser([then], network)
        before = optimiser.param_groups[0]["lr"]
        optimiser.load_state_dict(build_optimiser([first], network).state_dict())
        rate = optimiser.param_groups[0]["lr"]
        assert isinstance(rate, torch.Tensor) is recorded
        assert rate is before or not recorded
        assert float(rate) == pytest.approx(float(before), rel=1e-7)  # a rate on the device is in float32
        set_rates(optimiser, [0.25])
        assert float(optimiser.param_groups[0]["lr"]) == 0.25
        assert isinstance(optimiser.param_groups[0]["lr"], torch.Tensor) is recorded
