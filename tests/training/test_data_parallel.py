"""Processes that train one run together, on the CPU: against one process, and what becomes of all where one ends."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import PATIENCE_S, Command, at_call, rows, run_command, state
from own_files import folder, write_images
from torch import multiprocessing

from ncrun.models.saved import load_sealed

SHORT = ("epochs=3", "model.width=16", "threads=1", "dtype=float64", "counts=[9,9,9,9,9,9,9,9,9,9]", "batch_size=20")
# Sums of some dozen float64 numbers in another order differ by 1e-15 of their size; Adam divides gradients by their own
# size, and a class that has no margin makes small numbers of large ones.
OTHER_ORDER = 1e-9

Act = Callable[[int], None]

# Python 3.12 and later say it of every fork while there are threads; these processes use none of them.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


def on_ranks(typed: tuple[str, ...], port: int, into: Path, act: Act | None, rank: int) -> None:
    """One of two processes, started as torchrun starts them; what it answers is left in a file."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.chdir(into)
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ncrun.training.ending.draw", lambda records: True)
        if act is not None:
            at_call(patch, torch.optim.Adam, "step", 7, lambda: act(rank))
        found = run_command("train", *typed)
    (into / f"answer-{rank}.json").write_text(json.dumps(vars(found)))


def two_ranks(into: Path, *typed: str, act: Act | None = None) -> list[dict[str, Any]]:
    """What both have answered, if they could. act: what each does at its seventh step."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    given = [context.Process(target=on_ranks, args=(typed, port, into, act, rank)) for rank in (0, 1)]
    for process in given:
        process.start()
    for process in given:
        process.join(PATIENCE_S)
        assert process.exitcode is not None
    files = [into / f"answer-{rank}.json" for rank in (0, 1)]
    return [json.loads(file.read_text()) if file.is_file() else {} for file in files]


def assert_close(one: Path, other: Path) -> None:
    for mine, theirs in zip(rows(one), rows(other), strict=True):
        assert mine.keys() == theirs.keys()
        assert [key for key in mine if mine[key] is None] == [key for key in theirs if theirs[key] is None]
        for key, value in ((key, value) for key, value in mine.items() if value is not None):
            assert theirs[key] == pytest.approx(value, rel=OTHER_ORDER, abs=OTHER_ORDER), key
    networks = [load_sealed(path / "checkpoint.pt")["network"] for path in (one, other)]
    for name, value in networks[0].items():
        assert torch.allclose(value, networks[1][name], rtol=OTHER_ORDER, atol=OTHER_ORDER), name


CASES = {
    "held": ("augment=[crop,flip]", "head.depth=2", "head.bias=true"),
    "norms": ("model.batch_norm=true", "freeze_norm=0.6"),
    "full": ("batch_size=full", "decay.mode=parameters", "loss=ce"),
}


@pytest.mark.parametrize("name", ["held", "norms", pytest.param("full", marks=pytest.mark.slow)])
@pytest.mark.usefixtures("undrawn")
def test_two_ranks_equal_one_process(name: str, ncrun: Command, workdir: Path) -> None:
    """The first alone speaks and keeps the records, which either continues."""
    typed = (*SHORT, *CASES[name])
    assert ncrun("train", *typed, "run_dir=one").status == 0
    first, second = two_ranks(workdir, *typed, "run_dir=two")
    assert (first["status"], first["err"], second) == (0, "", {"status": 0, "out": "", "err": ""})
    assert_close(workdir / "one", workdir / "two")
    assert json.loads((workdir / "two" / "manifest.json").read_text())["ranks"] == 2


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_streamed_ranks_end_by_a_signal_to_one_and_continue(ncrun: Command, workdir: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "train", (13, 11, 9))
    write_images(tmp_path / "test", (4, 3, 2))
    typed = (*folder(tmp_path), *SHORT[:-2], "batch_size=6", "stream_workers=0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert ncrun("train", *typed, "run_dir=one").status == 0

        def stop(rank: int) -> None:
            if rank == 1:
                os.kill(os.getpid(), signal.SIGUSR2)

        first, second = two_ranks(workdir, *typed, "stream=true", "run_dir=two", act=stop)
        assert (first["status"], second["status"]) == (128 + signal.SIGTERM, 128 + signal.SIGUSR2)
        assert first["err"] == "two: interrupted; the same command continues it\n"
        assert load_sealed(workdir / "two" / "checkpoint.pt")["progress"]["step"] == 7
        first, _ = two_ranks(workdir, *typed, "stream=true", "run_dir=two")
    assert (first["status"], first["err"]) == (0, "")
    assert_close(workdir / "one", workdir / "two")


def _fail(rank: int) -> None:
    if rank == 1:
        raise MemoryError


def _die(rank: int) -> None:
    if rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (_fail, "rank 1: out of memory; try a smaller batch_size"),
        pytest.param(_die, "another rank has ended without a message", marks=pytest.mark.slow),
    ],
)
def test_a_rank_that_fails_ends_all_in_one_line(act: Act, said: str, workdir: Path) -> None:
    first, second = two_ranks(workdir, *SHORT, "run_dir=run", act=act)
    assert (first["status"], second.get("status", 1)) == (1, 1)
    assert first["err"].startswith(f"ncrun: run: {said}")
    assert first["err"].count("\n") == 1
    assert second.get("err", "") == ""
    assert state(workdir / "run") == "failed"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("finish=lbfgs",), "2 ranks of torchrun cannot train finish=lbfgs"),
        pytest.param(("batch_size=1",), "2 ranks of torchrun cannot train batches of 1", marks=pytest.mark.slow),
        pytest.param(("epochs=0",), "epochs=0: must be from 1", marks=pytest.mark.slow),
        pytest.param(("seed=0,1", "-m"), "-m: has no effect in a process that torchrun", marks=pytest.mark.slow),
    ],
)
def test_what_ranks_do_not_train(typed: tuple[str, ...], said: str, workdir: Path) -> None:
    """Said by the first alone, before anything is written."""
    first, second = two_ranks(workdir, *typed[1:], *SHORT, *typed[:1])
    assert (first["status"], second["status"]) == (2, 2)
    assert first["err"].startswith(f"ncrun: {said}")
    assert (first["err"].count("\n"), second["err"]) == (1, "")
    assert not (workdir / "runs").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_torchrun(ncrun: Command, workdir: Path) -> None:
    assert ncrun("train", *SHORT, "run_dir=one").status == 0
    command = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", "-m", "ncrun", "train"]
    ended = subprocess.run([sys.executable, *command, *SHORT, "run_dir=two"], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert_close(workdir / "one", workdir / "two")
