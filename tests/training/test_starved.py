"""Runs left without disk, data or memory, and numbers that are none."""

import errno
import gc
import itertools
import os
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY, Command, Refused, rows, state
from faults import RUN, Patch, a_straight_run, assert_completed, at_call, fill_disk, manifest, weights

from ncrun.models.free_gradient import FreeGradient
from ncrun.records.files import read_sealed
from ncrun.training.display import Display
from ncrun.training.evaluate import Evaluator
from ncrun.training.gradients import NetworkGradient

pytestmark = pytest.mark.usefixtures("undrawn")
straight = pytest.fixture(a_straight_run)


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
    assert result.err.startswith(f"ncrun: run: cannot continue: {os.strerror(code)} (")
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
    def full(directory: Path) -> None:
        raise MemoryError("no room\nfor a picture")

    monkeypatch.undo()
    monkeypatch.chdir(workdir)
    monkeypatch.setattr("ncrun.figures.curves.write_curves", full)
    result = ncrun("train", *RUN, "run_dir=run")
    assert result.status == 1
    why = "MemoryError: no room for a picture"
    assert result.err == f"ncrun: run: curves.png was not drawn ({why}); the run itself is complete\n"
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
    owner = NetworkGradient if typed is RUN else FreeGradient
    at_call(monkeypatch, owner, "__call__", 7, allocate)
    result = ncrun("train", *typed, "run_dir=run")
    assert (result.status, result.out, result.err.count("\n")) == (1, "", 1)
    assert result.err.startswith(f"ncrun: run: out of memory; try a smaller {advice}")
    assert state(workdir / "run") == "failed"
    assert len(rows(workdir / "run")) > 0


@pytest.mark.parametrize("typed", [TINY, ("model=ufm", "counts=[4,2]", "model.width=4", "optimizer=sgd")])
def test_memory_does_not_grow_with_epochs(
    typed: tuple[str, ...], ncrun: Command, workdir: Path, monkeypatch: Patch
) -> None:
    """The median over four windows of 100 epochs, since what leaks grows in each of them, and what happens once (a
    cache filled, the first checkpoint, whose time the machine's load decides) in one. Python's own: at most 30 kB,
    300 bytes an epoch, of which caches and the clock's digits take 50 to 170; a kept row would be 800, the loss of a
    step with its graph 10 kB. Of the whole process: 2 MB, allocators' slack.
    """
    found: list[tuple[int, int]] = []

    def look(self: Display, epoch: int, row: dict[str, Any] | None) -> None:
        if epoch % 100 == 0 and epoch > 0:
            resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            gc.collect()
            found.append((tracemalloc.get_traced_memory()[0], resident))

    monkeypatch.setattr(Display, "__call__", look)
    monkeypatch.setattr("ncrun.training.loop.CHECKPOINT_SECONDS", 0.5)
    tracemalloc.start()
    try:
        assert ncrun("train", *typed, "epochs=500", "measure=5", "batch_size=full", "run_dir=run").status == 0
    finally:
        tracemalloc.stop()
    assert len(found) == 5
    traced, resident = np.median(np.diff(found, axis=0), axis=0)
    assert traced < 30_000
    assert resident < 2_000_000


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
    found = [file.parent for file in (workdir / "run").rglob("manifest.json")]
    assert (result.status, result.err.count("\n")) == (1, len(found))
    assert "diverged: the parameters are not finite after step " in result.err
    assert "with learning rate 1e+08; try optimizer.lr=1e+07" in result.err
    for folder in found:
        assert all(tensor.isfinite().all() for tensor in weights(folder).values())
        read_sealed(folder / "checkpoint.pt")


@pytest.mark.parametrize("restarts", [[], ["restarts=3"]], ids=["one", "restarts"])
def test_when_divergence_is_noticed_does_not_depend_on_the_clock(
    restarts: list[str], ncrun: Command, workdir: Path, monkeypatch: Patch
) -> None:
    """Neither on how often a checkpoint was due, nor on how many sittings there were."""
    typed = ["model=ufm", "counts=[4,2]", "model.width=4", "optimizer=sgd", "optimizer.lr=1e8", "measure=5000"]
    reasons = []
    for number, seconds in enumerate((0.0, 1e9)):
        monkeypatch.setattr("ncrun.training.loop.CHECKPOINT_SECONDS", seconds)
        with monkeypatch.context() as patch:
            if seconds == 0:
                at_call(patch, FreeGradient, "__call__", 60, lambda: signal.raise_signal(signal.SIGINT))
                assert ncrun("train", *typed, *restarts, "run_dir=0").status == 128 + signal.SIGINT
        assert ncrun("train", *typed, *restarts, f"run_dir={number}").status == 1
        found = sorted((workdir / str(number)).rglob("manifest.json"))
        reasons.append([manifest(file.parent)["reason"] for file in found])
    assert reasons[0] == reasons[1]
    assert all("after step 100 (epoch 99)" in reason for reason in reasons[0])


@pytest.mark.parametrize("value", [float("nan"), [0.5, float("inf")]])
def test_metric_that_is_no_number_ends_a_run(value: Any, ncrun: Command, workdir: Path, monkeypatch: Patch) -> None:
    measure, calls = Evaluator.__call__, itertools.count(1)

    def broken(self: Evaluator, *rest: Any) -> dict[str, Any]:
        return measure(self, *rest) | ({"nc1": value} if next(calls) == 3 else {})

    monkeypatch.setattr(Evaluator, "__call__", broken)
    result = ncrun("train", *RUN, "run_dir=run")
    assert (result.status, result.err.count("\n")) == (1, 1)
    assert result.err.startswith("ncrun: run: diverged: nc1 is ")
    assert "after step 10 (epoch 2) with learning rate 0.001; try optimizer.lr=0.0001" in result.err
    assert [row["epoch"] for row in rows(workdir / "run")] == [0, 1]
