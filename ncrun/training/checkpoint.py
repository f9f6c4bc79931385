"""Saving a run's whole state and taking it up again."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ncrun.models import FreeFeatures, Network
from ncrun.records.files import write_aside


@dataclass
class Progress:
    """How far a run has come.

    epoch: epochs completed. offset: batches of the next epoch already taken, in this `order` of samples (None: not
    begun). step: optimiser steps. first_losses: each start's objective at the initialisation; failures: of the starts
    that diverged, how. seconds, measuring_seconds: wall time so far, over all sittings.
    """

    epoch: int = 0
    offset: int = 0
    order: Tensor | None = None
    step: int = 0
    first_losses: dict[int, float] = field(default_factory=dict)
    failures: dict[int, str] = field(default_factory=dict)
    seconds: float = 0.0
    measuring_seconds: float = 0.0


def save(
    path: Path,
    network: Network | FreeFeatures,
    optimiser: torch.optim.Optimizer | None,
    generator: torch.Generator | None,
    progress: Progress,
    metrics_sizes: list[int],
) -> None:
    """Write everything that the rest of the run depends on. optimiser, generator: None where nothing more will come."""
    content: dict[str, Any] = {
        "network": network.state_dict(),
        "optimiser": None if optimiser is None else optimiser.state_dict(),
        "generator": None if generator is None else generator.get_state(),
        "random": torch.get_rng_state(),
        "progress": vars(progress),
        "metrics_sizes": metrics_sizes,
        "threads": torch.get_num_threads(),
    }
    write_aside(path, lambda file: torch.save(content, file))


def load(
    path: Path, network: Network | FreeFeatures, optimiser: torch.optim.Optimizer, generator: torch.Generator
) -> tuple[Progress, list[int]]:
    """Put a saved state back; returns how far the run had come and the sizes of its metrics.jsonl then."""
    content = torch.load(path, weights_only=True, map_location="cpu")
    network.load_state_dict(content["network"])
    optimiser.load_state_dict(content["optimiser"])
    generator.set_state(content["generator"])
    torch.set_rng_state(content["random"])
    return Progress(**content["progress"]), content["metrics_sizes"]
