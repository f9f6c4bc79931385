"""Poses a network that was trained elsewhere, given by classifier and decays, as a problem to theory."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ncrun.arrays import check_size, floats, shape_of
from ncrun.errors import UserError
from ncrun.losses import Options
from ncrun.metrics.scan import Head
from ncrun.modules import opened
from ncrun.objective import Objective
from ncrun.stated import stated
from ncrun.theory import Prediction, Problem, predict

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Layers = ArrayLike | Tensor | Sequence[ArrayLike | Tensor] | nn.Module


@dataclass(frozen=True)
class Classifier:
    """A user's head. names: of its layers, for messages."""

    head: Head
    has_bias: bool
    names: list[str]

    @property
    def num_outputs(self) -> int:
        """K, or q of targets."""
        return len(self.head.bias)

    def check_width(self, features: int) -> None:
        """Raises UserError unless the first layer reads features of that dimension."""
        first = self.head.weights[0]
        if first.shape[1] != features:
            raise UserError(
                f"{self.names[0]}: reads {first.shape[1]} numbers, but features has {features} (shape"
                f" {shape_of(first)})"
            )

    def check_meter(self, num_classes: int, features: int) -> None:
        """Raises UserError unless it fits the features of a meter of K classes."""
        if self.num_outputs != num_classes:
            raise UserError(f"{self.names[-1]}: has {self.num_outputs} rows, but the meter has {num_classes} classes")
        if self.head.relu:
            raise UserError(
                f"{self.names[0]}: a ReLU stands between the layers, and a meter does not store the layers' inputs;"
                " give only the last layer, and its inputs as features"
            )
        self.check_width(features)


def classifier(weights: "Layers", bias: "ArrayLike | Tensor | None", of_classes: bool = True) -> Classifier:
    """weights: (K, d), or [W_1, .., W_M], W_1 reading the features, or a module (see ncrun.modules). bias: (K,) of the
    last layer, or None; a module brings its own. of_classes: whether its outputs are of classes, two at least. Raises
    UserError."""
    relu = False
    if isinstance(weights, nn.Module):
        if bias is not None:
            raise UserError("bias: the classifier is a module with its own bias; do not give bias")
        weights, bias, relu = opened(weights)
    given = list(weights) if isinstance(weights, list | tuple) and np.ndim(weights[0]) == 2 else [weights]
    names = ["classifier"] if len(given) == 1 else [f"classifier_{m + 1}" for m in range(len(given))]
    layers = [floats(name, layer, 2) for name, layer in zip(names, given, strict=True)]
    K = len(layers[-1])
    if of_classes and K == 1:
        raise UserError(f"{names[-1]}: has one row; collapse needs at least two classes")
    for m, (name, layer) in enumerate(zip(names, layers, strict=True)):
        check_size(name, layer)
        if m and layer.shape[1] != len(layers[m - 1]):
            raise UserError(
                f"{name}: reads {layer.shape[1]} numbers, but {names[m - 1]} has {len(layers[m - 1])} (shape"
                f" {shape_of(layer)})"
            )
    offset = torch.zeros(K, dtype=torch.float64) if bias is None else floats("bias", bias, 1).double()
    if len(offset) != K:
        raise UserError(f"bias: expected ({K},), one for each row of the classifier, found {shape_of(offset)}")
    return Classifier(Head([layer.double() for layer in layers], offset, relu), bias is not None, names)


@dataclass(frozen=True)
class Posed:
    """The problem and its predictions. decays_known: whether the decays were given."""

    head: Head
    problem: Problem
    objective: Objective
    target: Prediction
    baseline: Prediction
    decays_known: bool


def pose(
    network: Classifier,
    counts: Tensor | None,
    has_negative: bool,
    loss: str,
    options: Options,
    decay_weight: float | Sequence[float] | None,
    decay_feature: float | None,
    nonnegative_features: bool | None,
    decay_bias: float = 0.0,
    targets: "NDArray[Any] | None" = None,
) -> Posed:
    """counts: (K,); None of targets (N, q). has_negative: whether a feature is negative. The rest as `ncrun.measure`
    says. Raises UserError."""
    weights = network.head.weights
    problem = stated(
        counts=None if counts is None else counts.cpu().numpy(),
        loss=loss,
        depth=len(weights),
        bias=network.has_bias,
        feature_sign="nonnegative" if _is_nonnegative(has_negative, nonnegative_features) else "free",
        decay_weight=decay_weight,
        decay_feature=decay_feature,
        widths=[layer.shape[1] for layer in weights],
        head="relu" if network.head.relu else "linear",
        options=options,
        decay_bias=decay_bias,
        targets=targets,
    )
    target = predict(problem)
    baseline = target if problem.targets else predict(problem.balanced())
    return Posed(network.head, problem, Objective.of(problem), target, baseline, decay_weight is not None)


def _is_nonnegative(negative: bool, said: bool | None) -> bool:
    if said is None and not negative:
        raise UserError(
            "features: none is negative, so their sign must be given: --relu-features (nonnegative_features=True) if"
            " they come out of a ReLU, --free-features (=False) if they could be negative"
        )
    if said and negative:
        raise UserError("--relu-features (nonnegative_features=True): features has negative values")
    return bool(said)
