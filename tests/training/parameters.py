"""The parameters of free features as the reference objective takes them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from conftest import built
from free_features import Array

from ncrun.models.free_model import FreeFeatures
from ncrun.run import Run


def manifest(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "manifest.json").read_text())


def parameters(model: FreeFeatures) -> tuple[list[Array], Array]:
    """H, W_1 .. W_M as columns of samples, and the bias, of the first start: what the reference objective takes."""
    factors = [model.points[0].detach().numpy().T, *(weight[0].detach().numpy() for weight in model.head.weights)]
    bias = np.zeros(len(factors[-1])) if model.head.bias is None else model.head.bias[0].detach().numpy()
    return [factor.copy() for factor in factors], bias.copy()


def trained(run: Run, directory: Path) -> tuple[list[Array], Array]:
    """The same of a finished run, from its checkpoint."""
    model = built(run)
    assert isinstance(model, FreeFeatures)
    model.load_state_dict(torch.load(directory / "checkpoint.pt", weights_only=True)["network"])
    return parameters(model)
