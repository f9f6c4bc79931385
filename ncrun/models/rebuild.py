"""The network of a recorded run, built again to take its weights. Nothing is executed because a record names it."""

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
    """The network of a run, with weights of no meaning; torch's random state is left alone.

    model: the node `model` of its config.yaml. file: where the caller has the file of model=module; sha256: what the
    manifest says of it (its entry `module`). Raises UserError for a module whose file is not given, or another.
    """
    given = dict(model)
    own = given["name"] == Module.name and not str(given["path"]).startswith(("torchvision:", "timm:"))
    if own:
        path = str(given["path"])
        if file is None:
            raise UserError(f"model.path={path}: a record executes nothing; give the file of its network")
        given["path"] = f"{file}:{path.rpartition(':')[2]}"
    elif file is not None:
        raise UserError(
            f"{file}: has no effect: the run's network ({given.get('path') or given['name']}) is in no file"
        )
    spec = type(MODELS[str(given["name"])])(**given)
    if own and isinstance(spec, Module) and spec.where.read().digest != sha256:
        raise UserError(f"{file}: is not the file that the run was trained with; its content has changed")
    with torch.random.fork_rng(devices=[]):
        return build(spec, problem, image_shape, [0])
