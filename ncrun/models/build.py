"""Builds a model from its spec, with initial parameters."""

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from ncrun.models.free_features import FreeFeatureSpec
from ncrun.models.free_model import FreeFeatures, FreeHead, stacked
from ncrun.models.head import LinearHead, new_layers
from ncrun.models.network import Network
from ncrun.models.spec import ModelSpec
from ncrun.problem import Problem


def build(
    spec: ModelSpec,
    problem: Problem,
    image_shape: tuple[int, int, int] | None,
    seeds: Sequence[int],
    frozen: Path | None = None,
) -> Network | FreeFeatures:
    """A model with the problem's head. Its initial parameters depend only on the seeds.

    image_shape: (C, H, W); None for free features, which have no images. seeds: for free features one for each run,
    whose parameters are stacked in the model; for a network a single one, which sets torch's global random state.
    frozen: the directory of the run whose trained head is used unchanged. Raises UserError if that directory holds no
    such head.
    """
    if isinstance(spec, FreeFeatureSpec):
        return stacked([_free_features(spec, problem, seed) for seed in seeds])
    (seed,) = seeds
    assert image_shape is not None
    torch.manual_seed(seed)
    backbone, own = spec.parts(image_shape, problem.num_outputs)
    layers = own or new_layers(problem.widths, problem.num_outputs, problem.bias, spec.orthogonal_head)
    head = LinearHead(layers, problem.head == "relu")
    if frozen is not None:
        head.take_over(frozen)
    return Network(backbone, head)


def _free_features(spec: FreeFeatureSpec, problem: Problem, seed: int) -> FreeFeatures:
    """One run's features and head, drawn on the CPU in float64, the same for every device and dtype."""
    generator = torch.Generator().manual_seed(seed)

    def normal(rows: int, columns: int, std: float) -> Tensor:
        return std * torch.randn(1, rows, columns, dtype=torch.float64, generator=generator)

    nonnegative = spec.feature_sign == "nonnegative"
    points = normal(int(problem.num_samples), spec.feature_width, spec.feature_std)
    weights = []
    for inputs, outputs in pairwise([*problem.widths, problem.num_outputs]):
        if spec.weight_std is not None:
            weights.append(normal(outputs, inputs, spec.weight_std))
        else:  # PyTorch's default for linear layers: uniform up to 1 / sqrt(inputs)
            uniform = torch.rand(1, outputs, inputs, dtype=torch.float64, generator=generator)
            weights.append((2 * uniform - 1) / math.sqrt(inputs))
    bias = torch.zeros(1, problem.num_outputs, dtype=torch.float64) if problem.bias else None
    head = FreeHead(weights, bias, problem.head == "relu")
    return FreeFeatures(points.abs() if nonnegative else points, head, nonnegative)
