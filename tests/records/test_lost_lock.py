"""A process that slept past its heartbeat, at any moment, while another host took over."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import RunOf, contents
from shared_folder import Hook, another_host, at_operation, fall_silent, without_kernel_locks

from ncrun.errors import UserError
from ncrun.records import RunDirectory
from ncrun.records.lock import Lock, LockLost
from ncrun.run import Run

IDENTITY = "0123456789"
Patch = pytest.MonkeyPatch
Written = dict[str, bytes | None]


@pytest.fixture(autouse=True)
def shared(monkeypatch: Patch) -> None:
    without_kernel_locks(monkeypatch)


def sit(path: Path, run: Run, epochs: int) -> RunDirectory | None:
    """Begin a run and bring it through so many epochs, with a checkpoint after each. None if it is done already."""
    record = RunDirectory(path, IDENTITY)
    if not record.hold():
        return None
    record.begin(run.config, run.problem, {"epochs": epochs}, {})
    record.cut_metrics(0)
    for epoch in range(epochs):
        record.append({"epoch": epoch})
        record.write_checkpoint(b"%d" % epoch)
    return record


def taken_over(path: Path, run: Run) -> Written:
    """Another host takes the run up from the start and finishes it; returns what is in the folder then."""
    with another_host():
        fall_silent(path)
        if (record := sit(path, run, 3)) is not None:
            record.close(state="done")
    return kept(path)


def kept(path: Path) -> Written:
    """What is in the folder, but for locks."""
    return {name: content for name, content in contents(path).items() if not name.startswith(".lock")}


def no_links(*_: object) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


# What a holder does; and the names of the system's calls in it, at each of which it may sleep.
Step = Callable[[RunDirectory], object]
STEPS: dict[str, Step] = {
    "append": lambda record: record.append({"epoch": 99}),
    "update": lambda record: record.update(state="interrupted"),
    "write": lambda record: record.write_json("geometry.json", {}),
    "checkpoint": lambda record: record.write_checkpoint(b"late"),
    "cut": lambda record: record.cut_metrics(0),
    "remove": lambda record: record.remove(record.previous_checkpoint),
    "mark": lambda record: record.mark(),
    "interrupted": lambda record: record.close(state="interrupted"),
    "done": lambda record: record.close(state="done"),
}


@pytest.mark.parametrize("step", [*STEPS, "checkpoint, no links"])
def test_nothing_that_a_sleeper_does_reaches_the_folder(
    step: str, tmp_path: Path, run_of: RunOf, monkeypatch: Patch
) -> None:
    """It sleeps before its n-th call of the system, for every n, and in the meantime the run is finished elsewhere."""
    step, _, without_links = step.partition(", ")
    if without_links:
        monkeypatch.setattr(os, "link", no_links)
    run = run_of("counts=[4,2]", "model=ufm")
    for moment in range(200):
        hook, record, noticed = slept(tmp_path / str(moment), run, STEPS[step], moment)
        if not hook.struck:
            assert moment >= 6
            return
        where = f"{step}, before call {moment}: {hook.name}"
        assert kept(record.path) == hook.result, where
        # A run that was closed before it was taken over is another's by right.
        assert noticed or step in ("interrupted", "done"), where
        assert list(record.path.glob(".lock*")) == []
    pytest.fail("never ends")


def slept(folder: Path, run: Run, work: Step, moment: int) -> tuple[Hook, RunDirectory, bool]:
    """A holder's work, taken over at a moment in it; and whether it noticed."""
    record = sit(folder, run, 2)
    assert record is not None
    with at_operation(moment, lambda: taken_over(folder, run)) as hook:
        try:
            work(record)
            noticed = False
        except LockLost:
            noticed = True
    record.release()
    return hook, record, noticed


def test_error_of_a_lost_lock_is_told_as_that(tmp_path: Path, run_of: RunOf) -> None:
    """The rename of a file that is no longer there, and not "cannot continue: no such file"."""
    run = run_of("counts=[4,2]", "model=ufm")
    record = sit(tmp_path / "run", run, 1)
    with (
        at_operation(3, lambda: taken_over(tmp_path / "run", run)),
        pytest.raises(LockLost, match="another process has taken over"),
    ):
        record.update(state="interrupted")


def test_sleeper_that_is_not_replaced_goes_on(tmp_path: Path, run_of: RunOf) -> None:
    record = sit(tmp_path / "run", run_of("counts=[4,2]", "model=ufm"), 1)
    fall_silent(tmp_path / "run")
    record.append({"epoch": 1})
    record.close(state="interrupted")
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 2


def test_the_number_of_a_lock_grows_with_each_dead_holder(tmp_path: Path) -> None:
    holders = []
    for number in (1, 2, 3):
        fall_silent(tmp_path)
        with another_host(f"host {number}"):
            holders.append(Lock(tmp_path))
            holders[-1].take()
        assert [path.name for path in tmp_path.iterdir()] == [f".lock.{number}"]
    for dead in holders[:2]:
        with pytest.raises(LockLost):
            dead.check()
    holders[2].check()
    for each in holders:
        each.release()
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fails_while_a_dead_holder_is_replaced(tmp_path: Path, monkeypatch: Patch) -> None:
    """Whatever call fails, nobody holds the folder, and the next one takes it."""

    def fail(*_: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    for moment in range(100):
        first, second = Lock(tmp_path / str(moment)), Lock(tmp_path / str(moment))
        with another_host():
            first.take()
        fall_silent(tmp_path / str(moment))
        with at_operation(moment, fail) as hook:
            said = refusal_of(second)
        assert said is None or "cannot be written (Input/output error)" in said
        if not second.held:
            second.take()
        with pytest.raises(LockLost):
            first.check()
        second.release()
        first.release()
        assert list(tmp_path.iterdir()) == []
        if not hook.struck:
            return
    pytest.fail("never ends")


def refusal_of(lock: Lock) -> str | None:
    """What is said if it cannot be taken."""
    try:
        lock.take()
    except UserError as error:
        return str(error)
    return None
