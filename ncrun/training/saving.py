"""Where the state of the starts that train together is kept: in one checkpoint, or in one for each."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ncrun.config import RunConfig
from ncrun.models import FreeFeatures, Network
from ncrun.training import checkpoint
from ncrun.training.checkpoint import Progress
from ncrun.training.optimisers import build_optimiser


class CommonCheckpoint:
    """One file for all starts."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def exists(self) -> bool:
        return self.path.is_file()

    def save(
        self,
        network: Network | FreeFeatures,
        optimiser: torch.optim.Optimizer,
        generator: torch.Generator,
        progress: Progress,
        sizes: list[int],
    ) -> None:
        """See ncrun.training.checkpoint.save."""
        checkpoint.save(self.path, network, optimiser, generator, progress, sizes)

    def load(
        self, network: Network | FreeFeatures, optimiser: torch.optim.Optimizer, generator: torch.Generator
    ) -> tuple[Progress, list[int]]:
        """See ncrun.training.checkpoint.load."""
        return checkpoint.load(self.path, network, optimiser, generator)


class OwnCheckpoints:
    """One file for each start, as it would have by itself: each can be continued alone or with the others."""

    def __init__(self, runs: Sequence[RunConfig], paths: Sequence[Path]) -> None:
        self.runs, self.paths = runs, paths

    def exists(self) -> bool:
        return all(path.is_file() for path in self.paths)

    def save(
        self,
        network: Network | FreeFeatures,
        optimiser: torch.optim.Optimizer,
        generator: torch.Generator,
        progress: Progress,
        sizes: list[int],
    ) -> None:
        """Of every start that has not diverged. (Full batches draw nothing from the generator.)"""
        for index, (run, path) in enumerate(zip(self.runs, self.paths, strict=True)):
            if index in progress.failures:
                continue
            start = network.member(index)
            own = build_optimiser([run], start)
            own.load_state_dict(_state_of_start(optimiser, index))
            where = replace(progress, first_losses={0: progress.first_losses[index]}, failures={})
            checkpoint.save(path, start, own, torch.Generator().manual_seed(run.seed), where, [sizes[index]])

    def load(
        self, network: Network | FreeFeatures, optimiser: torch.optim.Optimizer, generator: torch.Generator
    ) -> tuple[Progress, list[int]]:
        """All starts have to be at the same step."""
        own, found = [], []
        for index, (run, path) in enumerate(zip(self.runs, self.paths, strict=True)):
            start = network.member(index)
            own.append(build_optimiser([run], start))
            found.append(checkpoint.load(path, start, own[-1], generator))
        (first, _), *others = found
        assert all(progress.step == first.step for progress, _ in others)
        _join_states(optimiser, own)
        first_losses = {index: progress.first_losses[0] for index, (progress, _) in enumerate(found)}
        seconds = max(progress.seconds for progress, _ in found)
        return replace(first, first_losses=first_losses, seconds=seconds), [size for _, (size,) in found]


def _state_of_start(optimiser: torch.optim.Optimizer, index: int) -> dict[str, Any]:
    """What a start's optimiser would hold if it had trained by itself."""
    whole = optimiser.state_dict()
    group = [group for group in whole["param_groups"] if group["first"] <= index][-1]
    here = index - group["first"]

    def part(value: Any) -> Any:  # counts of steps have no dimension and are common
        return value[here : here + 1].clone() if isinstance(value, torch.Tensor) and value.dim() else value

    states = [whole["state"].get(number) for number in group["params"]]
    return {
        "state": {n: {key: part(value) for key, value in state.items()} for n, state in enumerate(states) if state},
        "param_groups": [{**group, "params": list(range(len(states))), "first": 0}],
    }


def _join_states(optimiser: torch.optim.Optimizer, own: Sequence[torch.optim.Optimizer]) -> None:
    """The inverse for all starts at once."""
    whole = optimiser.state_dict()
    starts = [each.state_dict()["state"] for each in own]
    firsts = [*(group["first"] for group in whole["param_groups"]), len(own)]
    for group, last in zip(whole["param_groups"], firsts[1:], strict=True):
        here = starts[group["first"] : last]
        for n, number in enumerate(group["params"]):
            if n in here[0]:
                whole["state"][number] = {key: _joined([state[n][key] for state in here]) for key in here[0][n]}
    optimiser.load_state_dict(whole)


def _joined(values: Sequence[Any]) -> Any:
    first = values[0]
    return torch.cat(list(values)) if isinstance(first, torch.Tensor) and first.dim() else first


def saved_step(path: Path) -> int:
    """The optimiser steps at which a run's checkpoint was written; 0 where there is none."""
    if not path.is_file():
        return 0
    return int(torch.load(path, weights_only=True, map_location="cpu")["progress"]["step"])
