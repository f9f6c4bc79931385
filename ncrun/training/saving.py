"""The checkpoints of the runs of one program: each run has its own, as if trained alone, so that it can continue alone
or with others."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from ncrun.models.free_model import FreeFeatures
from ncrun.models.network import Network
from ncrun.training.checkpoint import Checkpoints, Progress
from ncrun.training.optimisers import StepRule, build_optimiser


class Saving:
    """Restores and saves all runs of a network. seeds, checkpoints: of each run; the checkpoints are at the same
    position. diverged: the reasons of runs that diverged in an earlier process; these only keep their place."""

    def __init__(
        self,
        network: Network | FreeFeatures,
        optimiser: torch.optim.Optimizer,
        generator: torch.Generator,
        rules: Sequence[StepRule],
        seeds: Sequence[int],
        checkpoints: Sequence[Checkpoints],
        diverged: Mapping[int, str],
    ) -> None:
        self._network, self._optimiser, self._generator = network, optimiser, generator
        self._rules, self._seeds, self._checkpoints = rules, seeds, checkpoints
        self._diverged = dict(diverged)

    def restore(self) -> Progress:
        """Restores the found state. Raises DoesNotFit."""
        if len(self._seeds) == 1:
            return self._checkpoints[0].restore(self._network, self._optimiser, self._generator)
        found: dict[int, Progress] = {}
        states: list[dict[str, Any] | None] = [None] * len(self._seeds)
        for index, checkpoints in enumerate(self._checkpoints):
            if index not in self._diverged:
                run = self._network.of_run(index)
                own = build_optimiser([self._rules[index]], run)
                found[index] = checkpoints.restore(run, own, self._generator)
                states[index] = own.state_dict()
        first = next(iter(found.values()))
        assert all((each.epoch, each.offset) == (first.epoch, first.offset) for each in found.values())
        _join(self._optimiser, states)
        first_losses = {index: each.first_losses[0] for index, each in found.items() if each.first_losses}
        seconds = max(progress.seconds for progress in found.values())
        return replace(first, first_losses=first_losses, failures=self._diverged, seconds=seconds)

    def save(self, progress: Progress) -> None:
        """Saves every run that has not diverged."""
        several = len(self._seeds) > 1
        for index, (seed, checkpoints) in enumerate(zip(self._seeds, self._checkpoints, strict=True)):
            if index in progress.failures:
                continue
            where, generator, random = progress, self._generator.get_state(), torch.get_rng_state()
            if several:  # full batches draw from neither, so both are still in the state after seeding
                where = replace(progress, first_losses={0: progress.first_losses[index]}, failures={})
                generator = random = torch.Generator().manual_seed(seed).get_state()
            optimiser = _part(self._optimiser, index) if several else self._optimiser.state_dict()
            checkpoints.save(self._network.of_run(index), optimiser, generator, random, where)


def _part(optimiser: torch.optim.Optimizer, index: int) -> dict[str, Any]:
    """The state of a run's optimiser as if it had trained alone."""
    whole = optimiser.state_dict()
    group = [group for group in whole["param_groups"] if group["first"] <= index][-1]
    here = index - group["first"]

    def part(value: Any) -> Any:  # numbers of steps have no dimension and are shared
        return value[here : here + 1].clone() if isinstance(value, torch.Tensor) and value.dim() else value

    states = [whole["state"].get(number) for number in group["params"]]
    return {
        "state": {n: {key: part(value) for key, value in state.items()} for n, state in enumerate(states) if state},
        "param_groups": [{**group, "params": list(range(len(states))), "first": 0}],
    }


def _join(optimiser: torch.optim.Optimizer, states: Sequence[dict[str, Any] | None]) -> None:
    """The inverse for all runs at once; None: a diverged run, whose state does not matter."""
    whole = optimiser.state_dict()
    firsts = [*(group["first"] for group in whole["param_groups"]), len(states)]
    for group, last in zip(whole["param_groups"], firsts[1:], strict=True):
        of_group = states[group["first"] : last]
        known = next((state for state in of_group if state is not None), None)
        if known is None:
            continue
        group["lr"] = float(known["param_groups"][0]["lr"])
        for n, number in enumerate(group["params"]):
            if n in known["state"]:
                here = [(known if state is None else state)["state"][n] for state in of_group]
                whole["state"][number] = {key: _joined([each[key] for each in here]) for key in here[0]}
    optimiser.load_state_dict(whole)


def _joined(values: Sequence[Any]) -> Any:
    """Stacked; or the first, if they have no dimension and are shared."""
    first = values[0]
    return torch.cat(list(values)) if isinstance(first, torch.Tensor) and first.dim() else first
