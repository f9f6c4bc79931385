"""Experiments in a folder of the user's own, small enough to be trained and drawn in seconds."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from ncrun.engines.workers import Ended
from ncrun.run import Job, Run
from ncrun.training.runs import train

Tree = dict[str, Any]
NETWORK: Tree = {"model": {"depth": 1, "width": 8}, "epochs": 4, "threads": 1}
UNEQUAL = [3, 3, 4, 4, 5, 5, 6, 6, 7, 7]
# A drawing of seconds in all, where experiments of the papers have many.
QUICK: Tree = {"figures": ["convergence"]}


def write_experiment(folder: Path, name: str, tree: Tree, grid: Tree | None = None, recipe: Tree | None = None) -> None:
    """FOLDER/experiment/NAME.yaml, and FOLDER/lab.py, which brings the folder in by --extend.

    grid: values as typed after -m.
    """
    path = folder / "experiment" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = {"name": name.replace("/", "-")} | tree | {"recipe": recipe or {}}
    if grid:
        whole["hydra"] = {"sweeper": {"params": grid}}
    path.write_text(f"# @package _global_\n{json.dumps(whole)}\n")  # JSON is YAML
    (folder / "lab.py").write_text("")


@pytest.fixture
def trained_here(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """What `ncrun figures` trains, in its order: in this process, one after the other, because starting torch anew
    takes seconds."""
    seen: list[Run] = []

    def one_by_one(jobs: Sequence[Job], places: object, ended: Callable[[int, Ended], None]) -> None:
        for index, job in enumerate(jobs):
            seen.extend(job.runs)
            ended(index, Ended(train([job], quiet=True), 0.0))

    monkeypatch.setattr("ncrun.commands.figures.train_in_workers", one_by_one)
    return seen
