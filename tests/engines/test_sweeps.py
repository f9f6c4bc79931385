"""Sweeps whose jobs are trained one after the other."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from conftest import TINY, Command, state

from ncrun.config.planning import job_of
from ncrun.engines.sweeps import train_sweep
from ncrun.errors import UserError
from ncrun.run import Job
from ncrun.training import runs

GRID = ("seed=0,1,2", "run_dir='run-${seed}'")


def jobs_of_grid() -> list[tuple[Sequence[str], Job]]:
    typed = [[*TINY, f"seed={seed}", f"run_dir=run-{seed}"] for seed in range(3)]
    return [(each, job_of(each)) for each in typed]


@pytest.mark.usefixtures("undrawn")
def test_job_that_another_process_takes_meanwhile_leaves_the_others_alone(
    ncrun: Command, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused once the sweep has begun, where the check of all jobs could not tell; told at once."""
    train = runs.train

    def taking(jobs: Sequence[Job], quiet: bool) -> int:
        if jobs[0].directory.name == "run-1":
            raise UserError("run_dir=run-1: another process is training this run")
        return train(jobs, quiet)

    monkeypatch.setattr(runs, "train", taking)
    result = ncrun("train", "-m", *TINY, *GRID)
    assert result.status == 2
    assert "] seed=1 (1 s): run_dir=run-1: another process is training this run\n" in result.err
    assert result.err.endswith("ncrun: 1 of 3 failed: seed=1\n")
    assert [state(workdir / f"run-{seed}") for seed in (0, 2)] == ["done", "done"]


@pytest.mark.usefixtures("undrawn")
def test_fault_of_ncrun_ends_a_sweep(ncrun: Command, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its traceback: whatever it is, the jobs behind it would meet it, too."""
    train = runs.train

    def faulty(jobs: Sequence[Job], quiet: bool) -> int:
        return 1 // 0 if jobs[0].directory.name == "run-1" else train(jobs, quiet)

    monkeypatch.setattr(runs, "train", faulty)
    result = ncrun("train", "-m", *TINY, *GRID)
    assert result.status == 70
    assert "ZeroDivisionError" in result.err
    assert [path.name for path in workdir.glob("run-*")] == ["run-0"]


@pytest.mark.parametrize(
    ("statuses", "status", "trained"),
    [([0, 0, 0], 0, 3), ([0, 1, 0], 1, 3), ([1, 130, 0], 130, 2)],
    ids=["all are done", "one diverges", "a signal"],
)
def test_exit_status_is_the_highest(
    statuses: list[int], status: int, trained: int, monkeypatch: pytest.MonkeyPatch, workdir: Path
) -> None:
    called: list[Sequence[Job]] = []

    def told(jobs: Sequence[Job], quiet: bool) -> int:
        called.append(jobs)
        return statuses[len(called) - 1]

    monkeypatch.setattr(runs, "train", told)
    assert train_sweep(jobs_of_grid()) == status
    assert [[job.directory.name for job in jobs] for jobs in called] == [[f"run-{seed}"] for seed in range(trained)]
