"""Sweeps in workers side by side (jobs=N)."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from conftest import PATIENCE_S, Command, rows, state

from ncrun.config import extensions
from ncrun.config.planning import job_of
from ncrun.engines import places as module
from ncrun.engines.places import places
from ncrun.engines.workers import Ended, train_in_workers
from ncrun.training import cores

FREE = ("model=ufm", "counts=[5,3]", "model.width=3", "optimizer=sgd", "epochs=20")
# A network of one's own; with model.fatal=true it takes its process with it, as a machine does that is out of memory.
OWN_NETWORK = """
import os, signal
from dataclasses import dataclass
from typing import ClassVar
import ncrun

@dataclass(frozen=True)
class Fragile(ncrun.ModelSpec):
    name: str = "fragile"
    fatal: bool = False
    words: ClassVar[str] = "fragile network"

    @property
    def feature_width(self):
        return 4

    def backbone(self, image_shape):
        from torch import nn
        if self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return nn.Sequential(nn.Flatten(), nn.Linear(image_shape[0] * image_shape[1] * image_shape[2], 4))

ncrun.register(Fragile())
"""


@pytest.mark.parametrize(
    ("jobs", "wanted", "cores", "variables", "threads"),
    [
        (4, 2, 8, {}, ["4", "4"]),
        (4, 0, 8, {}, ["2"] * 4),
        (4, 8, 2, {}, ["1"] * 4),
        (4, 2, 8, {"OMP_NUM_THREADS": "3"}, ["3", "3"]),
        (4, 2, 8, {"OMP_NUM_THREADS": "6"}, ["4", "4"]),  # that many for each are not there
        (4, 0, 8, {"SLURM_CPUS_PER_TASK": "2"}, ["1", "1"]),
    ],
)
def test_each_worker_has_its_share_of_the_cores(
    jobs: int,
    wanted: int,
    cores: int,
    variables: dict[str, str],
    threads: list[str],
    monkeypatch: pytest.MonkeyPatch,
    no_limits: None,
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(cores)))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = places([job_of(FREE)] * jobs, wanted)
    assert found == [{"OMP_NUM_THREADS": number} for number in threads]


def test_each_worker_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch, no_limits: None) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr(module, "visible_gpus", lambda: ["2", "5"])
    jobs = [job_of(FREE)] * 3
    assert [each["CUDA_VISIBLE_DEVICES"] for each in places(jobs, 0)] == ["2", "5"]
    assert [each["CUDA_VISIBLE_DEVICES"] for each in places(jobs, 3)] == ["2", "5", "2"]
    assert "CUDA_VISIBLE_DEVICES" not in places([job_of([*FREE, "device=cpu"])] * 3, 2)[0]


@pytest.fixture
def no_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of this machine."""
    monkeypatch.setattr(cores, "OWN_GROUPS", Path("/nonexistent"))
    for name in ("OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK"):
        monkeypatch.delenv(name, raising=False)


def test_a_worker_that_is_killed_fails_its_own_run_alone(
    ncrun: Command, workdir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of a network from a user's own file; the other run is trained by the next process, with the bits that it has in
    any."""
    (workdir / "own.py").write_text(OWN_NETWORK)
    extensions.load(["own.py"])
    typed = ["extend=[own.py]", "model=fragile", "epochs=2", "threads=1"]
    jobs = [job_of([*typed, f"model.fatal={fatal}", f"run_dir={fatal}"]) for fatal in (True, False)]
    seen: list[tuple[int, Ended]] = []
    train_in_workers(jobs, [{"OMP_NUM_THREADS": "1"}], lambda *how: seen.append(how))
    (killed, first), (done, second) = seen
    assert (killed, first.status, done, second.status) == (0, 1, 1, 0)
    assert first.message == "its process was killed (SIGKILL); perhaps memory ran out; the same command continues it"
    assert "Traceback" not in capfd.readouterr().err
    assert _processes_of_this_one() == []
    assert ncrun("train", *typed, "run_dir=alone").status == 0
    assert rows(workdir / "alone") == rows(workdir / "False")


@pytest.mark.parametrize("jobs", ["1", pytest.param("2", marks=pytest.mark.slow)])
@pytest.mark.usefixtures("undrawn")
def test_what_a_sweep_says(jobs: str, ncrun: Command, workdir: Path) -> None:
    """A line for each run, what failed once more, and a table. What is finished is not trained again."""
    grid = ["seed=0,1", "optimizer.lr=0.1,1e30"]
    result = ncrun("train", "-m", *FREE, *grid, f"jobs={jobs}")
    assert result.status == 1
    told = (result.out + result.err).splitlines()
    assert sorted(each[1:7] for each in told if each[0:1] == "[") == [f"{n} of 4" for n in range(1, 5)]
    assert sum("optimizer.lr=0.1 (" in each and "from the predicted geometry" in each for each in told) == 2
    failed = {"seed=0 optimizer.lr=1e+30", "seed=1 optimizer.lr=1e+30"}
    (last,) = (each for each in told if each.startswith("ncrun: 2 of 4 failed: "))
    assert set(last.removeprefix("ncrun: 2 of 4 failed: ").split("; ")) == failed
    header, row = result.out.splitlines()[-2:]
    assert header.split()[:3] == ["seeds", "loss", "gap"]
    assert row.split()[0] == "2"
    again = ncrun("train", "-m", *FREE, "seed=0,1", "optimizer.lr=0.1", f"jobs={jobs}")
    assert (again.status, again.err) == (0, "")
    assert again.out.startswith("2 of 2 runs are finished already\n")


def test_stopped_workers_write_their_checkpoints(workdir: Path) -> None:
    """Of a training that would go on for an hour; the worker is gone when the caller is told."""
    typed = [*FREE, "epochs=100000000", "measure=log", "run_dir=run"]
    job = job_of(typed)

    def stop() -> None:
        began = time.monotonic()
        while not list(workdir.glob("run/metrics.jsonl")) and time.monotonic() - began < PATIENCE_S:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGUSR2)

    threading.Thread(target=stop).start()
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)]
    with pytest.raises(SystemExit) as ended:
        train_in_workers([job], [{"OMP_NUM_THREADS": "1"}], lambda index, how: pytest.fail(f"ended: {how}"))
    assert ended.value.code == 128 + signal.SIGUSR2
    assert state(workdir / "run") == "interrupted"
    assert (workdir / "run" / "checkpoint.pt").is_file()
    assert not list(workdir.glob("run/.lock*"))
    assert _processes_of_this_one() == []
    assert before == [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)]


def _processes_of_this_one() -> list[str]:
    """Those that train: the command lines of its children that loky has started."""
    found = []
    for thread in Path(f"/proc/{os.getpid()}/task").iterdir():
        for pid in (thread / "children").read_text().split():
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            if "popen_loky" in command and "resource_tracker" not in command:
                found.append(command)
    return found
