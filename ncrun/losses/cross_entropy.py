"""The mean of -log p_y, where p is the softmax of the logits; with class weights, smoothing and adjustment as
options."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ncrun.losses.loss import Array, Loss
from ncrun.problem import Problem

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """The loss of a sample of class y with logits z: w_y sum_j q_j (-log softmax(z + offsets)_j),
    q = (1 - label_smoothing) e_y + label_smoothing / K.

    weights: (K,) w; the sum over samples is divided by N, not by the sum of the weights; () for all 1.
    offsets: (K,), tau log(n_k / N) with logit adjustment (Menon et al. 2021); () for none. They are part of the loss
    only: the logits for decisions do not contain them.
    """

    label_smoothing: float = 0.0
    weights: tuple[float, ...] = ()
    offsets: tuple[float, ...] = ()
    _on_devices: "dict[tuple[object, ...], Tensor]" = field(default_factory=dict, init=False, repr=False, compare=False)

    key = "ce"
    words = "cross-entropy"
    takes_options = True

    def with_options(self, problem: Problem) -> "CrossEntropy":
        tau, shares = problem.logit_adjustment, np.asarray(problem.counts) / sum(problem.counts)
        offsets = tuple(map(float, tau * np.log(shares))) if tau else ()
        return CrossEntropy(problem.label_smoothing, problem.class_weights, offsets)

    def data_sum(self, logits: "Tensor", labels: "Tensor") -> "Tensor":
        if self.offsets:
            logits = logits + self._like(logits, "offsets")
        logs = logits.log_softmax(dim=1)
        losses = -logs.gather(1, labels[:, None])[:, 0]
        if self.label_smoothing:
            losses = (1 - self.label_smoothing) * losses - self.label_smoothing * logs.mean(dim=1)
        if self.weights:
            losses = losses * self._like(logits, "weights")[labels]
        return losses.sum()

    def on_class_means(self, scores: Array) -> Array:
        return self.on_some_means(scores, np.arange(len(scores)))

    def on_some_means(self, scores: Array, classes: NDArray[np.int64]) -> Array:
        if self.offsets:
            scores = scores + np.asarray(self.offsets)[:, None]
        highest = scores.max(axis=0)  # no exponential overflows
        norms = np.log(np.exp(scores - highest).sum(axis=0)) + highest
        own = scores[classes, np.arange(len(classes))]
        losses = norms - own
        if self.label_smoothing:
            losses = losses + self.label_smoothing * (own - scores.mean(axis=0))
        return np.asarray(losses * np.asarray(self.weights)[classes] if self.weights else losses)

    def gradient(self, logits: "Tensor", targets: "Tensor", N: int) -> "tuple[Tensor, Tensor]":
        if self.offsets:
            logits += self._like(logits, "offsets")[:, None]
        logs = logits.log_softmax(dim=1)
        # exp into the logits' memory: nothing is allocated at every step
        errors = logits.copy_(logs).exp_().sub_(self._smoothed(targets)).div_(N)
        if self.weights:
            errors.mul_(self._of_samples(targets))
        return errors, logs

    def value(self, fit: "Tensor", targets: "Tensor", N: int) -> "Tensor":
        losses = fit * self._smoothed(targets)
        if self.weights:
            losses = losses * self._of_samples(targets)
        return -losses.sum(dim=(1, 2)) / N

    def _smoothed(self, targets: "Tensor") -> "Tensor":
        if not self.label_smoothing:
            return targets
        return targets * (1 - self.label_smoothing) + self.label_smoothing / targets.shape[1]

    def _of_samples(self, targets: "Tensor") -> "Tensor":
        """(R, 1, N): the weight of each sample."""
        return (targets * self._like(targets, "weights")[:, None]).sum(dim=1, keepdim=True)

    def _like(self, tensor: "Tensor", name: str) -> "Tensor":
        """(K,): weights or offsets, on a tensor's device and in its dtype. Cached at the first call: a copy from the
        host at every step would stall a GPU, and no CUDA graph could record it."""
        key = name, tensor.dtype, tensor.device
        if key not in self._on_devices:
            self._on_devices[key] = tensor.new_tensor(getattr(self, name))
        return self._on_devices[key]
