"""What ends a training on a CUDA device, fixed statistics of BatchNorm and L-BFGS, with recorded or compiled steps and
with snapshots: beside the same run without them, and beside the CPU. Run with  .venv/bin/pytest -m gpu."""

import itertools
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Command, rows, state

from ncrun.models.saved import load_sealed
from ncrun.records.snapshots import Snapshots, parsed
from ncrun.training import loop
from ncrun.training.evaluate import Evaluator

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    pytest.mark.usefixtures("undrawn"),
    # torch.compile imports what PyTorch itself calls deprecated.
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
]

DEVICE = "cuda"
# Batches of 20, and a last one of 12. Plain descent: Adam would make full steps of gradients that are rounding alone.
NETWORK = (
    *("counts=[30,24,20,16,12,10,8,6,4,2]", "model=mlp", "model.batch_norm=true", "model.depth=2", "model.width=16"),
    *("batch_size=20", "dtype=float64", "optimizer=sgd", "optimizer.lr=0.0009765625", "schedule.gamma=1", "threads=1"),
)
ENDING = ("epochs=6", "freeze_norm=0.5", "finish=lbfgs", "finish_iterations=8", "snapshots=6")
OPTIONS = ("cuda_graphs=true", "compile=true")
# Float64 sums in another order, over some dozen steps of descent, and then over iterations of L-BFGS, each of which
# makes about ten times of what differs.
OF_EPOCHS, OF_FINISH = 1e-9, 1e-5


def trained(ncrun: Command, folder: str, *typed: str) -> list[dict[str, Any]]:
    result = ncrun("train", *NETWORK, *typed, f"run_dir={folder}")
    assert result.status == 0, result.err
    return rows(Path(folder))


def snapshots(folder: str) -> Snapshots:
    return parsed(Path(folder, "snapshots.npz").read_bytes())


def assert_same_run(ours: str, theirs: str) -> None:
    """Rows, and snapshots of the epochs, which are in float16: to a few units of its last digit."""
    one, other = rows(Path(ours)), rows(Path(theirs))
    assert [row["epoch"] for row in one] == [row["epoch"] for row in other]
    for mine, their in zip(one, other, strict=True):
        tolerance = OF_EPOCHS if mine["epoch"] <= 6 else OF_FINISH
        for key in ("loss", "nc1", "nc2_w", "nc2_h", "nc3", "train_accuracy"):
            assert mine[key] == pytest.approx(their[key], rel=tolerance, abs=tolerance), (mine["epoch"], key)
    mine, their = snapshots(ours), snapshots(theirs)
    assert mine.epochs.tolist() == their.epochs.tolist()
    assert max(mine.epochs) > 6  # of the finish, too
    for name, values in vars(mine).items():
        if isinstance(values, np.ndarray) and values.dtype.kind == "f":
            size = max(1.0, float(np.abs(values.astype(float)).max(initial=0)))
            assert np.allclose(values.astype(float), vars(their)[name].astype(float), rtol=0, atol=4e-3 * size), name


@pytest.mark.parametrize("option", OPTIONS)
def test_options_have_the_run_without_them(option: str, ncrun: Command, workdir: Path) -> None:
    """Across the switch, where the recorded step is recorded anew, and the compiled one compiled anew; L-BFGS then
    takes steps of its own."""
    trained(ncrun, "plain", *ENDING, f"device={DEVICE}")
    trained(ncrun, "option", *ENDING, f"device={DEVICE}", option)
    assert_same_run("option", "plain")


def test_the_device_has_the_run_of_the_cpu(ncrun: Command, workdir: Path) -> None:
    """The fixed statistics are the same float64 sums in another order."""
    for device in ("cpu", DEVICE):
        trained(ncrun, device, *ENDING, f"device={device}")
    assert_same_run(DEVICE, "cpu")
    kept = [load_sealed(Path(device, "checkpoint.pt"))["network"] for device in ("cpu", DEVICE)]
    statistics = [key for key in kept[0] if "running" in key]
    assert len(statistics) == 6
    for key in statistics:
        torch.testing.assert_close(kept[1][key].cpu(), kept[0][key], rtol=OF_EPOCHS, atol=OF_EPOCHS)


@pytest.mark.parametrize("option", ["compile=false", *OPTIONS])
def test_statistics_stay_fixed_in_every_kind_of_step(option: str, ncrun: Command, workdir: Path) -> None:
    """Three epochs more leave them as they were at the switch, to the bit; before it each batch moves them."""
    trained(ncrun, "before", "epochs=3", "freeze_norm=1", f"device={DEVICE}", option)
    trained(ncrun, "after", "epochs=6", "freeze_norm=0.5", f"device={DEVICE}", option)
    trained(ncrun, "never", "epochs=6", f"device={DEVICE}", option)
    before, after, never = (
        load_sealed(Path(name, "checkpoint.pt"))["network"] for name in ("before", "after", "never")
    )
    for key in (key for key in before if "running" in key):
        assert torch.equal(before[key], after[key]), key
        if "var" in key:  # the mean of what is normalised is zero in any case
            assert not torch.allclose(before[key], never[key], rtol=1e-6), key


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("measurement", [3, 5, 9])  # before the switch, after it, in the finish
def test_an_interrupted_run_continues(
    option: str, measurement: int, ncrun: Command, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A continued step is recorded after other steps than in one go: the same kernels, so the same numbers to
    rounding. The snapshots so far are kept."""
    trained(ncrun, "straight", *ENDING, f"device={DEVICE}", option)
    with monkeypatch.context() as patch:
        calls, measure = itertools.count(1), Evaluator.__call__

        def signalling(self: Evaluator, *given: Any) -> dict[str, Any]:
            if next(calls) == measurement:
                signal.raise_signal(signal.SIGTERM)
            return measure(self, *given)

        patch.setattr(Evaluator, "__call__", signalling)
        patch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
        typed = (*NETWORK, *ENDING, f"device={DEVICE}", option, "run_dir=run")
        assert ncrun("train", *typed).status == 128 + signal.SIGTERM
    assert 0 < len(rows(Path("run"))) < len(rows(Path("straight")))
    trained(ncrun, "run", *ENDING, f"device={DEVICE}", option)
    assert state(Path("run")) == "done"
    assert_same_run("run", "straight")
