"""PyTorch's optimisers by name. Decay is a term of the objective, never theirs."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from ncrun.models.free_model import FreeFeatures
from ncrun.models.network import Network
from ncrun.run import SGD, Adam, Optimizer


@dataclass(frozen=True)
class StepRule:
    """A run's optimiser settings. lr: the rate before any drop. momentum: of SGD; betas: of Adam, else None. on_device:
    whether the rate is on the device, where a recorded step reads it."""

    lr: float
    momentum: float = 0.0
    betas: tuple[float, float] | None = None
    on_device: bool = False

    @staticmethod
    def of(optimizer: Optimizer, on_device: bool = False) -> "StepRule":
        if isinstance(optimizer, SGD):
            return StepRule(optimizer.lr, optimizer.momentum, None, on_device)
        assert isinstance(optimizer, Adam)
        return StepRule(optimizer.lr, 0.0, (optimizer.betas[0], optimizer.betas[1]), on_device)


def build_optimiser(rules: Sequence[StepRule], network: Network | FreeFeatures) -> torch.optim.Optimizer:
    """The optimiser of the runs in a network, which differ at most in their learning rate.

    Neighbours with the same rate are one group of parameters; its "first" is the number of its first run.
    """
    one = rules[0]
    groups: list[dict[str, Any]] = []
    first = 0
    for rate, members in groupby(rule.lr for rule in rules):
        last = first + len(list(members))
        parameters = list(network.parameters()) if len(rules) == 1 else _of_runs(network, first, last)
        lr = torch.tensor(rate, device=parameters[0].device) if one.on_device else rate
        groups.append({"params": parameters, "lr": lr, "first": first})
        first = last
    _leave_the_compiler_alone()
    # The fused kernels do the same arithmetic in one pass over the parameters.
    optimiser: torch.optim.Optimizer
    if one.betas is None:
        optimiser = torch.optim.SGD(groups, momentum=one.momentum, fused=True)
    else:
        optimiser = torch.optim.Adam(groups, betas=one.betas, fused=True, capturable=one.on_device)
    kept: list[dict[str, Any]] = [
        {key: group[key] for key in ("lr", "capturable") if key in group} for group in optimiser.param_groups
    ]

    def restore(loaded: torch.optim.Optimizer) -> None:
        for group, own in zip(loaded.param_groups, kept, strict=True):
            rate = float(group["lr"])
            group.update(own)
            _set_rate(group, rate)

    # A checkpoint may come from a process with or without CUDA graphs; this process decides where the rate is stored.
    optimiser.register_load_state_dict_post_hook(restore)
    return optimiser


def plain_step(optimiser: torch.optim.Optimizer) -> Callable[[], None]:
    """optimiser.step without PyTorch's wrappers for hooks, which are not used here, and for its compiler, whose import
    at the first step takes a second or more. The arithmetic is the same."""
    step = inspect.unwrap(type(optimiser).step)

    def take() -> None:
        with torch.no_grad():
            step(optimiser)

    return take


def _leave_the_compiler_alone() -> None:
    """PyTorch marks these methods of every optimiser as not to be compiled, and imports its compiler for that at the
    first call. No optimiser is compiled here, so the mark is replaced by the method itself. The mark is an internal
    name of PyTorch: with another name a run only starts a second later."""
    optimizer = torch.optim.Optimizer
    for method in (optimizer.add_param_group, optimizer.zero_grad, optimizer.state_dict, optimizer.load_state_dict):
        plain = getattr(method, "__wrapped__", None)
        if plain is not None and not hasattr(plain, "__dynamo_disable"):
            plain.__dynamo_disable = plain


def _of_runs(network: Network | FreeFeatures, first: int, last: int) -> list[nn.Parameter]:
    """The parameters of some of the runs and their gradients, sharing memory."""
    found = []
    for parameter in network.parameters():
        assert parameter.grad is not None  # free features write their gradients to one place
        part = nn.Parameter(parameter.data[first:last])
        part.grad = parameter.grad[first:last]
        found.append(part)
    return found


def set_rates(optimiser: torch.optim.Optimizer, rates: Sequence[float]) -> None:
    """rates: of each run."""
    for group in optimiser.param_groups:
        _set_rate(group, rates[group["first"]])


def _set_rate(group: dict[str, Any], rate: float) -> None:
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate
