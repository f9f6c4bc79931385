"""Runs that are killed or stopped by signals, and continued, on another machine too."""

import io
import json
import signal
from pathlib import Path

import pytest
import torch
from conftest import Command, contents, rows, state
from faults import RUN, Patch, a_straight_run, an_interrupted_run, assert_completed, at_call, manifest

from ncrun.models.free_gradient import FreeGradient
from ncrun.records import RunDirectory
from ncrun.records.files import read_sealed
from ncrun.records.read import find_records
from ncrun.training.evaluate import Evaluator

pytestmark = pytest.mark.usefixtures("undrawn")
interrupted = pytest.fixture(an_interrupted_run)
straight = pytest.fixture(a_straight_run)


def test_run_killed_before_its_first_files(ncrun: Command, workdir: Path, straight: Path) -> None:
    (workdir / "run").mkdir()
    for name in (".lock", ".manifest.json.4711.tmp"):
        (workdir / "run" / name).write_text("{")
    assert ncrun("train", *RUN, "run_dir=run").status == 0
    assert_completed(workdir / "run", straight)


def test_run_killed_after_its_manifest(ncrun: Command, workdir: Path, straight: Path) -> None:
    (workdir / "run").mkdir()
    begun = manifest(straight) | {"state": "running"}
    (workdir / "run" / "manifest.json").write_text(json.dumps(begun))
    (workdir / "run" / ".config.yaml.4711.tmp").write_text("see")
    assert find_records(workdir / "run", ("running", "done")) == []
    assert ncrun("train", *RUN, "run_dir=run").status == 0
    assert_completed(workdir / "run", straight)


def test_a_continued_run_keeps_its_threads(ncrun: Command, workdir: Path, monkeypatch: Patch) -> None:
    typed = [each for each in RUN if "threads" not in each]
    with monkeypatch.context() as patch:
        at_call(patch, torch.optim.Adam, "step", 7, lambda: signal.raise_signal(signal.SIGINT))
        assert ncrun("train", *typed, "threads=3", "run_dir=run").status == 130
    result = ncrun("train", *typed, "run_dir=run")
    assert (result.status, result.err) == (0, "")
    assert manifest(workdir / "run")["threads"] == 3
    assert manifest(workdir / "run")["environment_changes"] == []


def test_a_run_that_continues_elsewhere_says_so(
    interrupted: Path, ncrun: Command, workdir: Path, monkeypatch: Patch
) -> None:
    from ncrun.training import machine

    def older(name: str) -> str:
        return "1.0" if name == "numpy" else "2.0"

    monkeypatch.setattr(machine, "version", older)
    result = ncrun("train", *RUN, "threads=2", "run_dir=run")
    assert (result.status, result.err.count("\n")) == (0, 1)
    assert result.err.startswith("ncrun: run: continues with threads 2 instead of 1, ")
    assert "numpy 1.0 instead of " in result.err
    assert "threads 2 instead of 1" in manifest(interrupted)["environment_changes"]


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
@pytest.mark.parametrize("batch", ["13", "full"])
def test_signal_ends_a_run_right_after_its_step(
    number: signal.Signals, batch: str, ncrun: Command, workdir: Path, monkeypatch: Patch
) -> None:
    """At the fifth step an epoch ends; it is measured only when the run continues."""
    typed = [*RUN, f"batch_size={batch}", "epochs=6"]
    assert ncrun("train", *typed, "run_dir=straight").status == 0
    with monkeypatch.context() as patch:
        at_call(patch, torch.optim.Adam, "step", 5, lambda: signal.raise_signal(number))
        result = ncrun("train", *typed, "run_dir=run")
    assert (result.status, result.out) == (128 + number, "")
    assert result.err == "run: interrupted; the same command continues it\n"
    assert state(workdir / "run") == "interrupted"
    assert rows(workdir / "run")[-1]["step"] == (0 if batch == "13" else 4)
    assert ncrun("train", *typed, "run_dir=run").status == 0
    assert_completed(workdir / "run", workdir / "straight")


def test_second_ctrl_c_stops_at_once(ncrun: Command, workdir: Path, monkeypatch: Patch) -> None:
    def twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("went on after the second one")

    at_call(monkeypatch, torch.optim.Adam, "step", 2, twice)
    assert ncrun("train", *RUN, "run_dir=run").status == 128 + signal.SIGINT
    assert state(workdir / "run") == "interrupted"
    assert not (workdir / "run" / "checkpoint.pt").exists()


def test_another_signal_after_the_first_one_is_no_impatience(ncrun: Command, workdir: Path, monkeypatch: Patch) -> None:
    """As Ctrl-C in `ncrun figures` sends them, and Slurm at the end of a job's time."""

    def both() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)

    at_call(monkeypatch, torch.optim.Adam, "step", 2, both)
    assert ncrun("train", *RUN, "run_dir=run").status == 128 + signal.SIGINT
    assert (workdir / "run" / "checkpoint.pt").exists()


def test_ctrl_c_before_anything_is_written_changes_nothing(
    interrupted: Path, ncrun: Command, monkeypatch: Patch
) -> None:
    def impatient() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    before = contents(interrupted)
    at_call(monkeypatch, RunDirectory, "begin", 1, impatient)
    assert ncrun("train", *RUN, "run_dir=run").status == 128 + signal.SIGINT
    assert contents(interrupted) == before


def test_ctrl_c_before_there_is_a_run(ncrun: Command, workdir: Path, monkeypatch: Patch) -> None:
    """While PyTorch is loaded, which takes seconds, or flags are read."""

    def stop(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ncrun.commands.composed.read_flags", stop)
    result = ncrun("train", *RUN)
    assert (result.status, result.out, result.err) == (128 + signal.SIGINT, "", "")


@pytest.mark.parametrize("call", [3, 5], ids=["midway", "last measurement"])
def test_signal_ends_a_whole_sweep(call: int, ncrun: Command, workdir: Path, monkeypatch: Patch) -> None:
    """Even where it comes too late to interrupt the run that it meets."""
    at_call(monkeypatch, Evaluator, "__call__", call, lambda: signal.raise_signal(signal.SIGUSR2))
    result = ncrun("train", "-m", *RUN, "seed=0,1,2", "run_dir='run-${seed}'")
    assert result.status == 128 + signal.SIGUSR2
    assert [path.name for path in workdir.glob("run-*")] == ["run-0"]
    assert state(workdir / "run-0") == ("interrupted" if call == 3 else "done")


def test_signal_during_lbfgs(ncrun: Command, workdir: Path, monkeypatch: Patch) -> None:
    typed = ["model=ufm", "counts=[4,2]", "model.width=4"]
    with monkeypatch.context() as patch:
        at_call(patch, FreeGradient, "__call__", 9, lambda: signal.raise_signal(signal.SIGUSR2))
        assert ncrun("train", *typed, "run_dir=run").status == 128 + signal.SIGUSR2
    assert state(workdir / "run") == "interrupted"
    assert ncrun("train", *typed, "run_dir=run").status == 0


def test_a_run_that_had_only_to_be_closed_keeps_its_state(ncrun: Command, workdir: Path, monkeypatch: Patch) -> None:
    """Killed between its last checkpoint and its end; the rate has dropped by then."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    typed = ["train", *RUN, "optimizer=sgd", "optimizer.lr=1e-2", "schedule.drops=[0.5]"]
    with monkeypatch.context() as patch:
        patch.setattr("ncrun.training.ending.outcome", killed)
        assert ncrun(*typed, "run_dir=closed").status == 130
    for name in ("closed", "straight"):
        assert ncrun(*typed, f"run_dir={name}").status == 0
    closed, straight = (
        torch.load(io.BytesIO(read_sealed(workdir / name / "checkpoint.pt")), weights_only=True)["optimiser"]
        for name in ("closed", "straight")
    )
    assert closed["param_groups"] == straight["param_groups"]
    assert closed["param_groups"][0]["lr"] == pytest.approx(1e-3)
