"""The network of a recorded run, built again to take its weights. Nothing is executed because a record names it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ncrun.models import MODELS
from ncrun.models.build import build
from ncrun.models.free_model import FreeFeatures
from ncrun.models.network import Network
from ncrun.problem import Problem


def rebuilt(
    model: Mapping[str, Any],
    problem: Problem,
    image_shape: tuple[int, int, int] | None,
    file: Path | None = None,
    sha256: str | None = None,
) -> Network | FreeFeatures:
    """The network of a run, with weights of no meaning; torch's random state is left alone."""
    spec = type(MODELS[str(model["name"])])(**model)
    with torch.random.fork_rng(devices=[]):
        return build(spec, problem, image_shape, [0])
