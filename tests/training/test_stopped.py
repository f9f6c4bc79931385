"""Runs that end before the end, and that continue to the same bits."""

import gc
import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PATIENCE_S, TINY, Command, rows, state

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
    return folder, subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE_S)


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
    assert (folder / name / "snapshots.npz").read_bytes() == Path("straight/snapshots.npz").read_bytes()


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
    metrics, deadline = workdir / "run" / "metrics.jsonl", time.monotonic() + PATIENCE_S
    try:
        while not metrics.is_file() or metrics.stat().st_size == 0:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        result = ncrun("train", *typed)
    finally:
        process.terminate()
        out, err = process.communicate(timeout=PATIENCE_S)
    assert (result.status, result.out) == (2, "")
    holder = f"process {process.pid} on {socket.gethostname()}"
    assert result.err == f"ncrun: run_dir=run: another process ({holder}) is training this run\n"
    assert (process.returncode, out) == (128 + signal.SIGTERM, "")
    assert err == "run: interrupted; the same command continues it\n"
    assert state(workdir / "run") == "interrupted"
    gc.collect()
