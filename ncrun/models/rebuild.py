"""Builds the network of a recorded run again, for its weights. A record never makes ncrun import code."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ncrun.errors import UserError
from ncrun.models import MODELS
from ncrun.models.build import build
from ncrun.models.free_model import FreeFeatures
from ncrun.models.network import Network
from ncrun.models.own.spec import Module
from ncrun.problem import Problem


def rebuilt(
    model: Mapping[str, Any],
    problem: Problem,
    image_shape: tuple[int, int, int] | None,
    file: Path | None = None,
    sha256: str | None = None,
) -> Network | FreeFeatures:
    """The network of a run, with arbitrary weights; torch's random state does not change.

    model: the node `model` of its config.yaml. file: the caller's file for model=module; sha256: its digest in the
    manifest (entry `module`). Raises UserError if a module's file is not given, or is another one.
    """
    given = dict(model)
    own = given["name"] == Module.name and not str(given["path"]).startswith(("torchvision:", "timm:"))
    if own:
        path = str(given["path"])
        if file is None:
            raise UserError(f"model.path={path}: a record never imports code; give the file of its network")
        given["path"] = f"{file}:{path.rpartition(':')[2]}"
    elif file is not None:
        raise UserError(
            f"{file}: has no effect: the run's network ({given.get('path') or given['name']}) is not in a file"
        )
    spec = type(MODELS[str(given["name"])])(**given)
    if own and isinstance(spec, Module) and spec.where.read().digest != sha256:
        raise UserError(f"{file}: is not the file of the run; its content has changed")
    with torch.random.fork_rng(devices=[]):
        return build(spec, problem, image_shape, [0])
