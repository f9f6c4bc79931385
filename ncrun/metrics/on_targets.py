"""A split's features and outputs with their targets: the argument of regression metrics."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ncrun.metrics.distance import normalised, shape_distance
from ncrun.metrics.measured import Array, Distances, as_array
from ncrun.metrics.metric import Metrics
from ncrun.metrics.rows import values_at
from ncrun.metrics.scan import Head
from ncrun.objective import Objective
from ncrun.theory import Prediction
from ncrun.theory.directions import Directions


@dataclass(frozen=True, eq=False)
class OnTargets:
    """points: (N, d) features in float64. targets: (N, q). precision: that of the features' computation. loss,
    data_term: of the training split; None for other splits."""

    points: Tensor
    targets: Tensor
    head: Head
    target: Prediction
    precision: torch.dtype
    loss: float | None = None
    data_term: float | None = None

    @cached_property
    def weight(self) -> Tensor:
        """(q, d): W_M..W_1."""
        return self.head.suffixes()[0]

    @cached_property
    def deviations(self) -> Tensor:
        """(N, d): features minus their mean."""
        return self.points - self.points.mean(dim=0)

    @cached_property
    def units(self) -> Tensor | None:
        """(N', d): the deviations, each divided by its norm, without those that are zero. None if all are rounding."""
        norms = self.deviations.norm(dim=1)
        rounding = torch.finfo(self.precision).eps * float(self.points.abs().max())
        if float(norms.max()) <= rounding * math.sqrt(self.points.shape[1]):
            return None
        apart = norms > 0
        units: Tensor = self.deviations[apart] / norms[apart, None]
        return units

    @cached_property
    def nrc1(self) -> float | None:
        q, d = self.targets.shape[1], self.points.shape[1]
        if self.units is None or q >= min(d, len(self.points) - 1):
            return None
        triangle = torch.linalg.qr(self.deviations, mode="r").R  # has the deviations' singular values and directions
        return self._outside(torch.linalg.svd(triangle, full_matrices=False).Vh[:q])

    @cached_property
    def nrc2(self) -> float | None:
        _, values, rows = torch.linalg.svd(self.weight, full_matrices=False)
        there = values > max(self.weight.shape) * torch.finfo(self.precision).eps * values.max()
        if self.units is None or not bool(there.any()):
            return None
        return self._outside(rows[there])

    def _outside(self, axes: Tensor) -> float:
        """Mean squared distance of the unit vectors to the span of orthonormal rows (r, d)."""
        assert self.units is not None
        return float((self.units - self.units @ axes.T @ axes).square().sum(dim=1).mean())

    @cached_property
    def nrc3(self) -> float | None:
        problem = self.target.problem
        assert problem.targets is not None
        variances, axes = np.linalg.eigh(problem.targets.moment(problem.bias))
        gram, roots = normalised(self.weight_gram), np.sqrt(np.maximum(variances, 0))
        if gram is None or problem.num_outputs == 1 or not roots.any():
            return None
        return min(
            float(((gram - (axes * (shape / np.linalg.norm(shape))) @ axes.T) ** 2).sum())
            for shape in (roots - c for c in _shifts(roots, np.einsum("ij,ik,kj->j", axes, gram, axes)))
            if shape.any()
        )

    @cached_property
    def weight_gram(self) -> Array:
        """(q, q): W W^T."""
        return as_array(self.weight @ self.weight.T)

    @cached_property
    def outputs(self) -> Tensor:
        """(N, q), with the bias."""
        return self.points @ self.weight.T + self.head.bias

    @property
    def mse(self) -> float:
        return float((self.outputs - self.targets).square().mean())

    @property
    def r2(self) -> float | None:
        variance = float((self.targets - self.targets.mean(dim=0)).square().mean())
        return 1 - self.mse / variance if variance > 0 else None

    @cached_property
    def centred(self) -> tuple[Tensor, Tensor]:
        """Features and targets, minus their means in settings with a bias."""
        if not self.target.problem.bias:
            return self.points, self.targets
        return self.deviations, self.targets - self.targets.mean(dim=0)

    @cached_property
    def along(self) -> tuple[list[float], list[float]] | None:
        """For each principal direction of the targets: u^T W W^T u, and the share that the outputs keep."""
        found = self.target.directions
        if found is None:
            return None
        points, targets = self.centred
        axes = torch.from_numpy(found.axes).to(points)
        across = targets @ axes
        shares = (points @ (self.weight.T @ axes) * across).sum(dim=0) / across.square().sum(dim=0)
        return (self.weight.T @ axes).square().sum(dim=0).tolist(), shares.tolist()

    @cached_property
    def to_prediction(self) -> Distances:
        """Distances of W W^T, of the features' Gram matrix (N, N) and of the outputs W H; None without a prediction."""
        found = self.target.directions
        if found is None or not found.kept.any():
            return None, None, None
        on_weights = shape_distance(self.weight_gram, found.weight_gram(0))
        if self.target.problem.bias and self.units is None:
            return on_weights, None, None
        points, targets = self.centred
        outputs, expected = as_array(points @ self.weight.T), as_array(targets) @ found.output_map().T
        return (
            on_weights,
            _gram_distance(points, targets, found),
            shape_distance(outputs, expected),
        )


def _shifts(roots: Array, along: Array) -> list[float]:
    """Candidates c in [0, min(roots)] for the one nearest to W W^T: both ends, and the points where the distance of
    N(diag(roots - c)) is stationary. roots: eigenvalues of Sigma^(1/2). along: W W^T on its eigenvectors."""
    a, b, first, second = along @ roots, along.sum(), roots.sum(), roots @ roots
    below = b * first - a * len(roots)
    stationary = (b * second - a * first) / below if below != 0 else 0.0
    least = float(roots.min())
    return [0.0, least, float(np.clip(stationary, 0.0, least))]


def _gram_distance(points: Tensor, targets: Tensor, found: Directions) -> float | None:
    """Distance of the (N, N) Gram matrix of the features to the predicted one, both divided by their Frobenius norm.
    Neither is formed: both have low rank, so singular values of small factors suffice."""
    root = torch.from_numpy(found.feature_root(0)).to(points)
    both = torch.cat([points, targets @ root.T], dim=1)
    triangle = torch.linalg.qr(both, mode="r").R  # the same inner products, with as many rows as columns
    measured, predicted = triangle[:, : points.shape[1]], triangle[:, points.shape[1] :]
    return shape_distance(as_array(measured @ measured.T), as_array(predicted @ predicted.T))


def target_row(
    features: Tensor,
    targets: Tensor,
    head: Head,
    objective: Objective,
    target: Prediction,
    parameters: Iterable[Tensor] = (),
) -> Metrics:
    """Every metric of the training split. features: (N, d). targets: (N, q). target: the prediction. parameters: all
    decayed parameters, read only with decay_mode "parameters". Raises FloatingPointError if the loss or a metric is not
    finite."""
    measured = OnTargets(features.double(), targets, head, target, features.dtype)
    data_term = float(objective.data_sum(measured.outputs, targets)) / len(targets)
    feature_norm_sq = float(measured.points.square().sum())
    loss = data_term + float(objective.penalty(head.weights, head.bias, parameters, feature_norm_sq))
    if not math.isfinite(loss):
        raise FloatingPointError(f"the loss is {loss}")
    return values_at("targets", replace(measured, loss=loss, data_term=data_term))


def target_transfer(features: Tensor, targets: Tensor, head: Head, target: Prediction) -> Metrics:
    """The metrics of a test split, as `test.KEY`."""
    return values_at("test_targets", OnTargets(features.double(), targets, head, target, features.dtype), "test.")
