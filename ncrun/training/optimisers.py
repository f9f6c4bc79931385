"""PyTorch's optimisers by name. Decay is a term of the objective, never theirs."""

from collections.abc import Iterable

import torch
from torch import nn

from ncrun.config import AdamConfig, SGDConfig


def build_optimiser(config: AdamConfig | SGDConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimiser that a configuration names."""
    if isinstance(config, SGDConfig):
        return torch.optim.SGD(parameters, lr=config.lr, momentum=config.momentum)
    # The fused kernel does the same arithmetic in one pass over the parameters.
    return torch.optim.Adam(parameters, lr=config.lr, betas=(config.betas[0], config.betas[1]), fused=True)
