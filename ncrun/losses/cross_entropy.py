"""The mean of -log p_y, p being the softmax of the logits."""

from typing import TYPE_CHECKING

import numpy as np

from ncrun.losses.loss import Array, Loss

if TYPE_CHECKING:
    from torch import Tensor


class CrossEntropy(Loss):
    key = "ce"
    words = "cross-entropy"

    def data_sum(self, logits: "Tensor", labels: "Tensor") -> "Tensor":
        return -logits.log_softmax(dim=1).gather(1, labels[:, None]).sum()

    def on_class_means(self, scores: Array) -> Array:
        highest = scores.max(axis=0)  # no exponential overflows
        return np.asarray(np.log(np.exp(scores - highest).sum(axis=0)) + highest - np.diag(scores))

    def gradient(self, logits: "Tensor", targets: "Tensor", N: int) -> "tuple[Tensor, Tensor]":
        logs = logits.log_softmax(dim=1)
        # exp into the logits' memory: no signal is allocated anew at every step
        return logits.copy_(logs).exp_().sub_(targets).div_(N), logs

    def value(self, fit: "Tensor", targets: "Tensor", N: int) -> "Tensor":
        return -(fit * targets).sum(dim=(1, 2)) / N
