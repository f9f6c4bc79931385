"""The sums of one pass, about a pivot of each class, so that no digits cancel near collapse."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ncrun.metrics.scatter import ClassMeans, deviations


@dataclass
class Sums:
    """Sums over samples, float64, K classes. A class' pivot is the mean of its samples in the first batch that has any.

    counts: (K,). pivots: (K, d). first: (K, d), of h - pivot. squares: (K,), of |h - pivot|^2. second: (d, d), of
    (h - pivot)(h - pivot)^T over all classes, or None.

    One pass loses no digits near collapse, because samples are as near to the pivots as to each other. It does lose
    some in NC1, which comes from the d x d matrix: spread outside the class means' span rounds into it. The relative
    error of nc1 is about 1e-16 times (spread outside over spread inside the span, squared).
    """

    counts: Tensor
    pivots: Tensor
    first: Tensor
    squares: Tensor
    second: Tensor | None

    @classmethod
    def empty(cls, num_classes: int, width: int, scatter: bool, device: torch.device | None) -> "Sums":
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(*shape, dtype=torch.float64, device=device)

        K, d = num_classes, width
        return cls(zeros(K), zeros(K, d), zeros(K, d), zeros(K), zeros(d, d) if scatter else None)

    def add(self, features: Tensor, labels: Tensor) -> None:
        """(B, d) features with (B,) labels."""
        number = torch.bincount(labels, minlength=len(self.counts)).double()
        new = (self.counts == 0) & (number > 0)
        if bool(new.any()):
            rows = new[labels]
            means = torch.zeros_like(self.pivots).index_add_(0, labels[rows], features[rows].double())
            self.pivots[new] = means[new] / number[new, None]
        self.counts += number
        for y, deviation in deviations(features, labels, self.pivots):
            self.first.index_add_(0, y, deviation)
            self.squares.index_add_(0, y, torch.linalg.vector_norm(deviation, dim=1).square())
            if self.second is not None:
                self.second.addmm_(deviation.T, deviation)

    def merged(self, other: "Sums") -> "Sums":
        """The sums over both sets of samples, about this one's pivots if it has them."""
        pivots = torch.where(self.counts[:, None] > 0, self.pivots, other.pivots)
        shift = torch.where(other.counts[:, None] > 0, other.pivots - pivots, 0.0)
        moved = other.counts[:, None] * shift
        squares = self.squares + other.squares + ((2 * other.first + moved) * shift).sum(dim=1)
        second = None
        if self.second is not None and other.second is not None:
            cross = other.first.T @ shift
            second = self.second + other.second + cross + cross.T + moved.T @ shift
        return Sums(self.counts + other.counts, pivots, self.first + other.first + moved, squares, second)

    def copied(self, device: torch.device | None) -> "Sums":
        def copy(part: Tensor) -> Tensor:
            return part.to(device, copy=True)

        second = None if self.second is None else copy(self.second)
        return Sums(copy(self.counts), copy(self.pivots), copy(self.first), copy(self.squares), second)

    def means(self) -> ClassMeans:
        """The class means, if every class has a sample."""
        means = self.pivots + self.first / self.counts[:, None]
        return ClassMeans(self.counts, means, self.counts @ means / self.counts.sum())

    def traces(self) -> Tensor:
        """(K,), each class' sum of squared deviations from its mean."""
        return (self.squares - self.first.square().sum(dim=1) / self.counts).clamp(min=0)

    def scatter(self) -> Tensor | None:
        """(d, d), the sum over all samples of dev dev^T about the class means."""
        if self.second is None:
            return None
        return self.second - (self.first / self.counts[:, None]).T @ self.first
