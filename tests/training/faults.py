"""Runs to break, and how to break them, for the tests of this folder."""

import itertools
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY, Command, at_call, contents, rows, state

from ncrun.training.evaluate import Evaluator

RUN = (*TINY, "epochs=4", "batch_size=13")  # 60 samples: five steps an epoch
Patch = pytest.MonkeyPatch


def manifest(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "manifest.json").read_text())


def weights(directory: Path) -> dict[str, torch.Tensor]:
    return torch.load(directory / "checkpoint.pt", weights_only=True)["network"]


def an_interrupted_run(ncrun: Command, workdir: Path, monkeypatch: Patch) -> Path:
    """A run that was stopped while its second epoch was measured, with a checkpoint at every step: the newest knows one
    row of metrics.jsonl more than the one before it."""
    with monkeypatch.context() as patch:
        patch.setattr("ncrun.training.loop.CHECKPOINT_SECONDS", 0.0)
        at_call(patch, Evaluator, "__call__", 3, lambda: signal.raise_signal(signal.SIGTERM))
        assert ncrun("train", *RUN, "run_dir=run").status == 128 + signal.SIGTERM
    assert [row["epoch"] for row in rows(workdir / "run")] == [0, 1, 2]
    return workdir / "run"


def a_straight_run(ncrun: Command, workdir: Path) -> Path:
    assert ncrun("train", *RUN, "run_dir=straight").status == 0
    return workdir / "straight"


def assert_completed(directory: Path, straight: Path) -> None:
    assert state(directory) == "done"
    assert rows(directory) == rows(straight)
    ours, theirs = weights(directory), weights(straight)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert set(contents(directory)) == set(contents(straight))  # nothing else is left behind
    assert contents(directory)["snapshots.npz"] == contents(straight)["snapshots.npz"]


def fill_disk(patch: Patch, name: str, number: int, code: int) -> None:
    """From the n-th time on, files whose name contains this cannot be written."""
    calls, opened = itertools.count(1), Path.open

    def failing(self: Path, mode: str = "r", *rest: Any, **more: Any) -> Any:
        if name in self.name and mode in ("wb", "ab") and next(calls) >= number:
            raise OSError(code, os.strerror(code))
        return opened(self, mode, *rest, **more)

    patch.setattr(Path, "open", failing)
