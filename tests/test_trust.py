"""Runs one can trust: what a run does when it is stopped, damaged, doubled, or left without disk or memory."""

import errno
import io
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY, Command, Compose, Refused, contents, rows, state, write_run

from ncrun.errors import UserError
from ncrun.models.free_gradient import FreeGradient
from ncrun.models.head import LinearHead
from ncrun.objective import Objective
from ncrun.records import RunDirectory, read_metrics
from ncrun.records.files import DamagedFile, read_sealed, write_sealed
from ncrun.records.lock import Lock, LockLost
from ncrun.records.read import find_records, load_record
from ncrun.training.display import Display
from ncrun.training.evaluate import Evaluator

pytestmark = pytest.mark.usefixtures("undrawn")
RUN = (*TINY, "epochs=4", "batch_size=13")  # 60 samples: five steps an epoch
Patch = pytest.MonkeyPatch


def manifest(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "manifest.json").read_text())


def weights(directory: Path) -> dict[str, torch.Tensor]:
    return torch.load(directory / "checkpoint.pt", weights_only=True)["network"]


def at_call(patch: Patch, owner: type, name: str, number: int, act: Callable[[], object]) -> None:
    """Do something when a method is called for the n-th time from now on."""
    calls, original = itertools.count(1), getattr(owner, name)

    def counted(self: Any, *rest: Any, **more: Any) -> Any:
        if next(calls) == number:
            act()
        return original(self, *rest, **more)

    patch.setattr(owner, name, counted)


@pytest.fixture
def interrupted(ncrun: Command, workdir: Path, monkeypatch: Patch) -> Path:
    """A run that was stopped while its second epoch was measured, with a checkpoint at every step: the newest knows one
    row of metrics.jsonl more than the one before it."""
    with monkeypatch.context() as patch:
        patch.setattr("ncrun.training.loop.CHECKPOINT_SECONDS", 0.0)
        at_call(patch, Evaluator, "__call__", 3, lambda: signal.raise_signal(signal.SIGTERM))
        assert ncrun("train", *RUN, "run_dir=run").status == 128 + signal.SIGTERM
    assert [row["epoch"] for row in rows(workdir / "run")] == [0, 1, 2]
    return workdir / "run"


@pytest.fixture
def straight(ncrun: Command, workdir: Path) -> Path:
    assert ncrun("train", *RUN, "run_dir=straight").status == 0
    return workdir / "straight"


def assert_completed(directory: Path, straight: Path) -> None:
    assert state(directory) == "done"
    assert rows(directory) == rows(straight)
    ours, theirs = weights(directory), weights(straight)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert set(contents(directory)) == set(contents(straight))  # nothing else is left behind


# ---------------------------------------------------------------- damaged files


def test_sealed_file_notices_every_flipped_bit_and_every_cut(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_sealed(path, b"the content of a file")
    whole = path.read_bytes()
    assert bytes(read_sealed(path)) == b"the content of a file"
    for place, bit in itertools.product(range(len(whole)), range(8)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
        with pytest.raises(DamagedFile):
            read_sealed(path)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DamagedFile):
            read_sealed(path)


def flip_in_a_tensor(path: Path) -> None:
    """One bit of the stored weights: the archive's structure, and whatever reads it, stays as it was."""
    content = bytearray(path.read_bytes())
    stored = torch.load(path, weights_only=True)["network"]
    needle = max(stored.values(), key=torch.Tensor.numel).numpy().tobytes()
    content[content.index(needle) + len(needle) // 2] ^= 1
    path.write_bytes(content)
    torch.load(path, weights_only=True)


@pytest.mark.parametrize(
    "damage",
    [
        flip_in_a_tensor,
        lambda path: path.write_bytes(path.read_bytes()[:-700]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"not a checkpoint"),
    ],
    ids=["flipped", "cut", "empty", "other"],
)
def test_damaged_checkpoint_is_reported_and_the_one_before_is_used(
    damage: Callable[[Path], None], interrupted: Path, straight: Path, ncrun: Command
) -> None:
    damage(interrupted / "checkpoint.pt")
    result = ncrun("train", *RUN, "run_dir=run")
    assert result.status == 0
    assert result.err.startswith("ncrun: run: checkpoint.pt is damaged (")
    assert result.err.endswith("); continues from checkpoint.previous.pt, epoch 1\n")
    assert result.err.count("\n") == 1
    assert_completed(interrupted, straight)


def test_without_an_intact_checkpoint_a_run_says_so_and_starts_anew(
    interrupted: Path, straight: Path, ncrun: Command
) -> None:
    for name in ("checkpoint.pt", "checkpoint.previous.pt"):
        flip_in_a_tensor(interrupted / name)
    result = ncrun("train", *RUN, "run_dir=run")
    assert (result.status, result.err.count("\n")) == (0, 1)
    assert result.err.endswith(", and no other is left; starts anew\n")
    assert_completed(interrupted, straight)


def test_checkpoint_that_is_gone(interrupted: Path, straight: Path, ncrun: Command) -> None:
    (interrupted / "checkpoint.pt").unlink()  # as after a kill between two renames
    assert ncrun("train", *RUN, "run_dir=run").err == ""
    assert_completed(interrupted, straight)


def test_checkpoints_that_are_both_gone(interrupted: Path, straight: Path, ncrun: Command) -> None:
    (interrupted / "checkpoint.pt").unlink()
    (interrupted / "checkpoint.previous.pt").unlink()
    assert ncrun("train", *RUN, "run_dir=run").err == "ncrun: run: has no checkpoint yet; starts anew\n"
    assert_completed(interrupted, straight)


def test_good_checkpoint_survives_a_kill_after_a_damaged_one(interrupted: Path, ncrun: Command, workdir: Path) -> None:
    """The damaged one is removed before anything is saved, so that it is never moved over the good one."""
    good = (interrupted / "checkpoint.previous.pt").read_bytes()
    flip_in_a_tensor(interrupted / "checkpoint.pt")
    with pytest.MonkeyPatch.context() as patch:
        at_call(patch, torch.optim.Adam, "step", 2, lambda: os.kill(os.getpid(), signal.SIGINT))
        assert ncrun("train", *RUN, "run_dir=run").status == 128 + signal.SIGINT
    assert (interrupted / "checkpoint.previous.pt").read_bytes() == good
    read_sealed(interrupted / "checkpoint.pt")


def test_checkpoint_that_executes_code_is_not_opened(interrupted: Path, straight: Path, ncrun: Command) -> None:
    """Even with the right checksum: a run directory may be somebody else's."""

    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(interrupted.parent / "owned"),)

    for name in ("checkpoint.pt", "checkpoint.previous.pt"):
        buffer = io.BytesIO()
        torch.save({"network": Evil()}, buffer)
        write_sealed(interrupted / name, buffer.getbuffer())
    result = ncrun("train", *RUN, "run_dir=run")
    assert (result.status, result.err.count("\n")) == (0, 1)
    assert not (interrupted.parent / "owned").exists()
    assert_completed(interrupted, straight)


def test_checkpoint_of_another_network(interrupted: Path, ncrun: Command) -> None:
    kept = contents(interrupted)
    for name in ("checkpoint.pt", "checkpoint.previous.pt"):
        content = torch.load(interrupted / name, weights_only=True)
        content["network"].popitem()
        buffer = io.BytesIO()
        torch.save(content, buffer)
        write_sealed(interrupted / name, buffer.getbuffer())
    result = ncrun("train", *RUN, "run_dir=run")
    assert (result.status, result.err.count("\n")) == (1, 1)
    assert "does not fit this version's network" in result.err
    assert state(interrupted) == "failed"
    assert (interrupted / "metrics.jsonl").read_bytes() == kept["metrics.jsonl"]


def change_row(directory: Path, number: int) -> None:
    lines = (directory / "metrics.jsonl").read_bytes().split(b"\n")
    lines[number] = lines[number].replace(b'"loss": 0.', b'"loss": 7.').replace(b'"loss": 1.', b'"loss": 7.')
    assert b'"loss": 7.' in lines[number]
    (directory / "metrics.jsonl").write_bytes(b"\n".join(lines))


def test_changed_metrics_that_an_older_checkpoint_does_not_know(
    interrupted: Path, straight: Path, ncrun: Command
) -> None:
    change_row(interrupted, 2)
    result = ncrun("train", *RUN, "run_dir=run")
    assert result.status == 0
    assert result.err == (
        "ncrun: run: metrics.jsonl was changed, or has lost lines; continues from checkpoint.previous.pt, epoch 1\n"
    )
    assert_completed(interrupted, straight)


@pytest.mark.parametrize("change", ["changed", "cut", "gone"])
def test_changed_metrics_that_both_checkpoints_know_are_refused(
    change: str, interrupted: Path, refused: Refused
) -> None:
    if change == "changed":
        change_row(interrupted, 0)
    elif change == "cut":
        os.truncate(interrupted / "metrics.jsonl", 500)
    else:
        (interrupted / "metrics.jsonl").unlink()
    line = refused("train", *RUN, "run_dir=run")
    assert line.startswith("run_dir=run: metrics.jsonl was changed, or has lost lines")
    assert state(interrupted) == "interrupted"


@pytest.mark.parametrize("torn", [b'{"epoch": 3, "lo', b"\xff\xfe", b'{"epoch": 9}\n{"ep'])
def test_what_came_after_the_checkpoint_is_cut_away(
    torn: bytes, interrupted: Path, straight: Path, ncrun: Command
) -> None:
    with (interrupted / "metrics.jsonl").open("ab") as file:
        file.write(torn)
    assert ncrun("train", *RUN, "run_dir=run").err == ""
    assert_completed(interrupted, straight)


@pytest.mark.parametrize("line", [b"\xff\xfe{}", b'{"epoch": ', b"[1]", b'{"loss": NaN}', b"[" * 5000, b""])
def test_damaged_line_of_metrics_is_named(line: bytes, tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(b'{"epoch": 0}\n' + line + b'\n{"epoch": 2}\n')
    with pytest.raises(UserError, match=r"metrics\.jsonl, line 2: is not "):
        read_metrics(tmp_path)


@pytest.mark.parametrize(
    "content", [b"\xff", b"a: [", b"- 1\n", b"x: !!python/object/apply:os.getcwd []\n", b"a: &a [*a]", None]
)
def test_damaged_configuration_of_a_record_is_named(content: bytes | None, tmp_path: Path) -> None:
    directory = write_run(tmp_path / "run", [{"epoch": 0}])
    if content is None:
        (directory / "config.yaml").unlink()
    else:
        (directory / "config.yaml").write_bytes(content)
    with pytest.raises(UserError, match=r"config\.yaml: is "):
        load_record(directory)


# ---------------------------------------------------------------- killed at the very beginning


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


# ---------------------------------------------------------------- threads and versions


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
    from ncrun.training import command

    def older(name: str) -> str:
        return "1.0" if name == "numpy" else "2.0"

    monkeypatch.setattr(command, "version", older)
    result = ncrun("train", *RUN, "threads=2", "run_dir=run")
    assert (result.status, result.err.count("\n")) == (0, 1)
    assert result.err.startswith("ncrun: run: continues with threads 2 instead of 1, ")
    assert "numpy 1.0 instead of " in result.err
    assert "threads 2 instead of 1" in manifest(interrupted)["environment_changes"]


# ---------------------------------------------------------------- signals


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

    monkeypatch.setattr("ncrun.compose.check_flags", stop)
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


# ---------------------------------------------------------------- locks


def holder(**changes: Any) -> str:
    return json.dumps({"host": "elsewhere", "kernel": "another", "pid": 4711, **changes})


def test_living_process_on_another_host_is_refused(workdir: Path, refused: Refused, ncrun: Command) -> None:
    (workdir / "run").mkdir()
    lock = workdir / "run" / ".lock"
    lock.write_text(holder())
    os.utime(lock, (time.time() - 40, time.time() - 40))
    line = refused("train", *RUN, "run_dir=run")
    assert line.startswith("run_dir=run: another process (process 4711 on elsewhere) is training this run; it gave a ")
    os.utime(lock, (time.time() - 61, time.time() - 61))
    assert ncrun("train", *RUN, "run_dir=run").status == 0


def test_dead_process_on_this_host_holds_nothing(tmp_path: Path) -> None:
    first, second = Lock(tmp_path), Lock(tmp_path)
    first.take()
    content = (tmp_path / ".lock").read_text()
    first.release()
    assert json.loads(content)["host"] == socket.gethostname()
    (tmp_path / ".lock").write_text(content)  # a moment old, but the kernel knows that nobody holds it
    second.take()
    second.release()
    assert list(tmp_path.iterdir()) == []
    new = Lock(tmp_path / "new")
    new.take()
    new.release()
    assert not (tmp_path / "new").exists()


def test_lock_beats(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setattr("ncrun.records.lock.BEAT_SECONDS", 0.02)
    lock, file = Lock(tmp_path), tmp_path / ".lock"
    threads = threading.active_count()
    lock.take()
    os.utime(file, (0, 0))
    deadline = time.monotonic() + 10
    while file.stat().st_mtime < 1:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    lock.release()
    assert threading.active_count() == threads


def test_file_system_without_locks_relies_on_the_sign_of_life(tmp_path: Path, monkeypatch: Patch) -> None:
    def unknown(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", unknown)
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
        (workdir / "run" / ".lock").write_text(holder())
        taken.update(contents(workdir))

    at_call(monkeypatch, Evaluator, "__call__", 3, take_over)
    result = ncrun("train", *RUN, "run_dir=run")
    assert (result.status, result.err.count("\n")) == (1, 1)
    assert "another process has taken over run" in result.err
    assert contents(workdir) == taken


def test_lost_lock_is_noticed_at_every_write(tmp_path: Path, run_config: Compose) -> None:
    record = RunDirectory(tmp_path, "0123456789")
    record.hold()
    (tmp_path / ".lock").write_text(holder())
    for write in (lambda: record.append({"epoch": 0}), record.mark, lambda: record.update(state="done")):
        with pytest.raises(LockLost):
            write()
    record.release()
    assert [file.name for file in tmp_path.iterdir()] == [".lock"]


def test_restart_that_another_process_trains(ncrun: Command, workdir: Path, refused: Refused) -> None:
    """Refused before anything of the group is written."""
    free = ("model=ufm", "counts=[4,2]", "model.width=4", "optimizer=sgd", "epochs=5", "restarts=2", "run_dir=group")
    assert ncrun("train", *free).status == 0
    summary = workdir / "group" / "summary.json"
    summary.write_text(summary.read_text().replace('"state": "done"', '"state": "interrupted"', 1))
    lock = Lock(workdir / "group" / "seed-1")
    lock.take()
    before = contents(workdir)
    result = ncrun("train", *free)
    assert (result.status, result.err.count("\n")) == (2, 1)
    assert result.err.startswith("ncrun: run_dir=group/seed-1: another process")
    assert contents(workdir) == before
    lock.release()
    assert ncrun("train", *free).status == 0


# ---------------------------------------------------------------- disks, data and memory


def fill_disk(patch: Patch, name: str, number: int, code: int) -> None:
    """From the n-th time on, files whose name contains this cannot be written."""
    calls, opened = itertools.count(1), Path.open

    def failing(self: Path, mode: str = "r", *rest: Any, **more: Any) -> Any:
        if name in self.name and mode in ("wb", "ab") and next(calls) >= number:
            raise OSError(code, os.strerror(code))
        return opened(self, mode, *rest, **more)

    patch.setattr(Path, "open", failing)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO], ids=lambda code: errno.errorcode[code])
@pytest.mark.parametrize(
    ("name", "number", "left"),
    [
        ("metrics", 3, "failed"),
        ("checkpoint", 2, "failed"),
        ("geometry", 1, "failed"),
        ("config", 1, "failed"),
        ("manifest", 2, "running"),  # that of the end: the old one stays
        ("", 12, "running"),  # everything, from somewhere on
    ],
)
def test_full_disk(
    name: str,
    number: int,
    left: str,
    code: int,
    straight: Path,
    ncrun: Command,
    workdir: Path,
    monkeypatch: Patch,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("ncrun.training.loop.CHECKPOINT_SECONDS", 0.0)
        fill_disk(patch, name, number, code)
        result = ncrun("train", *RUN, "run_dir=run")
    assert result.status == 1
    assert result.err.count("\n") == 1
    assert result.err.startswith(f"ncrun: run: cannot go on: {os.strerror(code)} (")
    assert name in result.err
    assert state(workdir / "run") == left
    if left == "failed":
        assert os.strerror(code) in manifest(workdir / "run")["reason"]
    kept = rows(workdir / "run") if (workdir / "run" / "metrics.jsonl").is_file() else []
    assert kept == rows(straight)[: len(kept)]
    again = ncrun("train", *RUN, "run_dir=run")
    assert again.status == 0
    assert_completed(workdir / "run", straight)


def test_row_that_no_longer_fits_leaves_no_half_line(tmp_path: Path, monkeypatch: Patch) -> None:
    """A limit on the size of files, as a quota is, met in the middle of a line; in a process of its own."""
    script = (
        "import resource, sys; from pathlib import Path; from ncrun.records import RunDirectory\n"
        "record = RunDirectory(Path(sys.argv[1]), '0')\n"
        "record.append({'epoch': 0})\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20))\n"
        "try: record.append({'epoch': 1})\n"
        "except OSError as error: print(error.errno, error.filename)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout == f"{errno.EFBIG} {tmp_path / 'metrics.jsonl'}\n"
    assert (tmp_path / "metrics.jsonl").read_text() == '{"epoch": 0}\n'


def test_undrawn_curves_are_an_error_but_the_run_is_done(ncrun: Command, workdir: Path, monkeypatch: Patch) -> None:
    from ncrun.training import command

    monkeypatch.undo()
    monkeypatch.chdir(workdir)
    monkeypatch.setattr(command.sys, "executable", "/bin/false")
    result = ncrun("train", *RUN, "run_dir=run")
    assert result.status == 1
    assert result.err == "ncrun: run: curves.png was not drawn (exit status 1); the run itself is complete\n"
    assert state(workdir / "run") == "done"


def test_folder_that_cannot_be_written(refused: Refused) -> None:
    assert refused("train", *RUN, "run_dir=/proc/run").startswith("run_dir=/proc/run: cannot be written (")


def test_data_that_is_gone_when_a_run_continues(
    ncrun: Command, refused: Refused, workdir: Path, monkeypatch: Patch
) -> None:
    rng = np.random.default_rng(0)
    arrays = {"train_images": rng.normal(size=(40, 6)), "train_labels": np.arange(40) % 2}
    np.savez(workdir / "data.npz", **arrays)
    typed = ["dataset=npz", "dataset.path=data.npz", "model.depth=1", "model.width=8", "epochs=3", "threads=1"]
    with monkeypatch.context() as patch:
        at_call(patch, torch.optim.Adam, "step", 2, lambda: signal.raise_signal(signal.SIGINT))
        assert ncrun("train", *typed, "run_dir=run").status == 130
    (workdir / "data.npz").unlink()
    assert "data.npz" in refused("train", *typed, "run_dir=run")
    assert state(workdir / "run") == "interrupted"
    np.savez(workdir / "data.npz", **arrays)
    assert ncrun("train", *typed, "run_dir=run").status == 0


def out_of_device_memory() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has a total capacity of ...")


@pytest.mark.parametrize(
    "allocate",
    [out_of_device_memory, lambda: torch.empty(1 << 55), lambda: np.empty(1 << 55)],
    ids=["CUDA", "torch", "numpy"],
)
@pytest.mark.parametrize(
    ("typed", "advice"),
    [(RUN, "batch_size or model.width"), (("model=ufm", "counts=[4,2]", "model.width=4"), "counts or model.width")],
    ids=["network", "free"],
)
def test_out_of_memory(
    allocate: Callable[[], object],
    typed: tuple[str, ...],
    advice: str,
    ncrun: Command,
    workdir: Path,
    monkeypatch: Patch,
) -> None:
    """Errors of the real allocators, for half a petabyte, where there is no device to fill."""
    owner, step = (Objective, "on_batch") if typed is RUN else (FreeGradient, "__call__")
    at_call(monkeypatch, owner, step, 7, allocate)
    result = ncrun("train", *typed, "run_dir=run")
    assert (result.status, result.out, result.err.count("\n")) == (1, "", 1)
    assert result.err.startswith(f"ncrun: run: out of memory; try a smaller {advice}")
    assert state(workdir / "run") == "failed"
    assert len(rows(workdir / "run")) > 0


@pytest.mark.parametrize("typed", [TINY, ("model=ufm", "counts=[4,2]", "model.width=4", "optimizer=sgd")])
def test_memory_does_not_grow_with_epochs(
    typed: tuple[str, ...], ncrun: Command, workdir: Path, monkeypatch: Patch
) -> None:
    """Between epochs 100 and 500. Python's own: at most 60 kB, 150 bytes an epoch, for what caches and the clock's
    digits take; a kept row would be 3 kB each, the loss of a step with its graph 10 kB. Of the whole process: 8 MB,
    allocators' slack; a kept copy of the tiny network's gradients would show in the first number.
    """
    found: dict[int, tuple[int, int]] = {}

    def look(self: Display, epoch: int, row: dict[str, Any] | None) -> None:
        if epoch in (100, 500):
            resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            found[epoch] = (tracemalloc.get_traced_memory()[0], resident)

    monkeypatch.setattr(Display, "__call__", look)
    monkeypatch.setattr("ncrun.training.loop.CHECKPOINT_SECONDS", 0.5)
    tracemalloc.start()
    try:
        assert ncrun("train", *typed, "epochs=500", "measure=5", "batch_size=full", "run_dir=run").status == 0
    finally:
        tracemalloc.stop()
    traced, resident = np.subtract(found[500], found[100])
    assert traced < 60_000
    assert resident < 8_000_000


# ---------------------------------------------------------------- numbers that are none


@pytest.mark.parametrize(
    "typed",
    [
        (*RUN, "optimizer=sgd", "optimizer.lr=1e8", "measure=1000", "epochs=50"),
        ("model=ufm", "counts=[4,2]", "model.width=4", "optimizer=sgd", "optimizer.lr=1e8", "measure=5000"),
        (
            "model=ufm",
            "counts=[4,2]",
            "model.width=4",
            "optimizer=sgd",
            "optimizer.lr=1e8",
            "measure=5000",
            "restarts=3",
        ),
    ],
    ids=["network", "free", "restarts"],
)
def test_divergence_between_measurements_keeps_the_last_good_checkpoint(
    typed: tuple[str, ...], ncrun: Command, workdir: Path, monkeypatch: Patch
) -> None:
    monkeypatch.setattr("ncrun.training.loop.CHECKPOINT_SECONDS", 0.0)
    result = ncrun("train", *typed, "run_dir=run")
    assert (result.status, result.err.count("\n")) == (1, 1)
    assert "diverged: the parameters are not finite after step " in result.err
    assert "with learning rate 1e+08; try optimizer.lr=1e+07" in result.err
    assert all(tensor.isfinite().all() for tensor in weights(workdir / "run").values())
    read_sealed(workdir / "run" / "checkpoint.pt")


@pytest.mark.parametrize("value", [float("nan"), [0.5, float("inf")]])
def test_metric_that_is_no_number_ends_a_run(value: Any, ncrun: Command, workdir: Path, monkeypatch: Patch) -> None:
    measure, calls = Evaluator.__call__, itertools.count(1)

    def broken(self: Evaluator, network: Any) -> dict[str, Any]:
        return measure(self, network) | ({"nc1": value} if next(calls) == 3 else {})

    monkeypatch.setattr(Evaluator, "__call__", broken)
    result = ncrun("train", *RUN, "run_dir=run")
    assert (result.status, result.err.count("\n")) == (1, 1)
    assert result.err.startswith("ncrun: run: diverged: nc1 is ")
    assert "after step 10 (epoch 2) with learning rate 0.001; try optimizer.lr=0.0001" in result.err
    assert [row["epoch"] for row in rows(workdir / "run")] == [0, 1]


# ---------------------------------------------------------------- what fuzzing found (test_fuzz.py)


def seal(path: Path, content: Any) -> None:
    """A checkpoint of any content, with the right checksum."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_sealed(path, buffer.getbuffer())


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("metrics", [{"size": None, "sha256": ""}]),
        ("metrics", None),
        ("progress", {}),
        ("environment", {"threads": "x"}),
        ("random", 0),
    ],
)
def test_checkpoint_with_an_entry_of_another_kind(part: str, value: Any, interrupted: Path, ncrun: Command) -> None:
    path = interrupted / "checkpoint.pt"
    seal(path, torch.load(path, weights_only=True) | {part: value})
    result = ncrun("train", *RUN, "run_dir=run")
    assert (result.status, result.err.count("\n")) == (0, 1)
    assert "checkpoint.pt is damaged (not written by this version); continues from checkpoint.prev" in result.err


def test_optimiser_that_does_not_fit(interrupted: Path, ncrun: Command) -> None:
    """PyTorch raises an AttributeError or TypeError of its own for this."""
    path = interrupted / "checkpoint.pt"
    seal(path, torch.load(path, weights_only=True) | {"optimiser": {"state": None, "param_groups": [1]}})
    result = ncrun("train", *RUN, "run_dir=run")
    assert (result.status, result.err.count("\n")) == (1, 1)
    assert "does not fit this version's network or optimiser" in result.err


@pytest.mark.parametrize("content", [b"", b"\x80\x02.", b"\x80\x02(", b"\x80\x02K\x01q", b"PK\x03\x04"], ids=repr)
def test_sealed_bytes_that_pytorch_cannot_read(
    content: bytes, interrupted: Path, straight: Path, ncrun: Command, refused: Refused
) -> None:
    write_sealed(interrupted / "checkpoint.pt", content)
    result = ncrun("train", *RUN, "run_dir=run")
    assert (result.status, result.err.count("\n")) == (0, 1)
    assert_completed(interrupted, straight)


@pytest.mark.parametrize("weight", [torch.ones(1, 1), torch.ones(4), torch.ones(2, 3), None], ids=str)
def test_frozen_head_of_another_shape_is_refused(weight: Any, tmp_path: Path) -> None:
    """Where `Tensor.copy_` would repeat a smaller tensor."""
    seal(tmp_path / "checkpoint.pt", {"network": {"head.weights.0": [weight]}})
    with pytest.raises(UserError, match=r"no usable checkpoint.pt there \(expected weights of shape \(2, 4\)"):
        LinearHead((4,), 2, bias=False, orthogonal=False).take_over(tmp_path)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("manifest.json", '"state"', '"stade"'),
        ("manifest.json", '"done"', '"dine"'),
        ("theory.json", '"claim"', '"clain"'),
        ("config.yaml", '"seed": 0', '"seed": [{}]'),
        ("config.yaml", '"model"', '"models"'),
        ("metrics.jsonl", '"epoch": 1', '"epoch": "1"'),
        ("metrics.jsonl", '"loss": 0.5', '"loss": [0.5]'),
        ("metrics.jsonl", '"loss": 0.5', '"loss": 1e999'),
    ],
)
def test_record_with_an_entry_of_another_kind(name: str, old: str, new: str, refused: Refused, workdir: Path) -> None:
    file = write_run(workdir / "run", [{"epoch": 0, "loss": 1.0}, {"epoch": 1, "loss": 0.5}]) / name
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    line = refused("table", "run")
    # A run whose state is unknown is none.
    assert f"run/{name}" in line or (name == "manifest.json" and line == "run: holds no run")


def test_mark_of_more_metrics_than_there_are(tmp_path: Path) -> None:
    """Their hash alone would do, and cutting would fill the file up with zeros."""
    record = RunDirectory(tmp_path, "0123456789")
    record.append({"epoch": 0})
    mark = record.mark()
    assert record.fits(mark)
    assert not record.fits(mark | {"size": mark["size"] + 1})


@pytest.mark.parametrize(
    "typed", ["counts=[{x:1},50]", "counts=[[1],2]", "optimizer.betas=[{x:1},0.9]", "taps=[{x:1}]"]
)
def test_list_of_what_is_no_plain_value(typed: str, refused: Refused) -> None:
    model = "model=ufm" if typed.startswith("counts") else "model=mlp"
    assert refused("theory", model, typed).startswith(typed.split("=")[0])


def test_lock_file_of_brackets(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_bytes(b"[" * 5000)
    lock = Lock(tmp_path)
    lock.take()
    lock.release()


def test_experiment_file_that_is_no_text(workdir: Path, refused: Refused) -> None:
    (workdir / "own" / "experiment").mkdir(parents=True)
    for content in (b"epochs: 3 \xe9", b"epochs: [3", b"a: &a [*a]"):
        (workdir / "own" / "experiment" / "mine.yaml").write_bytes(content)
        refused("theory", "--config-dir", "own", "experiment=mine")


def test_a_run_that_had_only_to_be_closed_keeps_its_state(ncrun: Command, workdir: Path, monkeypatch: Patch) -> None:
    """Killed between its last checkpoint and its end; the rate has dropped by then."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    typed = ["train", *RUN, "optimizer=sgd", "optimizer.lr=1e-2", "schedule.drops=[0.5]"]
    with monkeypatch.context() as patch:
        patch.setattr("ncrun.training.command._finish", killed)
        assert ncrun(*typed, "run_dir=closed").status == 130
    for name in ("closed", "straight"):
        assert ncrun(*typed, f"run_dir={name}").status == 0
    closed, straight = (
        torch.load(io.BytesIO(read_sealed(workdir / name / "checkpoint.pt")), weights_only=True)["optimiser"]
        for name in ("closed", "straight")
    )
    assert closed["param_groups"] == straight["param_groups"]
    assert closed["param_groups"][0]["lr"] == pytest.approx(1e-3)


# ---------------------------------------------------------------- all of it at once


def test_a_little_torture() -> None:
    """scripts/torture.py in short: real processes, real kills, bits compared."""
    script = Path(__file__).parents[1] / "scripts" / "torture.py"
    done = subprocess.run(
        [sys.executable, str(script), "--kills", "10", "--jobs", "1"], capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all survived" in done.stdout
