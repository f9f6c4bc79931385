"""The ledger: the gap of the squared loss to its optimum, split into terms that are at least zero.

Source: the steps in the proof of Dang et al. 2023, Theorems 1, 3 and 4, each of which lowers the objective: replacing
samples by class means (Jensen), balancing the head's factors (Schatten quasi-norm), the best bias, and the spectral
optimum.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ncrun.metrics.tiles import Product, parts_of
from ncrun.theory import Problem
from ncrun.theory.products import mean_decay

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Ledger:
    """loss - optimum = within_class + duality + bias + geometry, in units of the loss."""

    within_class: float
    duality: float
    bias: float
    geometry: float

    @property
    def total(self) -> float:
        return self.within_class + self.duality + self.bias + self.geometry


def squared_loss_ledger(
    problem: Problem,
    optimum: float,
    weights: list[Array],
    bias: Array,
    means: Array,
    logit_deviation_sq: float,
    feature_deviation_sq: float,
) -> Ledger:
    """The ledger of one run, decay.mode=features.

    weights: W_1 .. W_M (the first reads the features). bias: (K,), zero if the setting has none. means: (K, d).
    logit_deviation_sq, feature_deviation_sq: ||W (H - Hbar)||^2 and ||H - Hbar||^2, summed over all samples.
    """
    assert problem.feature_decay is not None
    counts = np.asarray(problem.counts)
    N, M = counts.sum(), problem.depth
    root = np.sqrt(counts)
    head = np.linalg.multi_dot([*reversed(weights)]) if M > 1 else weights[0]
    scaled = means * root[:, None]
    scaled_logits = Product(head, scaled)  # K x K: Z D
    within = logit_deviation_sq / (2 * N) + problem.feature_decay / 2 * feature_deviation_sq

    penalties = sum(decay * np.sum(w**2) for decay, w in zip(problem.weight_decays, weights, strict=True))
    penalties += problem.feature_decay * np.sum(scaled**2)
    triangle, other = (np.linalg.qr(factor)[1] for factor in (head, scaled))
    singular = np.linalg.svd(triangle @ other.T, compute_uv=False)  # those of Z D
    # Without this, rounding errors would count where the rank is lower: the power 2/(M+1) turns 1e-16 into 4e-7 at M =
    # 4.
    singular = np.where(singular > len(counts) * np.finfo(float).eps * singular[0], singular, 0.0)
    singular = singular[: min(problem.num_classes, *problem.widths)]
    schatten = (M + 1) / 2 * mean_decay(problem) * float(np.sum(singular ** (2 / (M + 1))))

    offset = np.zeros_like(root)
    bias_excess = best_penalty = 0.0
    if problem.bias:
        best_bias = -(head @ (scaled.T @ root) - counts) / N / (1 + problem.bias_decay)
        offset = best_bias
        bias_excess = (1 + problem.bias_decay) * float(np.sum((bias - best_bias) ** 2)) / 2
        best_penalty = problem.bias_decay * float(np.sum(best_bias**2)) / 2
    squares = 0.0
    for part in parts_of(scaled_logits):
        residual = scaled_logits[part] + np.outer(offset[part], root)
        residual[np.arange(len(residual)), np.arange(part.start, part.stop)] -= root[part]
        squares += float(np.vdot(residual, residual))
    fit = squares / (2 * N) + best_penalty
    return Ledger(within, float(penalties) / 2 - schatten, bias_excess, fit + schatten - optimum)
