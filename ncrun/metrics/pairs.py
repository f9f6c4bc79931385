"""Statistics over all pairs of classes, a few classes at a time: K (K-1) / 2 numbers are never held at once."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ncrun.metrics.tiles import parts


@dataclass(frozen=True)
class Pairs:
    """smallest, largest: the distances of two class means. variance_ratio: mean over pairs of (v_j + v_k) / distance^2.
    log_mean, log_spread: mean and standard deviation (unbiased) over pairs of log(1 / distance)."""

    smallest: float
    largest: float
    variance_ratio: float
    log_mean: float
    log_spread: float


def over_pairs(means: Tensor, variances: Tensor | None = None) -> Pairs:
    """means: (K, d). variances: (K,), v; default: zero. If two means are equal, undefined numbers are infinite or NaN,
    and smallest is 0."""
    K = len(means)
    spread = means.new_zeros(K) if variances is None else variances
    smallest, largest, ratio = math.inf, 0.0, 0.0
    number, log_mean, squares = 0, 0.0, 0.0
    for part in parts(K, K):
        # Distances from differences: a Gram matrix would lose half of the digits.
        apart = torch.cdist(means[part], means[part.start :], compute_mode="donot_use_mm_for_euclid_dist")
        later = torch.ones_like(apart, dtype=torch.bool).triu_(1)
        sums = (spread[part, None] + spread[None, part.start :])[later]
        apart = apart[later]
        if not len(apart):
            continue
        smallest, largest = min(smallest, float(apart.min())), max(largest, float(apart.max()))
        ratio += float((sums / apart.square()).sum())
        logs = -apart.log()
        # Mean and squares of the earlier tiles and of this one, about their common mean.
        own, new = float(logs.mean()), number + len(logs)
        squares += float((logs - own).square().sum()) + (own - log_mean) ** 2 * number * len(logs) / new
        log_mean += (own - log_mean) * len(logs) / new
        number = new
    return Pairs(smallest, largest, ratio / number, log_mean, math.sqrt(squares / max(number - 1, 1)))
