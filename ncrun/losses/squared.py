"""Half the squared distance of the logits to the one-hot labels, or to targets of numbers: 1/(2N) ||Z - Y||^2."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ncrun.losses.loss import Array, Loss

if TYPE_CHECKING:
    from torch import Tensor


class SquaredLoss(Loss):
    key = "mse"
    words = "squared loss"
    takes_targets = True

    def data_sum(self, logits: "Tensor", labels: "Tensor") -> "Tensor":
        if labels.is_floating_point():
            return (logits - labels.to(logits.dtype)).square().sum() / 2
        # ||z - e_y||^2 without building the one-hot matrix
        own = logits.gather(1, labels[:, None])
        return (logits.square().sum() - 2 * own.sum() + len(labels)) / 2

    def on_class_means(self, scores: Array) -> Array:
        return self.on_some_means(scores, np.arange(len(scores)))

    def on_some_means(self, scores: Array, classes: NDArray[np.int64]) -> Array:
        residual = scores.copy()
        residual[classes, np.arange(len(classes))] -= 1
        return np.asarray((residual**2).sum(axis=0) / 2)

    def gradient(self, logits: "Tensor", targets: "Tensor", N: int) -> "tuple[Tensor, Tensor]":
        residual = logits.sub_(targets).div_(N)
        return residual, residual

    def value(self, fit: "Tensor", targets: "Tensor", N: int) -> "Tensor":
        return fit.square().sum(dim=(1, 2)) * (N / 2)
