"""Sweeps in processes side by side (jobs=N)."""

from pathlib import Path
from typing import Any

import pytest
from conftest import Command, rows

from ncrun.config.planning import job_of
from ncrun.engines import sweeps
from ncrun.engines.processes import run_side_by_side
from ncrun.engines.sweeps import train_sweep

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.mark.parametrize(
    ("typed", "jobs", "cores", "expected"),
    [
        ("model=mlp", "2", 8, ["threads=4"]),
        ("model=mlp", "auto", 8, ["threads=2"]),  # four runs at once
        ("model=mlp threads=3", "2", 8, []),
        ("model=ufm counts=[5,3]", "2", 8, []),  # its own default is one thread
        ("model=mlp", "8", 2, ["threads=1"]),
    ],
)
def test_each_process_has_its_share_of_the_cores(
    typed: str, jobs: str, cores: int, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    called = []

    def noting(commands: list[list[str]], at_once: int, ended: Any, quiet: bool) -> None:
        called.append((commands, at_once))
        for index, status in enumerate((0, 1, -15, 0)):
            ended(index, status, 0.1, [])

    monkeypatch.setattr(sweeps, "run_side_by_side", noting)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(cores)))
    given = [[*typed.split(), f"seed={seed}", f"jobs={jobs}"] for seed in range(4)]
    assert train_sweep([(job, job_of(job)) for job in given]) == 128 + 15
    ((commands, at_once),) = called
    assert at_once == (4 if jobs in ("auto", "8") else 2)
    assert commands == [["train", *job[:-1], *expected, "progress=false"] for job in given]


@pytest.mark.slow
def test_sweep_in_processes(ncrun: Command, workdir: Path) -> None:
    """Real ones: they have the runs that the sweep would have had one after the other, to the bit."""
    typed = ["model=ufm", "counts=[5,3]", "model.width=3", "seed=0,1"]
    assert ncrun("train", "-m", *typed).status == 0
    (workdir / "runs").rename(workdir / "one-by-one")
    result = ncrun("train", "-m", *typed, "jobs=2")
    assert (result.status, result.err) == (0, "")
    for folder in (workdir / "one-by-one").iterdir():
        assert rows(workdir / "runs" / folder.name) == rows(folder)


def test_processes_run_side_by_side() -> None:
    ended: list[tuple[int, int, list[int]]] = []
    commands = [["--version"], ["no-such-command"], ["--version"]]
    run_side_by_side(commands, 2, lambda i, status, seconds, left: ended.append((i, status, sorted(left))), quiet=True)
    assert sorted((index, status) for index, status, _ in ended) == [(0, 0), (1, 2), (2, 0)]
    assert [len(left) for _, _, left in ended] == [2, 1, 0]
