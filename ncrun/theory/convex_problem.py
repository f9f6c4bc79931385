"""One linear layer as a convex problem in the logits: the common part for both feature signs.

    minimise over X (K x K), b (K)   sum_k w_k n_k/N l_k(x_k / sqrt n_k + b) + s g(X) + lam_b/2 |b|^2,
column k of X being sqrt n_k times the logits of class k, s = sqrt(lam_W lam_H), w_k the class weights, and g the least
of sum_i |w_i| |h_i| over all X = sum_i w_i h_i^T: the nuclear norm, or with features that are never negative the gauge
of polar.py. Slopes e_k of the losses with g*(A) <= s, A = [w_k sqrt(n_k)/N e_k]_k, bound it from below by
    sum_k w_k n_k/N min_z (l_k(z) - <e_k, z>) - |sum_k w_k n_k/N e_k|^2 / (2 lam_b),
where an undecayed bias requires that this sum is zero, and without a bias the term is missing. Derivation:
docs/proofs.md.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ncrun.losses import CrossEntropy, Loss, loss_of
from ncrun.problem import Problem
from ncrun.theory.class_losses import ClassLosses, class_losses, dual_values
from ncrun.theory.prediction import Array
from ncrun.theory.products import mean_decay


@dataclass(frozen=True)
class ConvexProblem:
    """loss: a squared loss or a cross-entropy. counts: (K,). strength: s > 0. bias_decay: lam_b."""

    loss: Loss
    counts: Array
    strength: float
    bias: bool
    bias_decay: float = 0.0

    @classmethod
    def of(cls, problem: Problem) -> "ConvexProblem":
        counts = np.asarray(problem.counts, dtype=float)
        return cls(loss_of(problem), counts, mean_decay(problem), problem.bias, problem.bias_decay)

    def scaled(self, factor: float) -> "ConvexProblem":
        """The same with all decays times a factor."""
        return replace(self, strength=factor * self.strength, bias_decay=factor * self.bias_decay)

    @property
    def label_smoothing(self) -> float:
        return self.loss.label_smoothing if isinstance(self.loss, CrossEntropy) else 0.0

    @property
    def blind_to_shifts(self) -> bool:
        """Whether adding one number to all logits of a sample changes nothing."""
        return isinstance(self.loss, CrossEntropy)

    @cached_property
    def shares(self) -> Array:
        """(K,): w_k n_k / N."""
        return np.asarray(self.counts * self.weights / self.counts.sum())

    @property
    def weights(self) -> Array:
        """(K,): w_k."""
        weights = self.loss.weights if isinstance(self.loss, CrossEntropy) else ()
        return np.asarray(weights or (1.0,) * len(self.counts))

    @cached_property
    def root(self) -> Array:
        """(K,): sqrt n_k."""
        return np.sqrt(self.counts)

    def losses(self, X: Array, bias: Array) -> ClassLosses:
        return class_losses(self.loss, X / self.root + bias[:, None])

    def slopes(self, errors: Array) -> Array:
        """A, the derivative of the data term by X. errors: (K, K)."""
        return np.asarray(errors * (self.shares / self.root))

    def bias_penalty(self, bias: Array) -> float:
        return float(self.bias_decay / 2 * bias @ bias)

    def bias_slope(self, errors: Array, bias: Array) -> Array:
        """(K,): the derivative by b of the objective."""
        return np.asarray(errors @ self.shares + self.bias_decay * bias)

    def admissible(self, errors: Array) -> Array:
        """Removes the rounding error of sum_k w_k n_k e_k, if a bound requires it to be zero."""
        if not self.bias or self.bias_decay:
            return errors
        return np.asarray(errors - (errors @ self.shares / self.shares.sum())[:, None])

    def lower_bound(self, errors: Array, polar: Callable[[Array], float]) -> float:
        """A lower bound for all points, from the slopes at one; 0 if they give none. polar: g*, or more than it."""
        errors = self.admissible(errors)
        # Smaller slopes along the same line are feasible: with cross-entropy, probabilities nearer to the labels.
        feasible = errors * min(1.0, self.strength / max(polar(self.slopes(errors)), 1e-300))
        bound = float(self.shares @ dual_values(self.loss, feasible))
        if self.bias and self.bias_decay:
            pull = feasible @ self.shares
            bound -= float(pull @ pull) / (2 * self.bias_decay)
        return max(bound, 0.0)
