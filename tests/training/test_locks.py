"""One process at a time in a run directory."""

import json
import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest
from conftest import PATIENCE_S, Command, Refused, contents
from faults import RUN, Patch, at_call
from shared_folder import another_host, fall_silent, without_kernel_locks

from ncrun.errors import UserError
from ncrun.records.lock import Lock
from ncrun.training.evaluate import Evaluator

pytestmark = pytest.mark.usefixtures("undrawn")


def holder() -> str:
    return json.dumps({"host": "elsewhere", "kernel": "another", "pid": 4711})


def test_living_process_on_another_host_is_refused(workdir: Path, refused: Refused, ncrun: Command) -> None:
    (workdir / "run").mkdir()
    lock = workdir / "run" / ".lock"
    lock.write_text(holder())
    os.utime(lock, (time.time() - 40, time.time() - 40))
    line = refused("train", *RUN, "run_dir=run")
    assert line.startswith("run_dir=run: another process (process 4711 on elsewhere) is training this run; its last ")
    os.utime(lock, (time.time() - 61, time.time() - 61))
    assert ncrun("train", *RUN, "run_dir=run").status == 0


def test_dead_process_on_this_host_holds_nothing(tmp_path: Path) -> None:
    first, second = Lock(tmp_path), Lock(tmp_path)
    first.take()
    content = (tmp_path / ".lock.1" / "holder").read_text()
    first.release()
    assert json.loads(content)["host"] == socket.gethostname()
    for left in (tmp_path / ".lock.1" / "holder", tmp_path / ".lock"):  # the second as older versions left it
        left.parent.mkdir(exist_ok=True)
        left.write_text(content)  # a moment old, but the kernel knows that nobody holds it
    second.take()
    second.release()
    assert list(tmp_path.iterdir()) == []
    new = Lock(tmp_path / "new")
    new.take()
    new.release()
    assert not (tmp_path / "new").exists()


def test_lock_beats(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setattr("ncrun.records.lock.BEAT_SECONDS", 0.02)
    lock, file = Lock(tmp_path), tmp_path / ".lock.1" / "holder"
    threads = threading.active_count()
    lock.take()
    os.utime(file, (0, 0))
    deadline = time.monotonic() + PATIENCE_S
    while file.stat().st_mtime < 1:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    lock.release()
    assert threading.active_count() == threads


def test_file_system_without_locks_relies_on_the_sign_of_life(tmp_path: Path, monkeypatch: Patch) -> None:
    without_kernel_locks(monkeypatch)
    first, second = Lock(tmp_path), Lock(tmp_path)
    first.take()
    with pytest.raises(UserError, match="another process"):
        second.take()
    first.release()
    second.take()
    second.release()


def test_process_that_slept_while_another_took_over_writes_nothing_more(
    ncrun: Command, workdir: Path, monkeypatch: Patch
) -> None:
    taken: dict[str, bytes | None] = {}

    def take_over() -> None:
        fall_silent(workdir / "run")
        with another_host():
            other.take()
        taken.update(contents(workdir))

    without_kernel_locks(monkeypatch)
    other = Lock(workdir / "run")

    at_call(monkeypatch, Evaluator, "__call__", 3, take_over)
    result = ncrun("train", *RUN, "run_dir=run")
    assert (result.status, result.err.count("\n")) == (1, 1)
    assert "another process has taken over run" in result.err
    assert contents(workdir) == taken
    other.release()


def test_restart_that_another_process_trains(ncrun: Command, workdir: Path, refused: Refused) -> None:
    """Refused before anything of the group is written."""
    free = ("model=ufm", "counts=[4,2]", "model.width=4", "optimizer=sgd", "epochs=5", "restarts=2", "run_dir=group")
    lock = Lock(workdir / "group" / "seed-1")
    lock.take()
    before = contents(workdir)
    result = ncrun("train", *free)
    assert (result.status, result.err.count("\n")) == (2, 1)
    assert result.err.startswith("ncrun: run_dir=group/seed-1: another process")
    assert contents(workdir) == before
    lock.release()
    assert ncrun("train", *free).status == 0


def test_ctrl_c_before_the_first_sign_of_life(tmp_path: Path, monkeypatch: Patch) -> None:
    lock = Lock(tmp_path / "run")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        with monkeypatch.context() as patch:
            at_call(patch, threading.Thread, "start", 1, lambda: signal.raise_signal(signal.SIGINT))
            with pytest.raises(KeyboardInterrupt):
                lock.take()
    finally:
        signal.signal(signal.SIGINT, before)
    lock.release()
    assert not (tmp_path / "run").exists()


def test_lock_file_of_brackets(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_bytes(b"[" * 5000)
    lock = Lock(tmp_path)
    lock.take()
    lock.release()
