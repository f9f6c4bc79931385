"""Experiments in a folder of the user's own, small enough to be trained and drawn in seconds."""

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import run_command

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
def trained_here(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The command lines of what `ncrun figures` trains, in their order: in this process, one after the other, because
    starting torch anew takes seconds."""
    seen: list[list[str]] = []

    def one_by_one(commands: list[list[str]], at_once: int, ended: Any, quiet: bool) -> None:
        for index, command in enumerate(commands):
            seen.append(command)
            ended(index, run_command(*command).status, 0.0, range(index + 1, len(commands)))

    monkeypatch.setattr("ncrun.commands.figures.run_side_by_side", one_by_one)
    return seen
