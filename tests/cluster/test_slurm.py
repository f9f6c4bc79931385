"""Sweeps on a real Slurm of one node, without accounting and with it (make test-slurm)."""

import contextlib
import os
import signal
import time
from pathlib import Path

import one_node
import pytest
from conftest import Command, rows, state
from one_node import Cluster, Sweep, holder_of_run, is_training, number_in, wait_until

pytestmark = pytest.mark.slurm
FREE = ("model=ufm", "counts=[20,10,5]", "optimizer=sgd", "measure=log", "threads=1")
LONG = (*FREE, "epochs=30000", "run_dir=run")  # some ten seconds

cluster = pytest.fixture(
    one_node.a_cluster,
    scope="module",
    params=[False, pytest.param(True, marks=pytest.mark.slow)],
    ids=["without accounting", "with accounting"],
)


@pytest.fixture
def straight(ncrun: Command, workdir: Path, undrawn: None) -> Path:
    """The long run, in one go."""
    assert ncrun("train", *LONG[:-1], "run_dir=straight").status == 0
    return workdir / "straight"


def test_an_array_of_tasks(cluster: Cluster, workdir: Path) -> None:
    """Four runs in two tasks, two of which diverge: the tasks fail, the command tells the highest status, and what is
    finished is not submitted again."""
    grid = ("optimizer.lr=0.1,1e30", "seed=0,1", "run_dir='${optimizer.lr}-${seed}'")
    sweep = Sweep(cluster, (*FREE, "epochs=40", *grid))
    status, out, err = sweep.submit("hydra.launcher.runs_per_task=2", "hydra.launcher.wait=true")
    assert (status, "Traceback" in err) == (1, False), (out, err)
    assert "submitted 4 runs as job array " in out
    assert "named ufm; logs: slurm/" in out
    assert [state(workdir / f"0.1-{seed}") for seed in (0, 1)] == ["done", "done"]
    assert [state(workdir / f"1e+30-{seed}") for seed in (0, 1)] == ["failed", "failed"]
    assert err.splitlines()[-1] == "ncrun: 2 of 4 failed: optimizer.lr=1e+30 seed=0; optimizer.lr=1e+30 seed=1"
    if cluster.has_accounting:
        number = number_in(out)
        told = cluster.call("sacct", "--noheader", "--allocations", "--format=State%20", "--jobs", number).split()
        assert sorted(told) == ["COMPLETED", "FAILED"]
    again = Sweep(cluster, (*FREE, "epochs=40", "optimizer.lr=0.1", *grid[1:])).submit()
    assert again[0] == 0, again
    assert again[1] == "2 of 2 runs are finished already\n"


def test_a_warned_run_goes_on_by_itself(cluster: Cluster, workdir: Path, straight: Path) -> None:
    """Warned by SIGUSR2 as before its time is up: queued again, it ends with the bits of a run in one go."""
    status, out, err = Sweep(cluster, LONG).submit()
    assert (status, err) == (0, "")
    number = number_in(out)
    wait_until(lambda: is_training(workdir / "run"), "does not start")
    cluster.call("scancel", "--signal=USR2", number)
    wait_until(lambda: cluster.states(number) == ["PENDING"], "is not queued again")
    assert state(workdir / "run") == "interrupted"
    cluster.start_at_once(number)
    wait_until(lambda: state(workdir / "run") == "done", "does not go on")
    assert rows(workdir / "run") == rows(straight)


@pytest.mark.slow
def test_a_cancelled_run_stays_where_it_was(cluster: Cluster, workdir: Path, straight: Path) -> None:
    """It is not queued again; who waits is told; the same command continues it."""
    waiting = Sweep(cluster, LONG).start("hydra.launcher.wait=true", "hydra.launcher.name=mine")
    wait_until(lambda: is_training(workdir / "run"), "does not start")
    cluster.call("scancel", "--name=mine")
    out, err = waiting.communicate(timeout=120)
    assert waiting.returncode == 128 + signal.SIGTERM, (out, err)
    assert state(workdir / "run") == "interrupted"
    assert cluster.states(number_in(out)) == []
    status, out, err = Sweep(cluster, LONG).submit("hydra.launcher.wait=true")
    assert (status, err) == (0, ""), (out, err)
    assert rows(workdir / "run") == rows(straight)


@pytest.mark.slow
def test_a_node_that_dies(cluster: Cluster, workdir: Path, straight: Path) -> None:
    """With all that runs on it. When it is back, Slurm starts the task anew, which goes on from the last checkpoint."""
    status, out, _ = Sweep(cluster, LONG).submit()
    assert status == 0
    number = number_in(out)
    wait_until(lambda: is_training(workdir / "run"), "does not start")
    node = Path(cluster.environment["NCRUN_SLURM"])
    for pid in [int((node / "slurmd.pid").read_text()), *_step_daemons(node), holder_of_run(workdir / "run")]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert state(workdir / "run") == "running"  # for it could not say anything
    wait_until(lambda: cluster.call("sinfo", "--noheader", "--format=%T").startswith("down"), "is not missed")
    wait_until(lambda: cluster.states(number) == ["PENDING"], "is not queued again")
    cluster.start_node()
    time.sleep(10)  # or what was to end the task on the dead node, which is told until the node answers, ends this one
    cluster.start_at_once(number)
    wait_until(lambda: state(workdir / "run") == "done", "does not go on")
    assert rows(workdir / "run") == rows(straight)


@pytest.mark.slow
def test_two_submissions_of_one_sweep(cluster: Cluster, workdir: Path) -> None:
    """What is trained is not submitted; what is queued twice is trained once, and no task fails."""
    cluster.call("scontrol", "update", "PartitionName=cpu", "State=DOWN")
    numbers = [number_in(Sweep(cluster, LONG).submit()[1]) for _ in range(2)]
    cluster.call("scontrol", "update", "PartitionName=cpu", "State=UP")
    wait_until(lambda: is_training(workdir / "run"), "does not start")
    status, out, _ = Sweep(cluster, LONG).submit()
    assert (status, out) == (0, "run: another process is training it; not submitted\n")
    wait_until(lambda: not any(map(cluster.states, numbers)), "does not end")
    assert state(workdir / "run") == "done"
    logs = [(workdir / "slurm" / f"{number}_0_log.out").read_text() for number in numbers]
    # The second task starts while the first is at it, or when Slurm comes to it.
    left_alone = ("skipped: run_dir=run: another process", "1 of 1 runs are finished already")
    assert sorted(any(words in log for words in left_alone) for log in logs) == [False, True]
    notes = [(workdir / "slurm" / f"{number}_status").read_text() for number in numbers]
    assert notes == ["0", "0"]


def test_what_sbatch_refuses(cluster: Cluster, workdir: Path) -> None:
    status, out, err = Sweep(cluster, LONG).submit("hydra.launcher.partition=nosuch")
    assert (status, out) == (2, "")
    assert err.startswith("ncrun: hydra/launcher=slurm: ")
    assert "Invalid partition name" in err
    assert err.count("\n") == 1
    assert list(workdir.iterdir()) == []


def _step_daemons(node: Path) -> list[int]:
    """Of a cluster's jobs: they live on when the node's daemon dies."""
    found = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().decode(errors="replace")
            if words.startswith("slurmstepd") and process.name.isdecimal():
                environment = (process / "environ").read_bytes().decode(errors="replace")
                if str(node) in environment or str(node) in words:
                    found.append(int(process.name))
    return found
