"""PyTorch's optimisers by name. Decay is a term of the objective, never theirs."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from ncrun.config import AdamConfig, RunConfig, SGDConfig
from ncrun.models.free_model import FreeFeatures
from ncrun.models.network import Network


def build_optimiser(runs: Sequence[RunConfig], network: Network | FreeFeatures) -> torch.optim.Optimizer:
    """The optimiser of the starts that live in a network, whose configurations differ at most in their learning rate.

    Neighbouring starts with the same rate are one group of parameters; its "first" is the number of its first start.
    """
    config = runs[0].optimizer
    groups: list[dict[str, Any]] = []
    first = 0
    for rate, members in groupby(map(base_rate, runs)):
        last = first + len(list(members))
        parameters = list(network.parameters()) if len(runs) == 1 else _of_starts(network, first, last)
        # A captured step reads its rate from the device, where it may change.
        on_device = runs[0].cuda_graphs
        lr = torch.tensor(rate, device=parameters[0].device) if on_device else rate
        groups.append({"params": parameters, "lr": lr, "first": first})
        first = last
    # The fused kernels do the same arithmetic in one pass over the parameters.
    optimiser: torch.optim.Optimizer
    if isinstance(config, SGDConfig):
        optimiser = torch.optim.SGD(groups, momentum=config.momentum, fused=True)
    else:
        assert isinstance(config, AdamConfig)
        betas = (config.betas[0], config.betas[1])
        optimiser = torch.optim.Adam(groups, betas=betas, fused=True, capturable=runs[0].cuda_graphs)
    kept: list[dict[str, Any]] = [
        {key: group[key] for key in ("lr", "capturable") if key in group} for group in optimiser.param_groups
    ]

    def restore(loaded: torch.optim.Optimizer) -> None:
        for group, own in zip(loaded.param_groups, kept, strict=True):
            rate = float(group["lr"])
            group.update(own)
            _set_rate(group, rate)

    # A checkpoint may come from a sitting with or without CUDA graphs: where the rate lies is this one's business.
    optimiser.register_load_state_dict_post_hook(restore)
    return optimiser


def base_rate(run: RunConfig) -> float:
    """The learning rate before any drop."""
    assert isinstance(run.optimizer, AdamConfig | SGDConfig)
    return run.optimizer.lr


def _of_starts(network: Network | FreeFeatures, first: int, last: int) -> list[nn.Parameter]:
    """The parameters of some of the starts, and their gradients, on the same memory."""
    found = []
    for parameter in network.parameters():
        assert parameter.grad is not None  # free features write their gradients to one place
        part = nn.Parameter(parameter.data[first:last])
        part.grad = parameter.grad[first:last]
        found.append(part)
    return found


def set_rates(optimiser: torch.optim.Optimizer, rates: Sequence[float]) -> None:
    """rates: each start's."""
    for group in optimiser.param_groups:
        _set_rate(group, rates[group["first"]])


def _set_rate(group: dict[str, Any], rate: float) -> None:
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate
