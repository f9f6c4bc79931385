"""The checkpoints of runs that train together: one for each, as it would have by itself, so that each can be continued
alone or with others."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from ncrun.config import RunConfig
from ncrun.models.free_model import FreeFeatures
from ncrun.models.network import Network
from ncrun.training.checkpoint import Checkpoints, Progress
from ncrun.training.optimisers import build_optimiser


class OwnCheckpoints:
    """As ncrun.training.checkpoint.Checkpoints, of several runs that live in one network."""

    def __init__(self, runs: Sequence[RunConfig], checkpoints: Sequence[Checkpoints]) -> None:
        """checkpoints: of each run, found at the same step."""
        self._runs, self._checkpoints = runs, checkpoints

    def restore(
        self, network: Network | FreeFeatures, optimiser: torch.optim.Optimizer, generator: torch.Generator
    ) -> Progress:
        """Put what was found back. Raises DoesNotFit."""
        own, found = [], []
        for index, (run, checkpoints) in enumerate(zip(self._runs, self._checkpoints, strict=True)):
            start = network.member(index)
            own.append(build_optimiser([run], start))
            found.append(checkpoints.restore(start, own[-1], generator))
        first, *others = found
        assert all(progress.step == first.step for progress in others)
        _join_states(optimiser, own)
        first_losses = {
            index: progress.first_losses[0] for index, progress in enumerate(found) if progress.first_losses
        }
        return replace(first, first_losses=first_losses, seconds=max(progress.seconds for progress in found))

    def save(
        self,
        network: Network | FreeFeatures,
        optimiser: torch.optim.Optimizer,
        generator: torch.Generator,
        progress: Progress,
    ) -> None:
        """Of every run that has not diverged. (Full batches draw nothing from the generator.)"""
        for index, (run, checkpoints) in enumerate(zip(self._runs, self._checkpoints, strict=True)):
            if index in progress.failures:
                continue
            start = network.member(index)
            own = build_optimiser([run], start)
            own.load_state_dict(_state_of_start(optimiser, index))
            where = replace(progress, first_losses={0: progress.first_losses[index]}, failures={})
            checkpoints.save(start, own, torch.Generator().manual_seed(run.seed), where)


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
        group["lr"] = float(own[group["first"]].param_groups[0]["lr"])
        here = starts[group["first"] : last]
        for n, number in enumerate(group["params"]):
            if n in here[0]:
                whole["state"][number] = {key: _joined([state[n][key] for state in here]) for key in here[0][n]}
    optimiser.load_state_dict(whole)


def _joined(values: Sequence[Any]) -> Any:
    first = values[0]
    return torch.cat(list(values)) if isinstance(first, torch.Tensor) and first.dim() else first
