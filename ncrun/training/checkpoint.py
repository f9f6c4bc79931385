"""Saving a run's whole state and taking it up again."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ncrun.models import Network
from ncrun.records.files import write_aside


@dataclass
class Progress:
    """How far a run has come.

    epoch: epochs completed. offset: batches of the next epoch already taken, in this `order` of samples (None: not
    begun). step: optimiser steps. first_loss: the objective at the initialisation. seconds, measuring_seconds: wall
    time so far, over all sittings.
    """

    epoch: int = 0
    offset: int = 0
    order: Tensor | None = None
    step: int = 0
    first_loss: float = 0.0
    seconds: float = 0.0
    measuring_seconds: float = 0.0


def save(
    path: Path,
    network: Network,
    optimiser: torch.optim.Optimizer,
    generator: torch.Generator,
    progress: Progress,
    metrics_size: int,
) -> None:
    """Write everything that the rest of the run depends on."""
    content: dict[str, Any] = {
        "network": network.state_dict(),
        "optimiser": optimiser.state_dict(),
        "generator": generator.get_state(),
        "random": torch.get_rng_state(),
        "progress": vars(progress),
        "metrics_size": metrics_size,
        "threads": torch.get_num_threads(),
    }
    write_aside(path, lambda file: torch.save(content, file))


def load(
    path: Path, network: Network, optimiser: torch.optim.Optimizer, generator: torch.Generator
) -> tuple[Progress, int]:
    """Put a saved state back; returns how far the run had come and the size of metrics.jsonl then."""
    content = torch.load(path, weights_only=True, map_location="cpu")
    network.load_state_dict(content["network"])
    optimiser.load_state_dict(content["optimiser"])
    generator.set_state(content["generator"])
    torch.set_rng_state(content["random"])
    return Progress(**content["progress"]), content["metrics_size"]
